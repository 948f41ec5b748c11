"""The command sample: files of new observations, priors fitted later, and given cells."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import run
from PIL import Image

import backstory


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


def test_a_picture_of_samples_has_the_mean_above_each_draw(home, tmp_path, capfd):
    """And a picture of means alone is the same line of means."""
    sheets = {}
    for name, option in (("draws", []), ("means", ["--mean"])):
        path = tmp_path / f"{name}.png"
        assert run("sample", home / "bars", "-n", "9", "-o", path, "--seed", "1", *option) == 0
        with Image.open(path) as image:
            sheets[name] = np.asarray(image)[:, -470:]  # without the labels
    assert "9 draws of x, each below its mean E[x|z], written to" in capfd.readouterr().err
    height = len(sheets["draws"]) // 2
    above, below = sheets["draws"][:height], sheets["draws"][height:]
    assert len(set(below.ravel())) <= 6  # five levels and the gap
    assert len(set(above.ravel())) > 6
    assert set(above.ravel()) == set(sheets["means"].ravel())


def test_a_picture_of_one_sample_is_a_draw_alone(home, tmp_path):
    assert run("sample", home / "bars", "-n", "1", "-o", tmp_path / "one.png") == 0
    with Image.open(tmp_path / "one.png") as image:
        assert len(set(np.asarray(image).ravel())) <= 5


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


@pytest.fixture(scope="module")
def customers_run(customers, tmp_path_factory) -> Path:
    """A model of that table."""
    folder = tmp_path_factory.mktemp("runs") / "customers"
    options = {"epochs": 5, "hidden": (16,), "latent": 2, "device": "cpu", "progress": False}
    backstory.fit(customers, folder, likelihood="joint", **options)
    return folder


def test_rows_are_drawn_given_some_cells(customers, customers_run, tmp_path, capfd):
    given = ["--where", "member=yes", "--where", "age = 60", "--where", "joined=2018-03-05"]
    given += ["--where", "newsletter=true", "--where", "country=other"]
    output = tmp_path / "rows.csv"
    assert run("sample", customers_run, "-n", 50, *given, "-o", output, "--seed", 1) == 0
    assert "given member=yes, age = 60" in capfd.readouterr().err
    rows = pd.read_csv(output)
    assert len(rows) == 50
    assert (rows["member"] == "yes").all()
    assert (rows["age"] == 60).all()
    assert (rows["joined"] == "2018-03-05").all()
    assert rows["newsletter"].all()
    assert rows["country"].str.startswith("Island").all()  # other stands for all rare ones
    assert rows["income"].nunique() > 40
    assert list(rows.columns) == [name for name in pd.read_csv(customers).columns if name != "customer_id"]


def test_rows_are_drawn_in_ranges_and_sets(customers_run, tmp_path):
    given = ["--where", "member=yes", "--where", "age=30..60", "--where", "school=bachelor|master"]
    output = tmp_path / "rows.csv"
    assert run("sample", customers_run, "-n", 40, *given, "-o", output, "--seed", 1) == 0
    rows = pd.read_csv(output)
    assert len(rows) == 40
    assert (rows["member"] == "yes").all()
    assert rows["age"].between(30, 60).all()
    assert set(rows["school"]) == {"bachelor", "master"}


@pytest.mark.parametrize(
    ("where", "says"),
    [
        (["age=60..30"], "exchange its ends"),
        (["plan=basic|fast"], "'fast'"),
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
