"""Run folders: what is written comes back the same, and damage is said in one sentence."""

import json
import resource
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from test_model import CASES, SMALL, digits, equal, fitted, numbers

import backstory
from backstory import InputError
from backstory.runs import checkpoint
from backstory.runs.folder import file_checksum, read_config, sealed
from backstory.runs.info import run_info
from backstory.training.state import State

METRICS = {"metrics.jsonl", "metrics.csv"}
FILES = {"config.json", "model.safetensors", "splits.safetensors", "metrics.jsonl", "metrics.csv"}


@pytest.mark.parametrize("name", CASES)
def test_a_reopened_model_gives_identical_numbers(name, tmp_path):
    data, model = fitted(name)
    path = model.save(tmp_path / "run")
    assert path == tmp_path / "run"
    reopened = backstory.open(path, device="cpu")
    assert equal(numbers(reopened, data), numbers(model, data))
    assert reopened.schema == model.schema
    assert reopened.options == model.options
    assert reopened.training == model.training
    assert reopened.summary == model.summary
    for part in ("train", "validation", "test"):
        assert np.array_equal(getattr(reopened.splits, part), getattr(model.splits, part))
    assert reopened.trained_on(data)
    assert reopened.count_trained_on(data.values) == model.count_trained_on(data.values)
    assert not reopened.vae.training
    again = reopened.save(tmp_path / "again")
    for file in FILES - METRICS:
        assert (again / file).read_bytes() == (path / file).read_bytes()


def test_a_density_fitted_afterwards_is_saved(tmp_path):
    data, _ = fitted("autoencoder")
    model = backstory.fit(data, **{**SMALL, "posterior": "delta"}).fit_prior(data, components=3)
    reopened = backstory.open(model.save(tmp_path / "run"), device="cpu")
    assert np.array_equal(reopened.sample(6, seed=2), model.sample(6, seed=2))


def test_fit_writes_the_run_that_save_would(run):
    model = backstory.open(run, device="cpu")
    assert equal(numbers(model, digits()), numbers(backstory.fit(digits(), **SMALL), digits()))


