"""A run is replaced only by a finished one, and by one process at a time."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import backstory
from backstory import InputError
from backstory.cli.main import main
from backstory.errors import TrainingFailed
from backstory.runs import replacement
from backstory.runs.lock import only_writer
from backstory.training.trainer import Trainer

SMALL = {"latent": 1, "hidden": (4,), "epochs": 2, "batch_size": 8, "progress": False, "device": "cpu"}


def data(rows=30):
    return np.random.default_rng(0).normal(size=(rows, 3))


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    """A finished run, not to be changed."""
    folder = tmp_path_factory.mktemp("earlier") / "run"
    backstory.fit(data(), folder, **SMALL)
    return folder


@pytest.fixture
def run(earlier, tmp_path):
    return shutil.copytree(earlier, tmp_path / "run")


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def stop_at(monkeypatch, step, error):
    steps = 0
    original = Trainer._step

    def counted(trainer, *arguments):
        nonlocal steps
        steps += 1
        if steps == step or (steps > step and isinstance(error, TrainingFailed)):  # also of a second attempt
            if isinstance(error, signal.Signals):
                signal.raise_signal(error)
            else:
                raise error
        return original(trainer, *arguments)

    monkeypatch.setattr(Trainer, "_step", counted)


# -- replaced by a finished run ---------------------------------------------------------------------------


def test_data_that_cannot_be_trained_on_leaves_the_earlier_run(run, tmp_path):
    np.save(tmp_path / "bad.npy", np.arange(60.0).reshape(30, 2) * 1e39)
    before = contents(run)
    assert main(["fit", str(tmp_path / "bad.npy"), "-o", str(run), "--force"]) != 0
    assert contents(run) == before


@pytest.mark.parametrize("error", [TrainingFailed("no"), InputError("no"), RuntimeError("no")], ids=repr)
def test_a_failure_leaves_the_earlier_run(run, monkeypatch, error):
    before = contents(run)
    stop_at(monkeypatch, 3, error)
    with pytest.raises(type(error), match="no"):
        backstory.fit(data(), run, force=True, **SMALL)
    after = contents(run)
    assert {name: after[name] for name in before} == before
    assert backstory.open(run).options.latent == 1
    if isinstance(error, TrainingFailed):
        assert after == before


@pytest.mark.parametrize("step", [2, 6])  # in the first epoch, and after it
def test_an_interrupted_replacement_is_gone_on_with(run, monkeypatch, tmp_path, capfd, step):
    np.save(tmp_path / "data.npy", data())
    command = ["fit", str(tmp_path / "data.npy"), "-o", str(run)]
    options = ["--latent", "2", "--hidden", "4", "--epochs", "3", "--batch-size", "8", "--device", "cpu"]
    before = contents(run)
    with monkeypatch.context() as patch:
        stop_at(patch, step, signal.SIGINT)
        assert main([*command, *options, "--force"]) == 130
    said = capfd.readouterr().err
    assert (
        f"the run in {run} is as it was; the new one is in {run / 'replacement'} until it is finished" in said
    )
    assert f"go on with: backstory fit {command[1]} -o {run} --resume" in said
    assert {name: content for name, content in contents(run).items() if "replacement" not in name} == before
    assert backstory.open(run).options.latent == 1
    assert main([*command, "--resume"]) == 0
    assert backstory.open(run).options.latent == 2
    assert not (run / "replacement").exists()
    uninterrupted = backstory.fit(data(), tmp_path / "whole", **{**SMALL, "epochs": 3, "latent": 2})
    assert np.array_equal(backstory.open(run).sample(4, seed=0), uninterrupted.sample(4, seed=0))


def test_a_replacement_before_its_first_checkpoint_is_begun_anew(run):
    (run / "replacement").mkdir()
    (run / "replacement" / "metrics.jsonl").touch()
    backstory.fit(data(), run, resume=True, **{**SMALL, "latent": 2})
    assert backstory.open(run).options.latent == 2


def test_force_begins_an_unfinished_replacement_anew(run, monkeypatch):
    with monkeypatch.context() as patch:
        stop_at(patch, 6, signal.SIGINT)
        backstory.fit(data(), run, force=True, **{**SMALL, "latent": 3})
    assert backstory.open(run / "replacement").options.latent == 3
    backstory.fit(data(), run, force=True, **{**SMALL, "latent": 2})
    assert backstory.open(run).options.latent == 2
    assert not (run / "replacement").exists()


def test_an_ensemble_replaces_a_model_and_a_model_an_ensemble(run, monkeypatch):
    (run / "notes.txt").write_text("mine")
    backstory.fit(data(), run, ensemble=2, force=True, **SMALL)
    assert len(backstory.open(run).members) == 2
    assert not (run / "model.safetensors").exists()
    with monkeypatch.context() as patch:
        stop_at(patch, 6, signal.SIGINT)
        backstory.fit(data(), run, force=True, **SMALL)
    assert len(backstory.open(run).members) == 2
    backstory.fit(data(), run, resume=True, progress=False)
    assert len(backstory.open(run).members) == 1
    assert not (run / "members").exists()
    assert (run / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("state", [replacement.FINISHED, replacement.MOVING])
@pytest.mark.parametrize("use", ["open", "info", "fit", "save"])
def test_a_kill_while_the_new_run_takes_its_place_is_made_good(run, tmp_path, state, use, capsys):
    new = backstory.fit(data(), tmp_path / "new", **{**SMALL, "latent": 2})
    shutil.copytree(tmp_path / "new", run / state)
    if state == replacement.MOVING:
        (run / "config.json").unlink()
        (run / "model.safetensors").unlink()
        (run / state / "splits.safetensors").rename(run / "splits.safetensors")
    if use == "info":
        assert main(["info", str(run)]) == 0
    elif use == "fit":
        backstory.fit(data(), run, resume=True, progress=False)
    elif use == "save":
        with pytest.raises(InputError, match="is not empty"):
            new.save(run)
    assert backstory.open(run).options.latent == 2
    assert contents(run) == contents(tmp_path / "new")


# -- what is no run ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "files",
    [
        {"config.json": '{"mine": 1}'},
        {"config.json": '{"mine": 1}', "model.safetensors": "weights of another program"},
        {"notes.txt": "mine"},
        {"config.json": "[1]", "metrics.jsonl": "{}"},
        {"tensorboard/events.out.tfevents.1": "mine"},
    ],
    ids=str,
)
@pytest.mark.parametrize("force", [True, False])
def test_a_folder_that_is_no_run_is_refused(earlier, tmp_path, files, force):
    folder = tmp_path / "mine"
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    before = contents(folder)
    model = backstory.open(earlier)
    for use in (
        lambda: backstory.fit(data(), folder, force=force, **SMALL),
        lambda: model.save(folder, force),
    ):
        with pytest.raises(
            InputError, match="holds files that are no run of Backstory; choose another folder"
        ):
            use()
    assert contents(folder) == before


@pytest.mark.parametrize("damage", [b"", b"{", b"\xff"])
def test_a_damaged_run_can_be_replaced(run, damage):
    (run / "config.json").write_bytes(damage)
    backstory.fit(data(), run, force=True, **SMALL)
    assert backstory.open(run).summary["stopped"] == "finished"


@pytest.mark.parametrize(
    "name", ["members", "tensorboard", "replacement", "members/0", "members/0/tensorboard"]
)
def test_links_in_a_run_are_not_followed(run, tmp_path, name):
    elsewhere = shutil.copytree(run, tmp_path / "elsewhere" / "0").parent
    (elsewhere / "events.out.tfevents.1").touch()
    (run / name).parent.mkdir(parents=True, exist_ok=True)
    (run / name).symlink_to(elsewhere)
    before = contents(elsewhere)
    model = backstory.open(run)
    for use in (lambda: backstory.fit(data(), run, force=True, **SMALL), lambda: model.save(run, force=True)):
        with pytest.raises(InputError, match=f"got {run / name}, a link to {elsewhere}, which is"):
            use()
    assert contents(elsewhere) == before
    assert backstory.open(run).options.latent == 1


def test_links_to_files_are_replaced_not_followed(run, tmp_path):
    for name in ("metrics.jsonl", "model.safetensors"):
        (run / name).rename(tmp_path / name)
        (run / name).symlink_to(tmp_path / name)
    before = contents(tmp_path)
    backstory.fit(data(), run, force=True, **{**SMALL, "latent": 2})
    for name in ("metrics.jsonl", "model.safetensors"):
        assert (tmp_path / name).read_bytes() == before[name]
        assert not (run / name).is_symlink()


# -- one writer -------------------------------------------------------------------------------------------


def test_a_second_writer_is_refused_and_told_of_the_first(run, earlier):
    before = contents(run)
    model = backstory.open(earlier)
    with only_writer(run):
        for use in (
            lambda: backstory.fit(data(), run, force=True, **SMALL),
            lambda: backstory.fit(data(), run, resume=True, progress=False),
            lambda: model.save(run, force=True),
        ):
            answers = []
            thread = threading.Thread(target=lambda use=use, answers=answers: answers.append(refused(use)))
            thread.start()
            thread.join()
            assert f"{run} is being written by process {os.getpid()} on " in answers[0]
    assert contents(run) == before


def refused(use):
    with pytest.raises(InputError) as caught:
        use()
    return str(caught.value)


def test_two_processes_and_a_killed_one(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from backstory.runs.lock import only_writer\n"
        "with only_writer(Path(sys.argv[1])):\n    print('in', flush=True); time.sleep(30)"
    )
    folder = tmp_path / "new" / "run"
    with subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"in\n"
        with pytest.raises(InputError, match=rf"is being written by process {process.pid} on .*; wait until"):
            backstory.fit(data(), folder, **SMALL)
        process.kill()
    backstory.fit(data(), folder, **SMALL)  # the system has released the lock
    assert not (folder / ".lock").exists()


def test_a_refused_fit_leaves_no_folder(tmp_path):
    with pytest.raises(InputError):
        backstory.fit(data(), tmp_path / "a" / "run", **{**SMALL, "epoch": 3})
    assert not list(tmp_path.iterdir())


def test_readers_wait_for_a_process_that_is_moving_files(run, tmp_path):
    backstory.fit(data(), tmp_path / "new", **{**SMALL, "latent": 2})
    shutil.copytree(tmp_path / "new", run / replacement.FINISHED)
    opened = []
    with only_writer(run):
        thread = threading.Thread(target=lambda: opened.append(backstory.open(run)))
        thread.start()
        time.sleep(0.2)
        assert not opened
        replacement.complete(run)
    thread.join()
    assert opened[0].options.latent == 2


def test_the_config_of_a_run_cannot_be_changed(run):
    record = json.loads(Path(run / "config.json").read_text())
    record["summary"]["elbo"] += 1
    (run / "config.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="was changed after it was written: its checksum differs"):
        backstory.open(run)
