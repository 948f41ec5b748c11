"""The commands restore and impute, and evaluate with damage: what they write, print and refuse."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import run
from mixed import mixed_table
from PIL import Image

import backstory
from backstory.cli.parameters import CHOICES
from backstory.data.tables.layout import Told
from backstory.data.tables.refill import refilled
from backstory.errors import InputError
from backstory.inference.effort import METHODS
from backstory.inference.recovery import Tally
from backstory.inference.restoration import Restoration

QUICK = ["--method", "importance"]


def images(count: int = 60) -> np.ndarray:
    """Bars on 6 × 4 pixels with 5 levels."""
    rng = np.random.default_rng(0)
    values = rng.integers(0, 2, (count, 6, 4))
    values[np.arange(count), rng.integers(0, 6, count)] = 4
    return values.astype(np.uint8)


def table(count: int = 60) -> pd.DataFrame:
    a, b = np.random.default_rng(0).standard_normal((2, count))
    whole = np.rint(10 + 4 * a).astype(int)
    return pd.DataFrame({"width": a.round(3), "height": (3 * a + b).round(2), "whole": whole})


@pytest.fixture(scope="session")
def home(tmp_path_factory) -> Path:
    """Data and trained runs, none of which a test changes."""
    home = tmp_path_factory.mktemp("restore")
    np.save(home / "images.npy", images())
    table().to_csv(home / "table.csv", index=False)
    for source, name in [("images.npy", "bars"), ("table.csv", "sizes")]:
        options = {"epochs": 2, "hidden": (8,), "latent": 2, "batch_size": 32, "progress": False}
        backstory.fit(home / source, home / name, **options)
    return home


# -- tables ---------------------------------------------------------------------------------------------

GAPS = '"whole",height,width\r\n11,1.500,0.1\r\n,-2.0, 0.25\r\n9,NA,\r\n,,\r\n'


def test_impute_fills_the_gaps_and_leaves_all_else_as_it_stands(home, tmp_path, capfd):
    """Columns in another order, trailing zeros, quotes, spaces and line ends are the file's own."""
    path, output = tmp_path / "gaps.csv", tmp_path / "full.csv"
    path.write_bytes(GAPS.encode())
    assert run("impute", home / "sizes", path, "-o", output, "--draws", 3, "--std", *QUICK) == 0
    out, err = capfd.readouterr()
    assert out.split()[:2] == ["filled", "6"]
    assert "of 4 cells" in out
    assert "all entries of 1 of 4 rows are missing: their draws come from the prior" in err
    assert "4 restored rows (1 with nothing missing, as it came; " in err
    assert "; 1 with nothing observed, from the prior), written to" in err
    lines = output.read_bytes().decode().split("\r\n")
    assert lines[:2] == ['"whole",height,width', "11,1.500,0.1"]
    assert lines[2].endswith(",-2.0, 0.25")
    assert lines[3].startswith("9,")
    frame = pd.read_csv(output)
    assert not frame.isna().any().any()
    assert (frame["whole"] == frame["whole"].round()).all()
    assert lines[2].split(",")[0].lstrip("-").isdigit()
    draws = pd.read_csv(tmp_path / "full.draws.csv")
    assert list(draws) == ["row", "draw", "whole", "height", "width"]
    assert len(draws) == 12
    assert draws["whole"].dtype == np.int64
    assert (draws.loc[draws["row"] == 0, "height"] == 1.5).all()
    std = pd.read_csv(tmp_path / "full.std.csv").to_numpy()
    assert ((std > 0) == np.array([[0, 0, 0], [1, 0, 0], [0, 1, 1], [1, 1, 1]], bool)).all()