def test_a_run_is_json_and_safetensors_alone(run):
    assert {file.name for file in run.iterdir()} == FILES
    for file in run.iterdir():
        content = file.read_bytes()
        assert not content.startswith((b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"))
        if file.suffix == ".safetensors":
            size = int.from_bytes(content[:8], "little")
            assert json.loads(content[8 : 8 + size])
        elif file.suffix != ".csv":
            for line in content.decode().splitlines() if file.suffix == ".jsonl" else [content]:
                assert json.loads(line)


def test_the_config_says_what_was_trained(run):
    config = json.loads((run / "config.json").read_text())
    assert config["backstory"] == backstory.__version__
    assert config["torch"] == torch.__version__
    assert config["data"]["shape"] == [8, 8]
    assert config["data"]["levels"] == 17
    assert config["model"]["likelihood"] == {"name": "logistic"}
    assert config["model"]["latent"] == 3
    assert config["training"]["epochs"] == 2
    assert config["training"]["seed"] == 0
    assert config["rows"] == {"train": 108, "validation": 12, "test": 0}


# -- folders that hold something --------------------------------------------------------------------------


def test_a_folder_with_something_in_it_is_kept(run, copy):
    before = {file.name: file.read_bytes() for file in copy.iterdir()}
    model = backstory.open(run, device="cpu")
    for use in (lambda: model.save(copy), lambda: backstory.fit(digits(), copy, **SMALL)):
        with pytest.raises(InputError, match=r"is not empty; choose another folder.*`force`"):
            use()
    assert {file.name: file.read_bytes() for file in copy.iterdir()} == before


def test_force_overwrites_the_run_and_nothing_else(copy):
    (copy / "notes.txt").write_text("mine")
    other = backstory.fit(digits(), copy, **{**SMALL, "epochs": 1, "latent": 2}, force=True)
    assert backstory.open(copy, device="cpu").options.latent == other.options.latent == 2
    assert len((copy / "metrics.jsonl").read_text().splitlines()) == 1
    assert (copy / "notes.txt").read_text() == "mine"


def test_an_empty_folder_is_fine(tmp_path):
    _, model = fitted("levels")
    (tmp_path / "run").mkdir()
    model.save(tmp_path / "run")
    model.save(str(tmp_path / "deep" / "er"))
    assert backstory.open(str(tmp_path / "deep" / "er")).options == model.options


@pytest.mark.parametrize("where", ["file", "file/run"])
def test_places_that_cannot_hold_a_run(tmp_path, where):
    _, model = fitted("levels")
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(InputError, match=r"choose another folder|give a folder") as caught:
        model.save(tmp_path / where)
    assert "\n" not in str(caught.value)


def test_a_run_that_did_not_end_is_not_a_run(tmp_path, monkeypatch):
    """The config comes last, so a folder that has one is complete."""
    _, model = fitted("levels")

    write = Path.write_bytes

    def fail(path, content):
        if path.name.endswith("config.json"):
            raise OSError(28, "No space left on device")
        return write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", fail)
        with pytest.raises(InputError, match="No space left on device"):
            model.save(tmp_path / "run")
    assert not (tmp_path / "run" / "config.json").exists()
    with pytest.raises(InputError, match=r"config\.json is missing"):
        backstory.open(tmp_path / "run")
    assert {file.name for file in (tmp_path / "run").iterdir()} <= FILES


# -- damage -----------------------------------------------------------------------------------------------


def assert_one_sentence(folder, message=None):
    with pytest.raises(InputError, match=message) as caught:
        backstory.open(folder, device="cpu")
    text = str(caught.value)
    assert "\n" not in text
    assert len(text.replace(str(folder), "")) < 200


@pytest.mark.parametrize("name", sorted(FILES - METRICS))
def test_a_missing_file(copy, name):
    (copy / name).unlink()
    assert_one_sentence(copy, rf"is not a run: {name} is missing")


@pytest.mark.parametrize("keep", [0, 1, 7, 100, -1])
@pytest.mark.parametrize("name", sorted(FILES - METRICS))
def test_a_truncated_file(copy, name, keep):
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content.rstrip()[:keep])
    assert_one_sentence(copy, f"{name} is damaged")


@pytest.mark.parametrize(
    "content", [b"\xff\xfe\x00garbage" * 50, b"[1, 2]", b"null", b'"text"', b"{}", b"\x80\x04N."]
)
@pytest.mark.parametrize("name", sorted(FILES - METRICS))
def test_a_foreign_file(copy, name, content):
    (copy / name).write_bytes(content)
    assert_one_sentence(copy, name)


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("data", "shape", [9, 8]),
        ("data", "shape", "square"),
        ("data", "kind", "sound"),
        ("model", "latent", 4),
        ("model", "latent", "many"),
        ("model", "hidden", [17]),
        ("model", "depth", 3),
        ("training", "epochs", "ten"),
    ],
)
def test_a_config_that_was_edited(copy, part, key, value):
    config = read_config(copy)
    config[part][key] = value
    (copy / "config.json").write_bytes(sealed(config))
    assert_one_sentence(copy, "not a config of this version|does not belong to")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("latent", None),
        ("hidden", None),
        ("network", "transformer"),
        ("likelihood", "gaussian"),
        ("prior", "x"),
    ],
)
def test_a_config_with_a_choice_that_does_not_exist(copy, key, value):
    config = read_config(copy)
    record = config["model"]["network"] if key == "hidden" else config["model"]
    record[key] = value
    (copy / "config.json").write_bytes(sealed(config))
    assert_one_sentence(copy)


def test_weights_of_another_run(copy, tmp_path):
    _, other = fitted("conv")
    other.save(tmp_path / "other")
    shutil.copy(tmp_path / "other" / "model.safetensors", copy)
    assert_one_sentence(copy, r"model\.safetensors does not belong to .*config\.json")


def test_splits_of_another_kind(copy):
    content = (copy / "model.safetensors").read_bytes()
    (copy / "splits.safetensors").write_bytes(content)
    assert_one_sentence(copy, r"splits\.safetensors does not belong to .* its checksum differs")
    config = read_config(copy)
    config["files"]["splits.safetensors"] = file_checksum(content)
    (copy / "config.json").write_bytes(sealed(config))
    assert_one_sentence(copy, r"splits\.safetensors is damaged: train is missing")


@pytest.mark.parametrize("make", ["nothing", "file", "empty"])
def test_what_is_not_a_run(tmp_path, make):
    path = tmp_path / "run"
    if make == "file":
        path.write_text("hello")
    if make == "empty":
        path.mkdir()
    assert_one_sentence(path, "no run at|is not a run")


def test_a_device_that_is_not_there(run):
    with pytest.raises(InputError, match=r"device 'gpu' is not available here; use auto or cpu"):
        backstory.open(run, device="gpu")


