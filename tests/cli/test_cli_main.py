"""All commands: what they refuse, how they fail, and the way in and out."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import BAD_DATA, TINY, images, run, write_bad

import backstory
from backstory import console
from backstory.cli import parameters as cli_options
from backstory.inference import evidence
from backstory.inference.annealing import SCHEDULES, STARTS


@pytest.mark.parametrize("name", ["missing", "words.csv", "empty", "text.png"])
@pytest.mark.parametrize("command", ["encode", "reconstruct"])
def test_a_run_refuses_bad_data(home, tmp_path, refuse, command, name):
    refuse(command, home / "prices", write_bad(tmp_path, name), "-o", tmp_path / "z.csv", says=BAD_DATA[name])


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["fitt"], "'fit'"),
        (["fit"], "DATA"),
        (["fit", "digits"], "--output"),
        (["sample", "RUN"], "--output"),
        (["sample", "RUN", "-o", "OUT.npy", "-n", "0"], "at least 1"),
        (["sample", "RUN", "-o", "OUT.npy", "-n", "x"], "'-n'"),
        (["sample", "RUN", "-o", "OUT.npy", "--temperature", "-1"], "temperature"),
        (["sample", "RUN", "-o", "OUT.npy", "--prior", "mixtures"], "did you mean 'mixture'"),
        (["sample", "RUN", "-o", "OUT.npy", "--components", "3"], "--prior"),
        (["sample", "RUN", "-o", "OUT.npy", "--prior", "mixture", "--components", "0"], "components"),
        (["sample", "RUN", "-o", "OUT.png"], "images"),
        (["sample", "RUN", "-o", "OUT.mp3"], "OUT.mp3"),
        (["sample", "nowhere", "-o", "OUT.npy"], "nowhere"),
        (["encode", "RUN", "DATA", "-o", "OUT.csv", "--draws", "0"], "draws"),
        (["encode", "RUN", "DATA", "-o", "OUT.png"], "OUT.png"),
        (["encode", "RUN", "DATA", "-o", "OUT.csv", "--split", "tst"], "did you mean 'test'"),
        (["encode", "RUN", "DATA", "-o", "OUT.csv", "--split", "test"], "--split all"),
        (["reconstruct", "RUN", "DATA", "-o", "OUT.csv", "--limit", "0"], "limit"),
        (["evaluate", "RUN", "DATA", "--method", "iss"], "did you mean 'is'"),
        (["evaluate", "RUN", "DATA", "--samples", "0"], "samples"),
        (["evaluate", "RUN", "DATA", "--chunk", "0"], "chunk"),
        (["evaluate", "RUN", "DATA", "--steps", "5"], "belongs to method ais"),
        (["evaluate", "RUN", "DATA", "--method", "ais", "--steps", "0"], "steps has to be at least 1"),
        (["evaluate", "RUN", "DATA", "--method", "ais", "--leapfrog", "-2"], "leapfrog"),
        (["evaluate", "RUN", "DATA", "--method", "ais", "--samples", "0"], "samples"),
        (["evaluate", "RUN", "DATA", "--method", "ais", "--schedule", "sigmod"], "did you mean 'sigmoid'"),
        (["evaluate", "RUN", "DATA", "--method", "ais", "--start", "prio"], "did you mean 'prior'"),
        (["evaluate", "RUN", "DATA", "--method", "exact"], "network linear"),
        (["evaluate", "RUN", "DATA", "--device", "gpu"], "device"),
        (["info", "nowhere"], "nowhere"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_commands_refuse_bad_options(home, tmp_path, refuse, command, says):
    places = {"RUN": home / "prices", "DATA": home / "table.csv"}
    words = [places.get(word, word) for word in command]
    refuse(*[str(w).replace("OUT", str(tmp_path / "OUT")) for w in words], says=says)


@pytest.mark.parametrize("command", ["encode", "reconstruct"])
def test_data_of_another_shape_or_range_is_refused(home, tmp_path, refuse, command):
    output = ["-o", tmp_path / "z.csv"]
    refuse(command, home / "bars", home / "table.csv", *output, says="(N, 6, 5)")
    np.save(tmp_path / "bright.npy", 200 + images(4))
    refuse(command, home / "bars", tmp_path / "bright.npy", *output, says="between 0 and 4")


def test_existing_files_and_runs_stay_without_force(home, tmp_path, refuse):
    existing = tmp_path / "x.csv"
    existing.write_text("mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    refuse("fit", home / "table.csv", "-o", tmp_path / "run", *TINY, says="no run of Backstory")
    refuse("fit", home / "table.csv", "-o", home / "prices", *TINY, says="--force")
    refuse("fit", home / "table.csv", "-o", existing, *TINY, says="x.csv")
    refuse("sample", home / "prices", "-o", existing, says="--force")
    refuse("reconstruct", home / "prices", home / "table.csv", "-o", existing, says="--force")
    existing.rename(tmp_path / "z.std.csv")
    refuse("encode", home / "prices", home / "table.csv", "-o", tmp_path / "z.csv", "--std", says="z.std.csv")
    for path in (tmp_path / "z.std.csv", tmp_path / "new.csv"):
        assert run("sample", home / "prices", "-o", path, "--force", "-n", "3") == 0
        assert len(pd.read_csv(path)) == 3


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", None),
        ("config.json", b"{"),
        ("config.json", b"\xff\xfe\x00"),
        ("config.json", b'{"model": 1}'),
        ("config.json", b"[]"),
        ("model.safetensors", None),
        ("model.safetensors", b""),
        ("model.safetensors", "half"),
        ("model.safetensors", b"\x80\x04\x95 a pickle"),
        ("model.safetensors", "foreign"),
        ("splits.safetensors", "half"),
        ("splits.safetensors", "foreign"),
    ],
)
def test_damaged_runs_are_refused(home, tmp_path, refuse, name, content):
    damaged = tmp_path / "run"
    damaged.mkdir()
    for file in (home / "prices").iterdir():
        (damaged / file.name).write_bytes(file.read_bytes())
    whole = (damaged / name).read_bytes()
    if content is None:
        (damaged / name).unlink()
    else:
        other = (home / "bars" / "model.safetensors").read_bytes()
        (damaged / name).write_bytes(
            {"half": whole[: len(whole) // 2], "foreign": other}.get(content, content)
        )
    refuse("sample", damaged, "-o", tmp_path / "x.csv", says="run")


def test_a_folder_that_cannot_be_written_to_is_refused(home, refuse):
    # /proc refuses even an administrator, for whom no folder is read-only
    for command in (["fit", home / "table.csv", *TINY], ["sample", home / "prices"]):
        ending = "" if command[0] == "fit" else ".csv"
        refuse(*command, "-o", f"/proc/backstory{ending}", says="/proc/backstory")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full device here")
def test_a_full_disk_is_refused(home, tmp_path, refuse, monkeypatch):
    def full(*arguments: object) -> None:
        with open("/dev/full", "wb", buffering=0) as file:
            file.write(b"x")

    monkeypatch.setattr("backstory.data.tables.frames.write_frame", full)
    refuse("sample", home / "prices", "-o", tmp_path / "x.csv", says="No space left")


def fail_with(monkeypatch, error: BaseException) -> None:
    def failing(*arguments: object, **options: object) -> None:
        raise error

    monkeypatch.setattr("backstory.runs.info.environment", failing)


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (RuntimeError("two\nlines"), 1, "error: RuntimeError: two lines"),
        (backstory.TrainingFailed("no finite step"), 1, "error: no finite step"),
        (PermissionError(13, "Permission denied", "x.csv"), 2, "error: Permission denied: x.csv"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_failures_are_one_line(monkeypatch, capfd, error, status, words):
    fail_with(monkeypatch, error)
    assert run("info") == status
    out, err = capfd.readouterr()
    assert err.startswith(words)
    assert err.count("\n") == 1
    assert out == ""


def test_a_traceback_is_shown_on_request(monkeypatch, capfd):
    monkeypatch.setenv("BACKSTORY_DEBUG", "1")
    fail_with(monkeypatch, RuntimeError("inside"))
    assert run("info") == 1
    assert "Traceback" in capfd.readouterr().err


def test_warnings_are_one_line_each(monkeypatch, capfd):
    monkeypatch.setattr("backstory.runs.info.environment", lambda: console.warn("look out") or {})
    assert run("info") == 0
    assert run("info") == 0
    assert capfd.readouterr().err == "warning: look out\n" * 2


def test_options_in_messages_of_the_library_get_their_dashes(monkeypatch, capfd):
    words = "give `batch_size`, `whole` or `columns`, not `anything`"
    monkeypatch.setattr("backstory.runs.info.environment", lambda: console.warn(words) or {})
    assert run("info") == 0
    assert capfd.readouterr().err == "warning: give --batch-size, --damage or --column, not `anything`\n"
    fail_with(monkeypatch, backstory.InputError(words))
    assert run("info") == 2
    assert capfd.readouterr().err == "error: give --batch-size, --damage or --column, not `anything`\n"


@pytest.mark.parametrize(
    ("name", "choices"),
    [
        ("method", evidence.METHODS),
        ("start", STARTS),
        ("schedule", SCHEDULES),
    ],
)
def test_the_help_lists_the_choices_there_are(name, choices):
    assert cli_options.CHOICES[name].split(", ") == list(choices)


@pytest.mark.parametrize("command", ["fit", "sample", "encode", "reconstruct", "score", "evaluate", "info"])
def test_every_command_has_help(command, capfd):
    assert run(command, "--help") == 0
    assert "--help" in capfd.readouterr().out


def test_version_and_no_command(capfd):
    assert run("--version") == 0
    assert capfd.readouterr().out == f"backstory {backstory.__version__}\n"
    assert run() == 0
    assert "reconstruct" in capfd.readouterr().out


def test_a_process_reports_its_status():
    command = [sys.executable, "-m", "backstory", "fit", "digits", "--epochs", "many"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
