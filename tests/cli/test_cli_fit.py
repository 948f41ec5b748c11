"""The command fit: what it writes and prints, and what it refuses."""

import json
from pathlib import Path

import pytest
from commands import BAD_DATA, TINY, run, table, write_bad

import backstory
from backstory.options import ModelOptions, TrainOptions
from backstory.runs.info import run_info


def test_fit_writes_a_run_and_prints_one_object(home, tmp_path, capfd):
    assert run("fit", home / "images.npy", "-o", tmp_path / "run", *TINY, "--json") == 0
    record = json.loads(capfd.readouterr().out)
    assert record["summary"]["epochs"] == 2
    assert record["model"]["hidden"] == [8]
    assert record["rows"] == {"train": 54, "validation": 6, "test": 0}
    files = {
        "config.json",
        "metrics.csv",
        "metrics.jsonl",
        "model.safetensors",
        "splits.safetensors",
        "training.png",
    }
    assert set(record["files"]) == files == {p.name for p in (tmp_path / "run").iterdir()}


def test_fit_passes_its_options_on(home, tmp_path):
    options = ["--beta", "0.5", "--warmup", "1", "--lr", "0.01", "--samples", "3", "--objective", "iwae"]
    options += ["--network", "plain", "--activation", "silu", "--prior", "mixture", "--components", "4"]
    options += ["--likelihood", "gaussian-fixed", "--sigma", "0.25", "--no-bounded"]
    options += ["--patience", "7", "--minutes", "3", "--keep", "best"]
    options += ["--validation", "0.2", "--seed", "5", "--ema", "0.9", "--clip", "2", *TINY]
    options += ["--skip-spikes", "9", "--checkpoint-every", "1"]
    assert run("fit", home / "images.npy", "-o", tmp_path / "run", *options) == 0
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    expected = {"beta": 0.5, "warmup": 1, "lr": 0.01, "samples": 3, "objective": "iwae", "patience": 7}
    expected |= {"minutes": 3, "seed": 5, "epochs": 2, "batch_size": 32}
    expected |= {"ema": 0.9, "clip": 2, "skip_spikes": 9, "keep": "best"}
    expected |= {"network": "plain", "activation": "silu", "prior": "mixture", "components": 4}
    expected |= {"likelihood": "gaussian-fixed", "sigma": 0.25, "bounded": False}
    expected |= {"latent": 2, "hidden": [8]}
    flat = ModelOptions(**config["model"]).flat() | TrainOptions(**config["training"]).flat()
    assert flat | expected == flat
    assert config["rows"]["validation"] == 12


def test_fit_replaces_a_run_with_force(home, tmp_path):
    for epochs in (2, 1):
        options = [*TINY, "--epochs", epochs, "--force"]
        assert run("fit", home / "table.csv", "-o", tmp_path / "run", *options) == 0
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 1


def test_fit_passes_an_objective_its_arguments(home, tmp_path, refuse):
    options = ["--objective", "renyi", "--samples", "2", "--warmup-cycles", "1", *TINY]
    fit = ("fit", home / "images.npy", "-o", tmp_path / "run", *options, "--objective-args")
    refuse(*fit, "alpha", says="--objective-args takes name=value pairs")
    refuse(*fit, "alhpa=1", says="did you mean 'alpha'")
    refuse(*fit, "alpha=much", says="alpha has to be a number, got")
    assert not (tmp_path / "run").exists()
    assert run(*fit, "alpha=0.25") == 0
    training = json.loads((tmp_path / "run" / "config.json").read_text())["training"]
    assert training["objective"] == {"name": "renyi", "alpha": 0.25}
    assert training["warmup_cycles"] == 1


@pytest.mark.parametrize(("name", "says"), BAD_DATA.items())
def test_fit_refuses_bad_data(tmp_path, refuse, name, says):
    if name == "nan.csv":  # is fine for training
        assert run("fit", write_bad(tmp_path, name), "-o", tmp_path / "run", *TINY) == 0
        return
    refuse("fit", write_bad(tmp_path, name), "-o", tmp_path / "run", *TINY, says=says)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--likelihood", "gausian"], "did you mean 'gaussian'"),
        (["--network", "cnv"], "did you mean 'conv'"),
        (["--prior", "mixtur"], "did you mean 'mixture'"),
        (["--posterior", "gauss"], "did you mean 'gaussian'"),
        (["--activation", "rela"], "did you mean 'relu'"),
        (["--objective", "ebo"], "did you mean 'elbo'"),
        (["--network", "conv"], "images"),
        (["--likelihood", "bernoulli"], "binary"),
        (["--latent", "0"], "latent"),
        (["--hidden", "8,x"], "hidden"),
        (["--hidden", "0"], "hidden"),
        (["--epochs", "0"], "epochs"),
        (["--epochs", "many"], "--epochs"),
        (["--lr", "-1"], "lr"),
        (["--lr", "nan"], "lr"),
        (["--validation", "1"], "validation"),
        (["--device", "gpu"], "device"),
        (["--likelihood", "gaussian-fixed"], "sigma"),
        (["--epoch", "3"], "--epochs"),
        (["--resize", "32"], "--resize"),
    ],
)
def test_fit_refuses_bad_options(home, tmp_path, refuse, options, says):
    refuse("fit", home / "table.csv", "-o", tmp_path / "run", *options, says=says)