def test_imputing_what_is_whole_is_a_copy(home, tmp_path, capfd):
    assert run("impute", home / "sizes", home / "table.csv", "-o", tmp_path / "same.csv", "--json") == 0
    out, err = capfd.readouterr()
    assert "60 rows without gaps, as in the data, written to" in err
    assert (tmp_path / "same.csv").read_bytes() == (home / "table.csv").read_bytes()
    record = json.loads(out)
    assert record["columns"] == {"width": 0, "height": 0, "whole": 0}
    assert record["methods"] == {"observed": 60}


def test_a_table_without_gaps_is_said_to_have_none(home, tmp_path, capfd):
    assert run("impute", home / "sizes", home / "table.csv", "-o", tmp_path / "same.csv") == 0
    assert capfd.readouterr().out == "nothing is missing in 60 rows\n"


def test_results_are_of_rows_or_of_images(home, tmp_path, capfd):
    for command, name, data in [("encode", "sizes", "table.csv"), ("encode", "bars", "images.npy")]:
        assert run(command, home / name, home / data, "-o", tmp_path / f"{name}.csv", "--limit", 1) == 0
    err = capfd.readouterr().err
    assert "codes of 1 row, written to" in err
    assert "codes of 1 image, written to" in err
    assert run("evaluate", home / "sizes", home / "table.csv", "--samples", 2) == 0
    out = capfd.readouterr().out
    assert "psnr" not in out
    assert ["n", "60", "rows"] in [line.split() for line in out.splitlines()]


@pytest.mark.parametrize("ending", [".parquet", ".npy", ".tsv", ".csv.gz"])
def test_impute_writes_other_formats(home, tmp_path, ending):
    frame = table(6)
    frame.loc[2, "height"] = np.nan
    frame.to_csv(tmp_path / "gaps.csv", index=False)
    output = tmp_path / f"full{ending}"
    assert run("impute", home / "sizes", tmp_path / "gaps.csv", "-o", output, "--draws", 2, *QUICK) == 0
    values = backstory.load(output).values
    seen = frame.notna().to_numpy()
    np.testing.assert_array_equal(values[seen], frame.to_numpy()[seen])
    assert np.isfinite(values).all()
    draws = backstory.load(tmp_path / f"full.draws{ending}").values
    assert draws.shape == ((2, 6, 3) if ending == ".npy" else (12, 5))


def test_the_mean_does_not_depend_on_the_draws_and_the_seed_says_all(home, tmp_path):
    (tmp_path / "gaps.csv").write_text(GAPS)
    for name, options in {"a": [], "b": ["--draws", 4], "c": ["--draws", 4]}.items():
        path = tmp_path / f"{name}.csv"
        assert run("impute", home / "sizes", tmp_path / "gaps.csv", "-o", path, *QUICK, *options) == 0
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    assert (tmp_path / "b.draws.csv").read_bytes() == (tmp_path / "c.draws.csv").read_bytes()


def test_a_file_filled_in_its_own_place_has_draws_as_any_other(home, tmp_path):
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text(GAPS)
    options = ["--draws", 3, "--std", *QUICK]
    assert (
        run("impute", home / "sizes", tmp_path / "a.csv", "-o", tmp_path / "a.csv", "--force", *options) == 0
    )
    assert run("impute", home / "sizes", tmp_path / "b.csv", "-o", tmp_path / "c.csv", *options) == 0
    for a, c in (("a.csv", "c.csv"), ("a.draws.csv", "c.draws.csv"), ("a.std.csv", "c.std.csv")):
        assert (tmp_path / a).read_bytes() == (tmp_path / c).read_bytes()


