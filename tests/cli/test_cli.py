"""Commands as people type them: what they write and print, and how they refuse."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mixed import mixed_table
from PIL import Image

import backstory
from backstory import console
from backstory.cli import parameters as cli_options
from backstory.cli.main import main
from backstory.data.load import load
from backstory.inference import evidence
from backstory.inference.annealing import SCHEDULES, STARTS
from backstory.jobs.schema_files import read_schema
from backstory.models.networks.mlp import ACTIVATIONS
from backstory.models.priors import PRIORS
from backstory.objectives.registry import OBJECTIVES
from backstory.options import LIKELIHOODS, MISSINGNESS, NETWORKS, POSTERIORS, PRECISIONS
from backstory.training.distributed import STRATEGIES

TINY = ["--epochs", "2", "--hidden", "8", "--latent", "2", "--batch-size", "32"]


def run(*arguments: object) -> int:
    return main([str(a) for a in arguments])


def images(count: int = 60, seed: int = 0) -> np.ndarray:
    """Bars on 6 × 5 pixels with 5 levels."""
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 2, (count, 6, 5))
    values[np.arange(count), rng.integers(0, 6, count)] = 4
    return values.astype(np.uint8)


def table(count: int = 60, seed: int = 0) -> pd.DataFrame:
    a, b, c = np.random.default_rng(seed).standard_normal((3, count))
    return pd.DataFrame({"width": a, "height": 3 * a + 0.1 * b, "price": 100 + 10 * c})


@pytest.fixture(scope="session")
def home(tmp_path_factory) -> Path:
    """Data of several kinds and trained runs, none of which a test changes."""
    home = tmp_path_factory.mktemp("home")
    np.save(home / "images.npy", images())
    table().to_csv(home / "table.csv", index=False)
    mixed_table(60, 1).to_csv(home / "mixed.csv", index=False)
    (home / "folder").mkdir()
    for i, image in enumerate(images(12)):
        Image.fromarray(image * 63).save(home / "folder" / f"bar{i:02d}.png")
    for source, name, options in [
        ("images.npy", "bars", {"likelihood": "categorical"}),
        ("table.csv", "prices", {}),
        ("mixed.csv", "mixed", {}),
        ("folder", "pictures", {}),
        ("images.npy", "plain", {"posterior": "delta"}),
    ]:
        options |= {"epochs": 2, "hidden": (8,), "latent": 2, "batch_size": 32, "progress": False}
        backstory.fit(home / source, home / name, **options)
    return home


@pytest.fixture
def refuse(capfd, tmp_path):
    """Check that a command refuses: status 2, one line of words, nothing new and nothing changed."""

    def contents(folder: Path) -> dict[str, bytes | None]:
        return {str(p): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}

    def check(*arguments: object, says: str = "") -> str:
        before = contents(tmp_path)
        capfd.readouterr()
        status = run(*arguments)
        out, err = capfd.readouterr()
        assert status == 2, err
        assert err.startswith("error: ")
        assert err.count("\n") == 1, err
        assert "Traceback" not in err
        assert out == ""
        assert says in err
        assert contents(tmp_path) == before
        return err

    return check


# -- what the commands do -------------------------------------------------------------------------------


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
    assert config["model"] | config["training"] | expected == config["model"] | config["training"]
    assert config["rows"]["validation"] == 12


def test_fit_replaces_a_run_with_force(home, tmp_path):
    for epochs in (2, 1):
        options = [*TINY, "--epochs", epochs, "--force"]
        assert run("fit", home / "table.csv", "-o", tmp_path / "run", *options) == 0
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "ending", "shape"),
    [
        ("bars", ".npy", (7, 6, 5)),
        ("bars", ".npy.gz", (7, 6, 5)),
        ("bars", ".npz", (7, 6, 5)),
        ("bars", ".csv", (7, 30)),
        ("bars", ".idx", (7, 6, 5)),
        ("pictures", "", (7, 6, 5)),
        ("prices", ".csv", (7, 3)),
        ("prices", ".parquet", (7, 3)),
        ("prices", ".npy", (7, 3)),
    ],
)
@pytest.mark.parametrize("mean", [False, True])
def test_samples_are_files_of_the_same_kind(home, tmp_path, name, ending, shape, mean):
    path = tmp_path / f"samples{ending}"
    assert run("sample", home / name, "-n", "7", "-o", path, "--seed", "1", *["--mean"] * mean) == 0
    data = backstory.load(path)
    assert data.values.shape == shape
    schema = backstory.open(home / name).schema
    if name == "bars":
        assert data.values.min() >= 0
        assert data.values.max() <= 4
        assert ending == ".csv" or data.values.dtype == np.uint8
    if name == "pictures":
        assert data.schema.kind == "images"
    if name == "prices" and ending != ".npy":
        assert data.schema.columns == schema.columns == ("width", "height", "price")
        assert abs(data.values[:, 2].mean() - 100) < 30


def test_means_of_a_table_show_no_more_digits_than_were_computed(home, tmp_path):
    assert run("sample", home / "prices", "-n", "5", "-o", tmp_path / "x.csv", "--mean", "--seed", "0") == 0
    cells = [cell for line in (tmp_path / "x.csv").read_text().split()[1:] for cell in line.split(",")]
    assert max(sum(c.isdigit() for c in cell.lstrip("-0.")) for cell in cells) <= 7


def test_a_picture_of_samples_is_a_sheet_and_of_means_has_finer_shades(home, tmp_path):
    shades = {}
    for option in ([], ["--mean"]):
        path = tmp_path / f"samples{len(option)}.png"
        assert run("sample", home / "bars", "-n", "9", "-o", path, *option) == 0
        with Image.open(path) as image:
            shades[len(option)] = len(set(np.asarray(image).ravel()))
    assert shades[0] <= 6  # five levels and the gap
    assert shades[1] > 6


def test_what_was_written_is_said(home, tmp_path, capfd):
    run("sample", home / "bars", "-o", tmp_path / "a.npy", "--mean")
    run("sample", home / "bars", "-o", tmp_path / "b.npy")
    err = capfd.readouterr().err
    assert "64 means E[x|z], which are no draws of x" in err
    assert "64 draws of x" in err


def test_the_same_seed_gives_the_same_bytes(home, tmp_path):
    def write(command: str, name: str, *options: object) -> bytes:
        data = [] if command == "sample" else [home / "images.npy"]
        assert run(command, home / "bars", *data, "-o", tmp_path / name, *options) == 0
        return (tmp_path / name).read_bytes()

    for command, option in [("sample", "--mean"), ("sample", "--force"), ("reconstruct", "--draw")]:
        first, again, other = (
            write(command, f"{command}{option}{i}.npy", option, "--seed", seed)
            for i, seed in enumerate([3, 3, 4])
        )
        assert first == again
        assert first != other
    assert write("sample", "a.npy") != write("sample", "b.npy"), "without a seed each call draws anew"


def test_temperature_zero_is_one_code(home, tmp_path):
    run("sample", home / "bars", "-n", "5", "-o", tmp_path / "x.npy", "--mean", "--temperature", "0")
    x = np.load(tmp_path / "x.npy")
    assert (x == x[0]).all()


def test_a_plain_autoencoder_samples_from_a_mixture_fitted_afterwards(home, tmp_path, refuse, capfd):
    path = tmp_path / "samples.npy"
    refuse("sample", home / "plain", "-o", path, says="plain autoencoder")
    options = ["--prior", "mixture", "--components", "3", "-n", "5", "--seed", "0"]
    assert run("sample", home / "plain", "-o", path, *options) == 0
    assert (
        run("sample", home / "plain", "-o", tmp_path / "b.npy", *options, "--data", home / "images.npy") == 0
    )
    assert np.load(path).shape == (5, 6, 5)


def test_score_writes_a_row_for_each_observation(home, tmp_path):
    frame = table()
    frame.iloc[3, 1] = 1e6
    frame.to_csv(tmp_path / "new.csv", index=False)
    assert run("score", home / "prices", tmp_path / "new.csv", "-o", tmp_path / "scores.csv") == 0
    scores = pd.read_csv(tmp_path / "scores.csv")
    assert list(scores) == ["log_evidence", "p_value", "strange"]
    assert scores["p_value"][3] == scores["p_value"].min()
    assert len(backstory.open(home / "prices").splits.validation) < 19  # none of so few is one in twenty
    assert scores["strange"].isna().all()
    assert scores["log_evidence"].idxmin() == 3
    options = ("-o", tmp_path / "s.csv", "--reference", tmp_path / "many.csv")
    table(400).to_csv(tmp_path / "many.csv", index=False)
    assert run("score", home / "prices", tmp_path / "new.csv", *options) == 0
    assert pd.read_csv(tmp_path / "s.csv")["strange"][3].startswith("height")


SPOILT = {
    "twice": (lambda t: t.rename(columns={"school": "age"}), {}, "'age' more than once"),
    "missing": (lambda t: t.drop(columns="age"), {}, "none called 'age'"),
    "extra": (lambda t: t.assign(more=1), {}, "'more' as well"),
    "types": (lambda t: t.assign(visits=["many", *range(59)]), {}, "'many' in row 1, column 'visits'"),
    "count": (lambda t: t.assign(visits=-1), {}, "-1 in row 1, column 'visits'"),
    "infinite": (lambda t: t.assign(spent=[np.inf, *t["spent"][1:]]), {}, "inf in row 1, column 'spent'"),
    "range": (lambda t: t.assign(joined=["3020-01-01", *t["joined"][1:]]), {}, "row 1, column 'joined'"),
    "day": (lambda t: t.assign(joined=["2020-13-45", *t["joined"][1:]]), {}, "row 1, column 'joined'"),
    "separator": (lambda t: t, {"sep": ";"}, "semicolons"),
    "encoding": (lambda t: t.assign(country="Österreich"), {"encoding": "latin-1"}, "in line 2"),
    "rows": (lambda t: t[:0], {}, "0 rows"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_spoilt_table_is_refused_in_one_sentence(home, tmp_path, refuse, name):
    spoil, how, says = SPOILT[name]
    path = tmp_path / "spoilt.csv"
    spoil(mixed_table(60, 1)).to_csv(path, index=False, **how)
    assert str(path) in refuse("score", home / "mixed", path, "-o", tmp_path / "scores.csv", says=says)
    if name not in ("missing", "extra", "count"):  # which only a trained model tells
        refuse("fit", path, "-o", tmp_path / "run", *TINY, says=says)


def test_new_levels_and_empty_columns_are_scored(home, tmp_path, capfd):
    path = tmp_path / "other.csv"
    other = mixed_table(60, 1).assign(income=np.nan)
    other.loc[7, "plan"] = "platinum"
    other.to_csv(path, index=False)
    assert run("score", home / "mixed", path, "-o", tmp_path / "scores.csv") == 0
    told = [line for line in capfd.readouterr().err.splitlines() if "column" in line]
    assert len(told) == 1
    assert told[0].startswith("warning: ")
    assert "column 'plan'" in told[0]
    assert "'platinum' in row 8" in told[0]


def test_score_of_images_needs_rows_to_compare_with(home, tmp_path, refuse):
    files = (home / "images.npy", "-o", tmp_path / "s.csv")
    refuse("score", home / "bars", *files, says="reference")
    assert run("score", home / "bars", *files, "--reference", home / "images.npy") == 0
    assert list(pd.read_csv(tmp_path / "s.csv")) == ["log_evidence", "p_value"]


@pytest.mark.parametrize("ending", [".csv", ".parquet", ".npy", ".npz", ".csv.gz"])
def test_encode_writes_means_deviations_and_draws(home, tmp_path, ending):
    path = tmp_path / f"z{ending}"
    assert run("encode", home / "prices", home / "table.csv", "-o", path, "--std", "--draws", "4") == 0

    def read(name: str) -> np.ndarray:
        file = tmp_path / f"{name}{ending}"
        if "csv" in ending:
            return pd.read_csv(file).to_numpy()
        if ending == ".parquet":
            return pd.read_parquet(file).to_numpy()
        loaded = np.load(file)
        if ending == ".npy":
            return loaded
        return loaded["x"] if "x" in loaded else np.column_stack([loaded[k] for k in loaded])

    q = backstory.open(home / "prices").encode(table())
    mean, std, draws = read("z"), read("z.std"), read("z.draws")
    np.testing.assert_allclose(mean, q.mean, rtol=1e-5)
    np.testing.assert_allclose(std, q.std, rtol=1e-5)
    if ending in (".npy", ".npz"):
        assert draws.shape == (4, 60, 2)
        draws = draws.swapaxes(0, 1)
    else:
        assert draws[:5, :2].tolist() == [[0, 0], [0, 1], [0, 2], [0, 3], [1, 0]]
        draws = draws[:, 2:].reshape(60, 4, 2)
    distance = (draws - mean[:, None]) / std[:, None]
    assert abs(distance.mean()) < 0.2
    assert abs(distance.std() - 1) < 0.15


def test_reconstructions_are_files_of_the_same_kind(home, tmp_path):
    assert run("reconstruct", home / "prices", home / "table.csv", "-o", tmp_path / "x.csv") == 0
    x = pd.read_csv(tmp_path / "x.csv")
    assert list(x) == ["width", "height", "price"]
    assert len(x) == 60
    assert run("reconstruct", home / "pictures", home / "folder", "-o", tmp_path / "x") == 0
    assert sorted(p.name for p in (tmp_path / "x").iterdir()) == [f"bar{i:02d}.png" for i in range(12)]
    options = ["--draw", "--limit", "4"]
    assert run("reconstruct", home / "bars", home / "images.npy", "-o", tmp_path / "x.npy", *options) == 0
    assert np.load(tmp_path / "x.npy").shape == (4, 6, 5)


def test_a_picture_shows_originals_above_reconstructions(home, tmp_path):
    path = tmp_path / "x.png"
    assert run("reconstruct", home / "bars", home / "images.npy", "-o", path, "--limit", "3") == 0
    with Image.open(path) as image:
        sheet = np.asarray(image)
    scale = (sheet.shape[1] - 2 * 4) // 3 // 5  # three images of five columns with gaps of two pixels
    gap = (sheet.shape[1] - 3 * 5 * scale) // 4
    original = sheet[gap::1][: 6 * scale : scale, gap : gap + 5 * scale : scale]
    np.testing.assert_array_equal(original, np.rint(images()[0] / 4 * 255))
    assert sheet.shape[0] == 3 * gap + 2 * 6 * scale


def test_evaluate_prints_one_object_or_a_table(home, capfd):
    command = ["evaluate", home / "prices", home / "table.csv", "--samples", "50", "--split", "validation"]
    assert run(*command, "--json") == 0
    result = json.loads(capfd.readouterr().out)
    names = "elbo reconstruction kl log_evidence standard_error ess bits_per_dim active_units n samples"
    names += " method pareto_k acceptance"
    assert list(result) == names.split()
    assert result["n"] == 6
    assert result["samples"] == 50
    assert result["bits_per_dim"] is None
    assert result["elbo"] == pytest.approx(result["reconstruction"] - result["kl"], abs=1e-3)
    assert run(*command) == 0
    out = capfd.readouterr().out
    assert all(name in out for name in names.split())
    assert f"{result['log_evidence']:.2f}" in out


def test_evaluate_gives_the_same_numbers_in_chunks(home, capfd):
    results = []
    for chunk in ([], ["--chunk", "7"]):
        command = ["evaluate", home / "bars", home / "images.npy", "--samples", "20", "--limit", "5"]
        assert run(*command, "--json", *chunk) == 0
        results.append(json.loads(capfd.readouterr().out))
    assert results[0] == pytest.approx(results[1])
    assert results[0]["n"] == 5


def test_annealing_can_be_interrupted_and_refuses_a_plain_autoencoder(home, tmp_path, capfd, refuse):
    command = ["evaluate", home / "bars", home / "images.npy", "--method", "ais", "--samples", "4", "--json"]
    command += ["--steps", "5", "--leapfrog", "2", "--start", "prior", "--schedule", "linear"]
    results = []
    for options in ([], ["--resume", tmp_path / "rows"], ["--resume", tmp_path / "rows"]):
        assert run(*command, "--limit", "6", *options) == 0
        results.append(json.loads(capfd.readouterr().out))
    assert results[0] == results[1] == results[2]
    assert results[0]["method"] == "ais"
    assert 0 < results[0]["acceptance"] <= 1
    refuse(*command, "--resume", tmp_path / "rows", "--steps", "6", says="steps 5, now it is 6")
    refuse("evaluate", home / "plain", home / "images.npy", "--method", "ais", says="plain autoencoder")


def test_rows_seen_in_training_are_reported(home, tmp_path, capfd):
    command = ["evaluate", home / "prices", home / "table.csv", "--samples", "5", "--json"]
    expected = {
        "all": "warning: 54 of 60 rows are among",
        "validation": "",
        "train": "rows that the model was",
    }
    for part, words in expected.items():
        assert run(*command, "--split", part) == 0
        err = capfd.readouterr().err.strip()
        assert words in err
        assert err.count("\n") == 0
        assert words or not err
    table(seed=1).to_csv(tmp_path / "new.csv", index=False)
    assert run("evaluate", home / "prices", tmp_path / "new.csv", "--samples", "5", "--json") == 0
    assert capfd.readouterr().err.strip() == ""


def test_info_describes_a_run_or_the_installation(home, capfd):
    assert run("info", home / "prices", "--json") == 0
    record = json.loads(capfd.readouterr().out)
    model = backstory.open(home / "prices")
    assert record["parameters"] == sum(v.numel() for v in model.vae.state_dict().values())
    assert record["source"].endswith("table.csv")
    assert run("info", home / "prices") == 0
    assert "54 train, 6 validation" in capfd.readouterr().out
    assert run("info", "--json") == 0
    assert json.loads(capfd.readouterr().out)["backstory"] == backstory.__version__
    assert run("info") == 0
    assert "digits" in capfd.readouterr().out


def test_resize_brings_images_to_the_size_of_the_model(home, tmp_path, refuse):
    (tmp_path / "mixed").mkdir()
    for i, size in enumerate([(8, 9), (10, 12)]):
        Image.new("L", size, 80 * i).save(tmp_path / "mixed" / f"{i}.png")
    refuse("encode", home / "pictures", tmp_path / "mixed", "-o", tmp_path / "z.csv", says="--resize")
    options = ["-o", tmp_path / "z.csv", "--resize", "6x5"]
    assert run("encode", home / "pictures", tmp_path / "mixed", *options) == 0
    options = ["-o", tmp_path / "y.csv", "--resize", "six"]
    refuse("encode", home / "pictures", tmp_path / "mixed", *options, says="32x24")


# -- what the commands refuse ---------------------------------------------------------------------------

BAD_DATA = {
    "missing": "does not exist",
    "empty": "",
    "text.png": "",
    "nan.csv": "row 3, column 'width'",
    "inf.csv": "row 3, column 'width'",
    "constant.csv": "column that varies",
    "one.csv": "two rows",
    "words.csv": "'tall'",
    "objects.npy": "pickle",
    "unknown.xyz": "",
    "truncated.npy": "",
}


def write_bad(folder: Path, name: str) -> Path:
    frame, path = table(20), folder / name
    match name:
        case "empty":
            path.mkdir()
        case "text.png" | "unknown.xyz":
            path.write_text("these are words")
        case "nan.csv" | "inf.csv":
            frame.loc[2, "width"] = np.nan if name == "nan.csv" else np.inf
        case "constant.csv":
            frame[:] = 1.5
        case "one.csv":
            frame = frame.iloc[:1]
        case "words.csv":
            frame["height"] = frame["height"].astype(object)
            frame.loc[2, "height"] = "tall"
        case "objects.npy":
            np.save(path, np.array([{"a": 1}, None], dtype=object), allow_pickle=True)
        case "truncated.npy":
            np.save(path, frame.to_numpy())
            path.write_bytes(path.read_bytes()[:200])
    if name.endswith(".csv"):
        frame.to_csv(path, index=False)
    return path


def test_fit_passes_an_objective_its_arguments(home, tmp_path, refuse):
    options = ["--objective", "renyi", "--samples", "2", "--warmup-cycles", "1", *TINY]
    fit = ("fit", home / "images.npy", "-o", tmp_path / "run", *options, "--objective-args")
    refuse(*fit, "alpha", says="--objective-args takes name=value pairs")
    refuse(*fit, "alhpa=1", says="did you mean 'alpha'")
    refuse(*fit, "alpha=much", says="objective_args.alpha: input should be a valid number")
    assert not (tmp_path / "run").exists()
    assert run(*fit, "alpha=0.25") == 0
    training = json.loads((tmp_path / "run" / "config.json").read_text())["training"]
    assert training["objective_args"] == {"alpha": 0.25}
    assert training["warmup_cycles"] == 1


@pytest.mark.parametrize(("name", "says"), BAD_DATA.items())
def test_fit_refuses_bad_data(tmp_path, refuse, name, says):
    if name == "nan.csv":  # is fine for training
        assert run("fit", write_bad(tmp_path, name), "-o", tmp_path / "run", *TINY) == 0
        return
    refuse("fit", write_bad(tmp_path, name), "-o", tmp_path / "run", *TINY, says=says)


@pytest.mark.parametrize("name", ["missing", "nan.csv", "words.csv", "empty", "text.png"])
@pytest.mark.parametrize("command", ["encode", "reconstruct"])
def test_a_run_refuses_bad_data(home, tmp_path, refuse, command, name):
    refuse(command, home / "prices", write_bad(tmp_path, name), "-o", tmp_path / "z.csv", says=BAD_DATA[name])


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
    refuse("fit", home / "table.csv", "-o", tmp_path / "run", *TINY, says="--force")
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

    monkeypatch.setattr("backstory.data.tables.read.write_frame", full)
    refuse("sample", home / "prices", "-o", tmp_path / "x.csv", says="No space left")


def test_a_disk_that_fills_during_training_is_said(home, tmp_path, capfd, monkeypatch):
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device", "metrics.jsonl")

    monkeypatch.setattr("backstory.runs.checkpoint.append_metrics", full)
    assert run("fit", home / "table.csv", "-o", tmp_path / "run", *TINY) == 2
    err = capfd.readouterr().err
    assert "error: " in err.splitlines()[-1]
    assert "No space left" in err.splitlines()[-1]
    assert "Traceback" not in err


# -- failures of ours, and the way in and out -----------------------------------------------------------


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


def test_a_training_that_cannot_go_on_is_a_failure_of_ours(home, tmp_path, capfd):
    frame = table(2000)
    frame["width"] *= 1e30
    frame.to_csv(tmp_path / "extreme.csv", index=False)
    options = [*TINY, "--likelihood", "gaussian-fixed", "--sigma", "1e-30", "--epochs", "30"]
    assert run("fit", tmp_path / "extreme.csv", "-o", tmp_path / "run", *options) == 1
    last = capfd.readouterr().err.splitlines()[-1]
    assert last.startswith("error: training stopped")


@pytest.mark.parametrize(
    ("name", "choices"),
    [
        ("likelihood", ["auto", *LIKELIHOODS]),
        ("network", ["auto", *NETWORKS]),
        ("activation", ACTIVATIONS),
        ("prior", PRIORS),
        ("posterior", POSTERIORS),
        ("missingness", MISSINGNESS),
        ("objective", OBJECTIVES),
        ("method", evidence.METHODS),
        ("start", STARTS),
        ("schedule", SCHEDULES),
        ("precision", PRECISIONS),
        ("strategy", STRATEGIES),
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


# -- columns of tables ----------------------------------------------------------------------------------


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


def described(path: Path, capfd, *options: object) -> dict[str, Any]:
    """What `info --json` says of a data set."""
    capfd.readouterr()
    assert run("info", path, "--json", *options) == 0
    record: dict[str, Any] = json.loads(capfd.readouterr().out)
    return record


@pytest.fixture(scope="module")
def customers(tmp_path_factory) -> Path:
    """A table of all kinds of columns."""
    path = tmp_path_factory.mktemp("tables") / "customers.csv"
    mixed_table(600, 0).to_csv(path, index=False)
    return path


def test_info_tells_what_the_columns_of_a_table_hold(home, customers, capfd):
    record = described(customers, capfd)
    assert record["rows"] == 600
    kinds = {column["name"]: column["kind"] for column in record["columns"]}
    assert kinds["member"] == "binary"
    assert kinds["joined"] == "date"
    assert [column["reason"] for column in record["left_out"]] == ["identifier", "constant"]
    assert run("info", customers) == 0
    out, err = capfd.readouterr()
    lines = {line.split()[0]: line for line in out.splitlines() if line}
    assert "10:" not in lines["member"]
    assert "2: no, yes" in lines["member"]
    assert "identifier" in lines["customer_id"]
    assert err == ""
    assert run("info", home / "images.npy") == 0
    assert "6 × 5" in " ".join(capfd.readouterr().out.split())


@pytest.mark.parametrize("ending", ["json", "toml"])
def test_a_schema_file_says_what_was_found(customers, tmp_path, capfd, ending):
    file = tmp_path / f"kinds.{ending}"
    found = described(customers, capfd, "--schema", file, "--column", "visits=continuous")
    again = load(customers, columns=read_schema(file)).schema
    for mine, now in zip(found["columns"], again.model_dump(mode="json")["kinds"], strict=True):
        assert mine | {"note": ""} == now | {"note": ""}
    assert [column.name for column in again.left_out] == ["customer_id", "version"]
    assert again.left_out[1].text == "v2"
    # rare and unseen levels are still taken together
    assert again.kinds[0].rare
    other = mixed_table(20, 1).assign(country="Nowhere")
    assert (load(other, schema=again).values[:, 0] == len(again.kinds[0].levels) - 1).all()


def test_grids_go_through_a_schema_file(tmp_path):
    hours = np.random.default_rng(0).choice([-1.31, -0.2, 0.77], 80)
    pd.DataFrame({"hours": hours, "x": np.arange(80) / 7}).to_csv(tmp_path / "grid.csv", index=False)
    assert run("info", tmp_path / "grid.csv", "--schema", tmp_path / "kinds.toml") == 0
    found = load(tmp_path / "grid.csv").schema
    assert [column.values for column in found.kinds] == [(-1.31, -0.2, 0.77), None]
    assert load(tmp_path / "grid.csv", columns=read_schema(tmp_path / "kinds.toml")).schema == found


def test_awkward_names_and_levels_go_through_a_schema_file(tmp_path, capfd):
    odd = ['"', "a\\b", "é, ü", "tab\there", "\U0001f600"] * 40
    frame = pd.DataFrame({'na"me.with [all]': odd, "x": np.arange(200) / 7, "flag": [True, False] * 100})
    frame.to_parquet(tmp_path / "odd.parquet")
    for ending in ("json", "toml"):
        file = tmp_path / f"kinds.{ending}"
        assert run("info", tmp_path / "odd.parquet", "--schema", file) == 0
        again = load(frame, columns=read_schema(file)).schema
        assert again == load(frame).schema
    assert run("info", tmp_path / "odd.parquet", "--schema", file, "--force") == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["TABLE", "--schema", "x.txt"], ".json or .toml"),
        (["TABLE", "--column", "width=number"], "expected one of"),
        (["images.npy", "--schema", "x.json"], "expected a table"),
        (["prices", "--schema", "x.json"], "give a table"),
        (["nowhere.csv"], "no run at"),
    ],
)
def test_info_refuses_bad_options(home, tmp_path, refuse, monkeypatch, arguments, says):
    monkeypatch.chdir(home)
    words = [str(tmp_path / word) if word.startswith("x.") else word for word in arguments]
    refuse("info", *["table.csv" if word == "TABLE" else word for word in words], says=says)


@pytest.fixture(scope="module")
def customers_run(customers, tmp_path_factory) -> Path:
    """A model of that table."""
    folder = tmp_path_factory.mktemp("runs") / "customers"
    options = {"epochs": 30, "hidden": (32,), "latent": 4, "device": "cpu", "progress": False}
    backstory.fit(customers, folder, **options)
    return folder


def test_rows_are_drawn_given_some_cells(customers, customers_run, tmp_path, capfd):
    given = ["--where", "member=yes", "--where", "age = 60", "--where", "joined=2018-03-05"]
    given += ["--where", "newsletter=true", "--where", "country=Island 99"]
    output = tmp_path / "rows.csv"
    assert run("sample", customers_run, "-n", 50, *given, "-o", output, "--seed", 1) == 0
    assert "given member=yes, age = 60" in capfd.readouterr().err
    rows = pd.read_csv(output)
    assert len(rows) == 50
    assert (rows["member"] == "yes").all()
    assert (rows["age"] == 60).all()
    assert (rows["joined"] == "2018-03-05").all()
    assert rows["newsletter"].all()
    assert (rows["country"] == "other").all()  # a level that the model does not know is one of the rare ones
    assert rows["income"].nunique() > 40
    assert list(rows.columns) == [name for name in pd.read_csv(customers).columns if name != "customer_id"]


@pytest.mark.parametrize(
    ("where", "says"),
    [
        (["wide=1"], "no column 'wide'"),
        (["memberr=yes"], "did you mean 'member'"),
        (["member=maybe"], "levels no, yes of column 'member'"),
        (["age=old"], "column 'age'"),
        (["joined=5.3.2018"], "column 'joined'"),
        (["visits=-1"], "counts"),
        (["member"], "NAME=VALUE"),
        (["age=4", "age=5"], "twice"),
    ],
)
def test_cells_that_cannot_be_given(customers_run, tmp_path, refuse, where, says):
    options = [word for option in where for word in ("--where", option)]
    refuse("sample", customers_run, *options, "-o", tmp_path / "rows.csv", says=says)


def test_only_rows_of_tables_are_drawn_given_cells(home, tmp_path, refuse):
    refuse("sample", home / "bars", "--where", "a=1", "-o", tmp_path / "x.npy", says="a model of a table")
