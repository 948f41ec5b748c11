"""Jobs called from Python, as a service would call them: rows in, files and records out."""

import subprocess
import sys
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import backstory
from backstory.data.tables.partial import wanted
from backstory.errors import InputError
from backstory.inference.operators import Downscale
from backstory.jobs.damage import Damage
from backstory.jobs.describe import describe
from backstory.jobs.encode import encode
from backstory.jobs.evaluate import evaluate, evaluate_restoration
from backstory.jobs.fit import fit
from backstory.jobs.impute import impute
from backstory.jobs.output import Output
from backstory.jobs.reconstruct import reconstruct
from backstory.jobs.restore import RestorationSettings, restore
from backstory.jobs.sample import Sampling, fit_prior, sample
from backstory.jobs.schema_files import read_schema
from backstory.jobs.score import score
from backstory.jobs.source import Source

SMALL = {"epochs": 2, "hidden": (8,), "latent": 2, "batch_size": 32, "progress": False}
QUICK = RestorationSettings(method="importance")


def table(count: int = 60, seed: int = 0) -> pd.DataFrame:
    a, b = np.random.default_rng(seed).standard_normal((2, count))
    group = np.where(a > 0, "high", "low")
    return pd.DataFrame({"width": a.round(3), "height": (3 * a + b).round(2), "group": group})


def images(count: int = 60) -> np.ndarray:
    """Bars on 6 × 4 pixels with 5 levels."""
    rng = np.random.default_rng(0)
    values = rng.integers(0, 2, (count, 6, 4))
    values[np.arange(count), rng.integers(0, 6, count)] = 4
    return values.astype(np.uint8)


@pytest.fixture(scope="module")
def sizes() -> backstory.Model:
    return backstory.fit(table(), **SMALL)


@pytest.fixture(scope="module")
def bars() -> backstory.Model:
    return backstory.fit(images(), **SMALL)


def test_a_run_is_trained_with_its_picture(tmp_path):
    fitted = fit(table(), tmp_path / "run", **SMALL)
    assert fitted.pictures == (tmp_path / "run" / "training.png",)
    assert fitted.pictures[0].stat().st_size > 1000
    assert not fitted.interrupted
    assert backstory.open(fitted.run).summary == fitted.model.summary


def test_codes_are_those_of_the_model(sizes, tmp_path):
    done = encode(sizes, Source(table()), Output(tmp_path / "z.npy"), std=True, draws=3)
    q = sizes.encode(table())
    np.testing.assert_array_equal(np.load(tmp_path / "z.npy"), q.mean)
    np.testing.assert_array_equal(np.load(tmp_path / "z.std.npy"), q.std)
    assert np.load(tmp_path / "z.draws.npy").shape == (3, 60, 2)
    assert [path.name for path in done.files] == ["z.npy", "z.std.npy", "z.draws.npy"]
    assert (done.n, done.trained) == (60, 54)
    with pytest.raises(FrozenInstanceError):
        done.n = 0


def test_a_source_takes_a_part_of_data_of_any_kind(sizes, tmp_path):
    table().to_csv(tmp_path / "table.csv", index=False)
    results = []
    for i, data in enumerate((table(), tmp_path / "table.csv", str(tmp_path / "table.csv"))):
        source = Source(data, split="validation", limit=4)
        done = encode(sizes, source, Output(tmp_path / f"{i}.npy"))
        assert (done.n, done.trained) == (4, 0)
        results.append(np.load(tmp_path / f"{i}.npy"))
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])
    np.testing.assert_array_equal(results[0], sizes.encode(table()).mean[sizes.splits.validation[:4]])


def test_samples_are_those_of_the_model(sizes, tmp_path):
    done = sample(sizes, Output(tmp_path / "x.csv"), Sampling(5, seed=1))
    assert done.n == 5
    assert set(pd.read_csv(tmp_path / "x.csv")["group"]) <= {"high", "low"}
    given = Sampling(7, given={"group": "low", "width": "-0.5"}, seed=1)
    sample(sizes, Output(tmp_path / "given.csv"), given)
    drawn = pd.read_csv(tmp_path / "given.csv")
    assert (drawn["group"] == "low").all()
    assert (drawn["width"] == -0.5).all()
    assert drawn["height"].nunique() > 1
    row = wanted(sizes.schema, {"group": "low"}).row
    assert np.isnan(row[:2]).all()
    assert sizes.schema.kinds[2].levels[int(row[2])] == "low"