@pytest.fixture(scope="session")
def customers(tmp_path_factory) -> tuple[Path, pd.DataFrame]:
    """A run of a table of texts, dates and numbers, which names its rows."""
    frame = mixed_table(80, 0)[["customer_id", "age", "school", "joined", "income"]]
    frame["customer_id"] = [f"{n:05d}" for n in frame["customer_id"]]
    folder = tmp_path_factory.mktemp("customers")
    frame.to_csv(folder / "x.csv", index=False)
    options = {"epochs": 2, "hidden": (8,), "latent": 2, "batch_size": 32, "progress": False}
    backstory.fit(folder / "x.csv", folder / "run", likelihood="joint", **options)  # which takes noise
    return folder, frame


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".parquet"])
def test_a_noisy_table_comes_back_in_its_own_cells(customers, tmp_path, ending):
    folder, frame = customers
    output = tmp_path / f"clean{ending}"
    options = ["--noise", 0.05, "--draws", 2, "--limit", 20, *QUICK]
    assert run("restore", folder / "run", folder / "x.csv", "-o", output, *options) == 0
    for path in (output, tmp_path / f"clean.draws{ending}"):
        texts = {"customer_id": str}
        found = (
            pd.read_parquet(path)
            if ending == ".parquet"
            else pd.read_csv(path, sep="," if ending == ".csv" else "\t", dtype=texts)
        )
        assert set(found["customer_id"]) == set(frame["customer_id"][:20])
        assert set(found["school"]) <= set(frame["school"])
        assert pd.to_datetime(found["joined"]).dt.year.between(1990, 2050).all()
        assert list(found)[-5:] == list(frame)


def test_rows_that_were_trained_on_are_told_in_any_order_of_columns(customers, tmp_path, capfd):
    folder, frame = customers
    frame[frame.columns[::-1]].to_csv(tmp_path / "turned.csv", index=False)
    options = ["--damage", "--missing", 0.2, *QUICK]
    assert run("restore", folder / "run", tmp_path / "turned.csv", "-o", tmp_path / "y.csv", *options) == 0
    assert "rows are among those that the model was trained on" in capfd.readouterr().err


def test_blank_lines_and_short_rows_keep_their_places(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("a,b\n\n1,2\n  \n3\n")
    fill = np.array([[False, False], [False, True]])
    assert refilled(path, Told(), fill, [[], ["4"]], (0, 1)) == "a,b\n\n1,2\n  \n3,4\n"
    assert refilled(path, Told(), fill[:1], [[]], (0, 1)) is None


# -- images ---------------------------------------------------------------------------------------------


def test_a_mask_keeps_what_was_seen_and_may_be_for_all_or_for_each(home, tmp_path):
    one = np.ones((6, 4), bool)
    one[3:] = False
    np.save(tmp_path / "one.npy", one)
    np.save(tmp_path / "each.npy", np.broadcast_to(one, (60, 6, 4)))
    Image.fromarray(one.astype(np.uint8) * 255).save(tmp_path / "one.png")
    results = []
    for mask in ("one.npy", "each.npy", "one.png"):
        output = tmp_path / f"{mask}.out.npy"
        options = ["--mask", tmp_path / mask, "--limit", 5, "--draws", 2, "--std", *QUICK]
        assert run("restore", home / "bars", home / "images.npy", "-o", output, *options) == 0
        results.append(np.load(output))
    x = images()[:5]
    assert results[0].dtype == np.uint8
    np.testing.assert_array_equal(results[0][:, :3], x[:, :3])
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])
    draws, std = np.load(tmp_path / "one.npy.out.draws.npy"), np.load(tmp_path / "one.npy.out.std.npy")
    assert draws.shape == (2, 5, 6, 4)
    assert (draws[:, :, :3] == x[:, :3]).all()
    assert (std[:, :3] == 0).all()
    assert (std[:, 3:] > 0).all()