def test_metrics_are_read_back(copy):
    assert [line["epoch"] for line in checkpoint.read_metrics(copy)] == [1, 2]
    with (copy / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 3')
    with pytest.raises(InputError, match=r"metrics\.jsonl is damaged"):
        checkpoint.read_metrics(copy)


# -- checksums, and files whose checksums were made anew --------------------------------------------------


def resealed(copy):
    """Give the files of a run the checksums that they should have, and config.json its own."""
    config = read_config(copy)
    for name in ("model.safetensors", "splits.safetensors"):
        config["files"][name] = file_checksum((copy / name).read_bytes())
    (copy / "config.json").write_bytes(sealed(config))


@pytest.mark.parametrize("name", ["model.safetensors", "splits.safetensors"])
def test_each_flipped_bit_is_noticed(copy, name):
    content = (copy / name).read_bytes()
    for position in np.random.default_rng(0).integers(len(content), size=20):
        flipped = bytearray(content)
        flipped[position] ^= 1
        (copy / name).write_bytes(flipped)
        assert_one_sentence(copy, name)


def test_weights_that_are_not_finite_are_refused(copy):
    weights = load_file(copy / "model.safetensors")
    name = next(name for name in weights if name.endswith("weight"))
    weights[name][0, 0] = float("nan")
    save_file(weights, copy / "model.safetensors")
    resealed(copy)
    assert_one_sentence(copy, f"{name} has values that are not finite")


def test_weights_of_another_type_are_refused(copy):
    content = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(content.replace(b'"F32"', b'"I32"'))
    resealed(copy)
    assert_one_sentence(copy, "does not belong to .*: its tensors differ")


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (["model", "network", "hidden"], [20_000_000]),
        (["model", "latent"], 50_000_000),
        (["data", "shape"], [100_000, 100_000]),
        (["data", "dtype"], "rubbish"),
        (["rows", "train"], 10**12),
    ],
    ids=str,
)
def test_a_forged_config_allocates_next_to_nothing(copy, keys, value):
    config = read_config(copy)
    record = config
    for key in keys[:-1]:
        record = record[key]
    record[keys[-1]] = value
    (copy / "config.json").write_bytes(sealed(config))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError):
        backstory.open(copy, device="cpu")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB


LONG = [b"[" * 200_000, b'{"backstory": ' + b"1" * 5_000 + b"}", b'{"a":' * 100_000, b'{"backstory": NaN}']


@pytest.mark.parametrize("content", LONG, ids=["nested", "long", "objects", "nan"])
@pytest.mark.parametrize("use", ["open", "info", "resume"])
def test_json_that_cannot_be_read_is_damage(copy, content, use):
    (copy / "config.json").write_bytes(content)
    uses = {
        "open": lambda: backstory.open(copy),
        "info": lambda: run_info(copy),
        "resume": lambda: backstory.fit(digits(), copy, resume=True, progress=False),
    }
    with pytest.raises(InputError, match=r"config\.json is (damaged|not a config)"):
        uses[use]()


@pytest.mark.parametrize("change", ["missing", "beyond", "negative", "type", "count"])
def test_splits_that_are_no_row_numbers(copy, change):
    rows = load_file(copy / "splits.safetensors")
    if change == "missing":
        del rows["validation"]
    elif change == "type":
        rows["train"] = rows["train"].double()
    elif change == "count":
        rows["train"] = rows["train"][1:].clone()
    else:
        rows["train"][3] = 10**12 if change == "beyond" else -1
    save_file(rows, copy / "splits.safetensors")
    resealed(copy)
    assert_one_sentence(copy, r"splits\.safetensors is damaged: ")


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[1]", b'{"ensemble": "two"}', sealed({"ensemble": 0}), sealed({}), b"[" * 200_000],
    ids=lambda content: str(content[:20]),
)
def test_a_damaged_ensemble_in_training(tmp_path, content):
    (tmp_path / "run" / "members").mkdir(parents=True)
    (tmp_path / "run" / "ensemble.json").write_bytes(content)
    with pytest.raises(InputError, match=r"ensemble\.json is (damaged|not a config)|no run of Backstory"):
        backstory.fit(digits(), tmp_path / "run", resume=True)


def test_a_checkpoint_with_one_value_altered(copy):
    config = checkpoint.load_config(copy)
    state = State({"a": torch.arange(3)}, {"position": {"epoch": 1}})
    checkpoint.save_checkpoint(copy, checkpoint.Checkpoint(config, {"epochs": 2}, state))
    assert checkpoint.load_checkpoint(copy).asked == {"epochs": 2}
    path = copy / checkpoint.CHECKPOINT
    content = path.read_bytes()
    two, three = (number.to_bytes(8, "little") for number in (2, 3))
    for old, new in ((b"epochs", b"epoxhs"), (b"position", b"positiom"), (two, three)):
        assert old in content
        path.write_bytes(content.replace(old, new))
        with pytest.raises(InputError, match=r"checkpoint\.safetensors is damaged"):
            checkpoint.load_checkpoint(copy)