def test_a_later_prior_is_fitted_to_training_rows_of_given_data(tmp_path):
    model = backstory.fit(table(), **SMALL, posterior="delta")
    with pytest.raises(InputError, match="give it with `data`"):
        fit_prior(model, "mixture")  # a frame in memory has no name to load it by
    fit_prior(model, "mixture", 2, table())
    assert model.options.prior.components == 2
    assert sample(model, Output(tmp_path / "x.csv"), Sampling(3)).n == 3


def test_reconstructions_are_those_of_the_model(bars, tmp_path):
    done = reconstruct(bars, Source(images(), limit=5), Output(tmp_path / "x.npy"))
    assert (done.n, done.sheet) == (5, False)
    np.testing.assert_array_equal(
        np.load(tmp_path / "x.npy"), bars.schema.stored(bars.reconstruct(images()[:5]))
    )
    done = reconstruct(bars, Source(images()), Output(tmp_path / "x.png"))
    assert (done.n, done.sheet) == (30, True)


def test_scores_are_those_of_the_model(sizes, tmp_path):
    done = score(sizes, Source(table(seed=1)), Output(tmp_path / "s.csv"))
    assert (done.n, done.trained) == (60, 0)
    expected = sizes.score(table(seed=1))
    written = pd.read_csv(tmp_path / "s.csv")
    np.testing.assert_allclose(written["log_evidence"], expected.log_evidence, rtol=1e-5)
    np.testing.assert_allclose(written["p_value"], expected.p_value, rtol=1e-5)
    score(sizes, Source(table(seed=1)), Output(tmp_path / "t.csv"), Source(table(500, 2)))
    assert pd.read_csv(tmp_path / "t.csv")["p_value"].min() < written["p_value"].min()


def test_restorations_come_back_in_the_units_of_the_data(bars, tmp_path):
    x = images()[:4]
    damage = Damage(noise=0.2)
    restore(bars, Source(x), Output(tmp_path / "levels.npy"), damage, QUICK)
    done = restore(bars, Source((x / 4).astype(np.float32)), Output(tmp_path / "parts.npy"), damage, QUICK)
    levels, parts = np.load(tmp_path / "levels.npy"), np.load(tmp_path / "parts.npy")
    np.testing.assert_array_equal(np.rint(parts * 4), levels)
    assert (levels.dtype, parts.dtype) == (np.uint8, np.float32)
    assert (done.n, done.missing, done.methods) == (4, 0, {"importance": 4})
    assert done.ess > 1


def test_whole_rows_are_damaged_first(bars, tmp_path):
    half = np.zeros((6, 4), bool)
    half[:3] = True
    np.save(tmp_path / "half.npy", half)
    damage = Damage(mask=tmp_path / "half.npy")
    source = Source(images(), limit=6)
    done = restore(bars, source, Output(tmp_path / "x.npy"), damage, QUICK, whole=True)
    assert done.missing == 6 * 12
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy")[:, :3], images()[:6, :3])


def test_a_frame_is_imputed_into_a_file(sizes, tmp_path):
    frame = table()
    frame.loc[3, "height"] = np.nan
    frame.loc[5, "group"] = None
    done = impute(sizes, Source(frame), Output(tmp_path / "full.csv"), QUICK)
    full = pd.read_csv(tmp_path / "full.csv")
    assert not full.isna().any().any()
    assert done.columns == {"width": 0, "height": 1, "group": 1}
    assert (done.filled, done.cells, done.missing) == (2, 60, 2)
    assert full.loc[5, "group"] in ("high", "low")
    untouched = frame.notna()
    same = (full[untouched] == frame[untouched]) | frame[untouched].isna()
    assert same.to_numpy(dtype=bool, na_value=True).all()
    expected = sizes.restore(frame, method="importance").mean
    assert full.loc[3, "height"] == pytest.approx(expected[3, 1], abs=0.01)