def test_floats_are_fractions_and_come_back_as_such(home, tmp_path):
    """The same pixels as levels, as fractions and as an image file are restored alike, each in its units."""
    x = images()[:4]
    np.save(tmp_path / "levels.npy", x)
    np.save(tmp_path / "fractions.npy", (x / 4).astype(np.float32))
    (tmp_path / "folder").mkdir()
    for i, image in enumerate(x):
        Image.fromarray(np.rint(image / 4 * 255).astype(np.uint8)).save(tmp_path / "folder" / f"{i}.png")
    for name in ("levels.npy", "fractions.npy", "folder"):
        output = tmp_path / f"out-{name}"
        options = ["--noise", 0.2, "--std", "--draws", 2, *QUICK]
        assert run("restore", home / "bars", tmp_path / name, "-o", output, *options) == 0
    levels, fractions = np.load(tmp_path / "out-levels.npy"), np.load(tmp_path / "out-fractions.npy")
    assert fractions.dtype == np.float32
    assert fractions.max() <= 1
    np.testing.assert_array_equal(np.rint(fractions * 4), levels)
    files = backstory.load(tmp_path / "out-folder")
    np.testing.assert_allclose(files.values / 255, fractions, atol=0.01)
    assert files.names == ("0.png", "1.png", "2.png", "3.png")
    draws = sorted(p.relative_to(tmp_path).as_posix() for p in (tmp_path / "out-folder.draws").rglob("*.png"))
    assert draws[0] == "out-folder.draws/0/0.png"
    assert len(draws) == 8
    assert len(list((tmp_path / "out-folder.std").iterdir())) == 4


def test_small_images_become_large(home, tmp_path):
    small = images()[:3].reshape(3, 3, 2, 2, 2).mean((2, 4)) / 4
    np.save(tmp_path / "small.npy", small)
    output = tmp_path / "large.npy"
    assert run("restore", home / "bars", tmp_path / "small.npy", "-o", output, "--downscale", 2, *QUICK) == 0
    large = np.load(output)
    assert large.shape == (3, 6, 4)
    np.testing.assert_allclose(large.reshape(3, 3, 2, 2, 2).mean((2, 4)), small, atol=0.1)


def test_a_picture_shows_the_damage_and_one_image_becomes_an_image(home, tmp_path):
    options = ["--damage", "--missing", 0.5, *QUICK]
    assert run("restore", home / "bars", home / "images.npy", "-o", tmp_path / "sheet.png", *options) == 0
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 16 * 40
        assert sheet.height > 7 * 60
        assert len(np.unique(np.asarray(sheet).reshape(-1, 3), axis=0)) > 20
    Image.fromarray(images()[0] * 63).save(tmp_path / "one.png")
    assert (
        run(
            "restore", home / "bars", tmp_path / "one.png", "-o", tmp_path / "two.png", "--noise", 0.1, *QUICK
        )
        == 0
    )
    with Image.open(tmp_path / "two.png") as image:
        assert image.size == (4, 6)


# -- evaluate -------------------------------------------------------------------------------------------


def test_evaluate_hides_entries_and_counts_the_error(home, capfd):
    command = ["evaluate", home / "sizes", home / "table.csv", "--missing", 0.5, "--draws", 20, *QUICK]
    assert run(*command, "--json") == 0
    result = json.loads(capfd.readouterr().out)
    names = "rmse mse accuracy psnr coverage_50 coverage_90 log_likelihood entries n draws methods"
    assert list(result) == names.split()
    assert result["mse"] == pytest.approx(result["rmse"] ** 2)
    assert result["psnr"] is None
    assert 0.3 < result["rmse"] < 1.3
    assert 0.8 < result["coverage_90"] <= 1
    assert result["log_likelihood"] < 0
    assert 60 < result["entries"] < 120
    assert result["n"] == 60
    assert run(*command, "--limit", 5) == 0
    lines = {line.split()[0] for line in capfd.readouterr().out.splitlines() if line[0] != " "}
    assert lines == {name for name, value in result.items() if value is not None}


def test_evaluate_with_noise_counts_all_entries(home, tmp_path, capfd):
    np.save(tmp_path / "mask.npy", np.ones((6, 4), bool))
    command = ["evaluate", home / "bars", home / "images.npy", "--limit", 5, "--draws", 5, "--json", *QUICK]
    assert run(*command, "--noise", 0.3, "--blur", 0.5, "--mask", tmp_path / "mask.npy") == 0
    result = json.loads(capfd.readouterr().out)
    assert result["entries"] == 120
    assert result["psnr"] > 5
    assert result["log_likelihood"] is None