def test_a_disk_that_fills_during_training_is_said(home, tmp_path, capfd, monkeypatch):
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device", "metrics.jsonl")

    monkeypatch.setattr("backstory.runs.checkpoint.append_metrics", full)
    assert run("fit", home / "table.csv", "-o", tmp_path / "run", *TINY) == 2
    err = capfd.readouterr().err
    assert "error: " in err.splitlines()[-1]
    assert "No space left" in err.splitlines()[-1]
    assert "Traceback" not in err


def test_a_training_that_cannot_go_on_is_a_failure_of_ours(home, tmp_path, capfd):
    frame = table(2000)
    frame["width"] *= 1e30
    frame.to_csv(tmp_path / "extreme.csv", index=False)
    options = [*TINY, "--likelihood", "gaussian-fixed", "--sigma", "1e-30", "--epochs", "30"]
    assert run("fit", tmp_path / "extreme.csv", "-o", tmp_path / "run", *options) == 1
    last = capfd.readouterr().err.splitlines()[-1]
    assert last.startswith("error: training stopped")


def test_interrupted_training_keeps_its_best_weights(home, tmp_path, capfd, monkeypatch):
    def append(folder: Path, metrics: dict) -> None:
        if metrics["epoch"] == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("backstory.runs.checkpoint.append_metrics", append)
    options = [*TINY, "--epochs", "50"]
    assert run("fit", home / "table.csv", "-o", tmp_path / "run", *options) == 130
    err = capfd.readouterr().err
    assert err.splitlines()[-1] == "interrupted"
    assert "Traceback" not in err
    assert backstory.open(tmp_path / "run").summary["stopped"] == "interrupted"


def test_what_is_said_of_columns_reaches_the_run(home, tmp_path, capfd):
    (tmp_path / "kinds.toml").write_text(
        '[columns.width]\nkind = "ignore"\n[columns.height]\nkind = "ignore"\n'
    )
    options = ["--schema", tmp_path / "kinds.toml", "--column", "height=continuous"]
    assert run("fit", home / "table.csv", "-o", tmp_path / "run", *TINY, *options) == 0
    schema = backstory.open(tmp_path / "run").schema
    assert "width" in [column.name for column in schema.left_out]
    assert "height" in schema.columns
    err = capfd.readouterr().err
    assert "ignored" in err


@pytest.mark.parametrize("option", ["--column=age", "--column=width=number", "--column=wide=count"])
def test_what_cannot_be_said_of_columns(home, tmp_path, refuse, option):
    says = {"--column=age": "NAME=KIND", "--column=wide=count": "did you mean 'width'"}
    run_folder = tmp_path / "run"
    refuse("fit", home / "table.csv", "-o", run_folder, option, says=says.get(option, "expected one of"))


def test_a_column_of_weights_leaves_x(tmp_path, capfd) -> None:
    table(60, 0).assign(w=[1, 2, 3] * 20).to_csv(tmp_path / "a.csv", index=False)
    command = ["fit", tmp_path / "a.csv", "-o", tmp_path / "run", "--weights", "w", "--epochs", 1]
    assert run(*command, "--hidden", "8") == 0
    out, err = capfd.readouterr()
    assert "of the rows, column w: 120 in all" in out
    assert err.split("left out", 1)[1].split()[0] == "weights"
    record = run_info(tmp_path / "run")
    assert [(column["name"], column["reason"]) for column in record["data"]["left_out"]] == [("w", "weights")]
    assert set(record["data"]["columns"]) == {"width", "height", "price"}
    assert record["weights"] == {"of": "column w", "total": 120.0}
    assert run("info", tmp_path / "run") == 0
    assert "of the rows, column w: 120 in all" in capfd.readouterr()[0]
    assert run("sample", tmp_path / "run", "-n", 40, "-o", tmp_path / "new.csv") == 0
    assert run("compare", tmp_path / "new.csv", tmp_path / "a.csv") == 0
    assert "not compared: w (not in the synthetic table)" in capfd.readouterr()[1]