def test_figures_are_those_of_the_model(sizes, bars):
    done = evaluate(sizes, Source(table(), limit=10), samples=20)
    assert done.figures["elbo"] == sizes.evaluate(table()[:10], samples=20).elbo
    assert (done.n, done.noun) == (10, "row")
    assert 0 < done.trained <= 10
    options = {"draws": 5, "method": "importance"}
    done = evaluate_restoration(bars, Source(images(), limit=10), Damage(downscale=2), **options)
    expected = bars.evaluate_restoration(images()[:10], Downscale(2), **options)
    assert done.figures["rmse"] == expected.rmse
    assert done.figures["entries"] == 240


@pytest.mark.parametrize("ending", ["json", "toml"])
def test_data_is_described_and_its_schema_written(tmp_path, ending):
    file = Output(tmp_path / f"kinds.{ending}")
    description = describe(Source(table()), {"width": "ignore"}, file)
    record = description.record()
    assert (record["rows"], record["kind"]) == (60, "table")
    assert [column["name"] for column in record["columns"]] == ["height", "group"]
    kinds = read_schema(file.path)
    assert kinds["width"] == {"kind": "ignore"}
    assert kinds["group"]["levels"] == ["high", "low"]
    assert backstory.load(table(), columns=kinds).schema == description.schema


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda m, out: encode(m, Source(table(), limit=0), out), "`limit` has to be at least 1"),
        (lambda m, out: encode(m, Source(table()), out, draws=0), "`draws` has to be at least 1"),
        (lambda m, out: evaluate(m, Source(table()), chunk=0), "`chunk` has to be at least 1"),
        (lambda m, out: restore(m, Source(table()), out, Damage(missing=0.5)), "needs `whole`"),
        (lambda m, out: sample(m, out, Sampling(given={"widht": "1"})), "did you mean 'width'"),
        (
            lambda m, out: describe(Source("digits"), None, out.beside("json")),
            "expected a table for `schema`",
        ),
    ],
)
def test_messages_name_options_without_dashes(sizes, tmp_path, call, says):
    with pytest.raises(InputError) as raised:
        call(sizes, Output(tmp_path / "x.csv"))
    assert says in str(raised.value)
    assert "--" not in str(raised.value)
    assert not list(tmp_path.iterdir())


# -- a service ------------------------------------------------------------------------------------------

SERVICE = '''
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import backstory
from backstory.jobs.impute import impute
from backstory.jobs.output import Output
from backstory.jobs.source import Source


def filled(model: backstory.Model, table: bytes) -> bytes:
    """What a service answers to a table with gaps: the bytes of the same table without them."""
    with TemporaryDirectory() as folder:
        came, goes = Path(folder, "came.csv"), Path(folder, "goes.csv")
        came.write_bytes(table)
        impute(model, Source(came), Output(goes))
        return goes.read_bytes()


answer = filled(backstory.open(sys.argv[1]), sys.stdin.buffer.read())
assert not any(name.startswith(("backstory.cli", "typer")) for name in sys.modules)
sys.stdout.buffer.write(answer)
'''


def test_a_service_answers_bytes_without_the_command_line(sizes, tmp_path):
    run = sizes.save(tmp_path / "run")
    came = b"group,width,height\r\nhigh,1.50,\r\nlow, -0.2,-1.00\r\n"
    answer = subprocess.run(
        [sys.executable, "-c", SERVICE, str(run)], input=came, capture_output=True, check=True
    )
    first, second, third, end = answer.stdout.split(b"\r\n")
    assert (first, third, end) == (b"group,width,height", b"low, -0.2,-1.00", b"")
    assert second.startswith(b"high,1.50,")
    assert np.isfinite(float(second.split(b",")[2]))
    assert answer.stderr == b""


def test_jobs_print_nothing(sizes, tmp_path, capfd):
    capfd.readouterr()
    encode(sizes, Source(table()), Output(tmp_path / "z.csv"))
    impute(sizes, Source(table()), Output(tmp_path / "x.csv"), QUICK)
    describe(Source(table()))
    assert capfd.readouterr() == ("", "")
    assert sorted(path.name for path in Path(tmp_path).iterdir()) == ["x.csv", "z.csv"]