def test_a_tally_is_the_error_of_all_its_parts():
    rng = np.random.default_rng(0)
    x, guess = rng.random((2, 6, 3, 2))
    tally = Tally(np.array(2.0), images=True)
    for some in (slice(0, 4), slice(4, 6)):
        nothing = np.full(len(x[some]), np.nan)
        found = Restoration(guess[some], 0 * x[some], x[None, some], *[None] * 7)  # type: ignore[arg-type]
        object.__setattr__(found, "methods", ("hmc",) * len(x[some]))
        tally.add(found, x[some], np.ones(x[some].shape, bool), nothing)
    result = tally.result()
    error = np.square((x - guess) / 2)
    assert result.mse == pytest.approx(error.mean())
    assert result.psnr == pytest.approx(-10 * np.log10(error.mean((1, 2))).mean())
    assert result.methods == {"hmc": 6}
    assert result.log_likelihood is None


def test_a_tally_counts_right_levels_and_errors_of_numbers():
    truth, guess = np.array([[1.0, 2.0], [4.0, 0.0]]), np.array([[3.0, 2.0], [4.0, 1.0]])
    found = Restoration(guess, 0 * guess, guess[None], *[None] * 7)  # type: ignore[arg-type]
    object.__setattr__(found, "methods", ("hmc",) * 2)

    def told(levelled, where=True):
        tally = Tally(np.array(1.0), images=False, levelled=np.array(levelled))
        tally.add(found, truth, np.full((2, 2), where), np.full(2, np.nan))
        return tally.result()

    both = told([False, True])
    assert (both.mse, both.accuracy, both.entries) == (2, 0.5, 4)
    only = told([True, True])
    assert (only.mse, only.rmse, only.coverage_90, only.accuracy) == (None, None, None, 0.5)
    assert told([False, False]).accuracy is None
    with pytest.raises(InputError, match="nothing to restore"):
        told([False, True], where=False)


# -- what is refused ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--mask", "wide.npy"], "expected a mask of 6 × 4 for all observations, or of 60 × 6 × 4"),
        (["--mask", "numbers.npy"], "astype(bool)"),
        (["--mask", "words.txt"], "neither"),
        (["--mask", "grey.png"], "shades"),
        (["--mask", "pale.png"], "2 shades from 20 to 120"),
        (["--mask", "zip.npy"], "got several arrays"),
        (["--mask", "nowhere.npy"], "nowhere.npy"),
        (["--noise", "-0.1"], "0 or more"),
        (["--blur", "-1"], "between 0 and 1000"),
        (["--downscale", "2"], "expected observations of 3 × 2 for --downscale 2"),
        (["--downscale", "0"], "from 1 on"),
        (["--missing", "0.5"], "--damage"),
        (["--damage", "--missing", "2"], "between 0 and 1"),
        (["--draws", "0"], "draws"),
        (["--method", "gibbs"], "method is one of"),
        (["--budget", "much"], "--budget"),
        (["--budget", "-3"], "budget has to be at least 1"),
        (["--limit", "0"], "limit"),
    ],
    ids=" ".join,
)
def test_restore_refuses_bad_options(home, tmp_path, refuse, options, says):
    np.save(tmp_path / "wide.npy", np.ones((4, 6), bool))
    np.save(tmp_path / "numbers.npy", np.ones((6, 4)))
    (tmp_path / "words.txt").write_text("these are words")
    Image.fromarray(np.arange(24, dtype=np.uint8).reshape(6, 4)).save(tmp_path / "grey.png")
    Image.fromarray(np.where(np.eye(6, 4), 20, 120).astype(np.uint8)).save(tmp_path / "pale.png")
    np.savez(tmp_path / "zip.npz", np.ones((6, 4), bool))
    (tmp_path / "zip.npz").rename(tmp_path / "zip.npy")
    places = [tmp_path / o if "." in o and o[0].isalpha() else o for o in options]
    refuse("restore", home / "bars", home / "images.npy", "-o", tmp_path / "x.npy", *places, says=says)


def test_places_that_cannot_be_written_to_are_refused_before_the_work(home, tmp_path, refuse, monkeypatch):
    monkeypatch.setattr(backstory.Model, "restore", lambda *_, **__: pytest.fail("the work was done"))
    (tmp_path / "file").write_text("")
    (tmp_path / "out.draws").mkdir()
    (tmp_path / "out.draws" / "notes.txt").write_text("")
    source = home / "images.npy"
    for name, says in {
        "x.jpg": "ends in .npy",
        "x.npz.gz": "without .gz",
        "file/x.npy": "is a file, not a folder",
        "out": "holds other files",
    }.items():
        options = ["--draws", 2, "--force"]
        refuse("restore", home / "bars", source, "-o", tmp_path / name, *options, says=says)


def test_restore_refuses_numbers_of_another_scale(home, tmp_path, refuse):
    np.save(tmp_path / "levels.npy", images() * 0.45)
    np.save(tmp_path / "bytes.npy", images() * 60)
    output = ["-o", tmp_path / "x.npy", "--noise", "0.01"]
    refuse("restore", home / "bars", tmp_path / "levels.npy", *output, says="divide by the top level, 4")
    refuse("restore", home / "bars", tmp_path / "bytes.npy", *output, says="levels between 0 and 4")


def test_columns_that_are_missing_or_unknown_are_named(home, tmp_path, refuse, capfd):
    table().drop(columns="height").to_csv(tmp_path / "less.csv", index=False)
    table().assign(more=1.5).to_csv(tmp_path / "more.csv", index=False)
    for command in ("impute", "restore", "reconstruct"):
        output = ["-o", tmp_path / f"{command}.csv"]
        refuse(command, home / "sizes", tmp_path / "less.csv", *output, says="none called 'height'")
        assert run(command, home / "sizes", tmp_path / "more.csv", *output) == 0
        assert "the column 'more'" in capfd.readouterr().err


def test_columns_in_another_order_are_found_by_name(home, tmp_path):
    table()[["whole", "width", "height"]].to_csv(tmp_path / "other.csv", index=False)
    for name, source in {"a": home / "table.csv", "b": tmp_path / "other.csv"}.items():
        assert run("encode", home / "sizes", source, "-o", tmp_path / f"{name}.npy") == 0
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), np.load(tmp_path / "b.npy"))


def test_files_that_are_there_stay(home, tmp_path, refuse):
    (tmp_path / "x.draws.csv").write_text("mine")
    command = ["impute", home / "sizes", home / "table.csv", "-o", tmp_path / "x.csv", "--draws", 2]
    refuse(*command, says="--force")
    assert run(*command, "--force") == 0
    refuse("restore", home / "sizes", home / "table.csv", "-o", tmp_path / "x.png", says="write .csv")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--missing", "0.5", "--samples", "3"], "--samples belongs to the evidence"),
        (["--missing", "0"], "nothing to restore"),
        (["--missing", "0.5", "--method", "is"], "method is one of"),
        (["--draws", "5"], "--draws belongs to restoration"),
        (["--missing", "-0.5"], "between 0 and 1"),
        (["--downscale", "2"], "needs images"),
    ],
    ids=" ".join,
)
def test_evaluate_refuses_bad_options(home, refuse, options, says):
    refuse("evaluate", home / "sizes", home / "table.csv", *options, says=says)


def test_the_help_lists_the_methods_there_are(capfd):
    assert CHOICES["restoration"].split(", ") == ["auto", *METHODS]
    for command in ("restore", "impute"):
        assert run(command, "--help") == 0
