"""An ensemble is the mixture of its members: compared with sums over them, done by hand."""

import json
import math
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import backstory
from backstory import InputError, VAEDensity, VAEImputer
from backstory.cli.main import main
from backstory.ensemble import Ensemble
from backstory.inference import scoring
from backstory.inference.mixture import mixture_evidence
from backstory.opening import unpack
from backstory.training import trainer as train

SMALL = {"latent": 2, "hidden": (8,), "epochs": 4, "likelihood": "joint", "compile": False, "progress": False}


def table(rows: int = 120) -> pd.DataFrame:
    """Two columns that go together, a count, and levels that go with the first; some cells are missing."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=rows)
    a, b = z + 0.1 * rng.normal(size=rows), 2 * z + rng.normal(size=rows)
    frame = pd.DataFrame({"a": a, "b": b, "level": np.where(z > 0, "high", np.where(z < -1, "none", "low"))})
    for j, name in enumerate(frame):
        frame.loc[rng.random(rows) < 0.2, name] = np.nan if j < 2 else None
    return frame


@pytest.fixture(scope="module")
def three() -> Ensemble:
    model = backstory.fit(table(), ensemble=3, seed=5, **SMALL)
    assert isinstance(model, Ensemble)
    return model


@pytest.fixture(scope="module")
def x(three: Ensemble) -> np.ndarray:
    return backstory.load(table(), schema=three.schema).values[:20]


def test_members_are_single_models_of_the_same_split(three):
    first = backstory.fit(table(), seed=5, **SMALL)
    second = backstory.fit(table(), seed=6, split_seed=5, **SMALL)
    for alone, member in zip((first, second), three.members, strict=False):
        for name, value in alone.vae.state_dict().items():
            torch.testing.assert_close(value, member.vae.state_dict()[name], rtol=0, atol=0, equal_nan=True)
    assert all(np.array_equal(m.splits.validation, first.splits.validation) for m in three.members)


def test_of_one_member_it_is_the_member(three, x):
    member = three.members[0]
    one = Ensemble([member])
    assert torch.equal(one.log_evidence(x, 50).log_evidence, member.log_evidence(x, 50).log_evidence)
    for name, value in vars(member.restore(x, draws=3, seed=2)).items():
        got = getattr(one.restore(x, draws=3, seed=2), name)
        if name == "level_probs":
            assert all(torch.equal(a[1], b[1]) for a, b in zip(got, value, strict=True))
        elif name == "methods":
            assert got == value
        else:
            np.testing.assert_array_equal(np.asarray(got), np.asarray(value))
    assert np.array_equal(one.sample(5, seed=1), member.sample(5, seed=1))
    assert np.array_equal(one.reconstruct(x), member.reconstruct(x))
    assert torch.equal(one.encode(x).mean, member.encode(x).mean)
    assert one.evaluate(x, 50) == member.evaluate(x, 50)
    assert one.evaluate_restoration(x, missing=0.3) == member.evaluate_restoration(x, missing=0.3)
    for mine, its in zip(vars(one.score(x)).values(), vars(member.score(x)).values(), strict=True):
        if isinstance(its, np.ndarray):
            np.testing.assert_allclose(mine, its, rtol=1e-6)
        else:
            assert mine == its


def test_log_evidence_is_that_of_the_mixture(three, x):
    x = x[:6]
    found = three.log_evidence(x, samples=4000)
    each = np.stack([m.log_evidence(x, samples=4000).log_evidence.cpu().numpy() for m in three.members])
    truth = np.logaddexp.reduce(each) - math.log(3)
    assert found.samples == 12_000
    spread = np.hypot(found.standard_error.numpy(), 0.01)
    assert np.all(np.abs(found.log_evidence.numpy() - truth) < 6 * spread)
    assert torch.allclose(
        found.elbo, torch.stack([m.log_evidence(x).elbo for m in three.members]).mean(0), atol=0.3
    )


def test_the_error_and_size_of_a_mixture_are_those_of_its_draws(x, three):
    """Estimates with few draws, many times: their spread is the standard error."""
    found = [three.log_evidence(x[:4], samples=200, seed=seed) for seed in range(60)]
    spread = torch.stack([f.log_evidence for f in found]).std(0)
    told = torch.stack([f.standard_error for f in found]).mean(0)
    assert torch.all((told / spread - 1).abs() < 0.5)
    parts = [m.log_evidence(x, 100) for m in three.members]
    same = mixture_evidence([parts[0]] * 3)
    assert torch.allclose(same.log_evidence, parts[0].log_evidence)
    assert torch.allclose(same.standard_error, parts[0].standard_error / math.sqrt(3))
    assert torch.allclose(same.ess, 3 * parts[0].ess)


def test_mean_and_deviation_are_those_of_the_mixture(three, x):
    found = three.restore(x, draws=1, seed=0)
    parts = [m.restore(x, draws=1, seed=seed) for m, seed in zip(three.members, (0, 11, 12), strict=True)]
    mean = np.mean([p.mean for p in parts], 0)
    square = np.mean([p.std.astype(float) ** 2 + p.mean.astype(float) ** 2 for p in parts], 0)
    gaps = np.isnan(x)
    numbers = gaps & np.array([True, True, False])
    np.testing.assert_allclose(found.mean[numbers], mean[numbers], atol=0.05)  # with other draws
    np.testing.assert_allclose(found.std[numbers], np.sqrt((square - mean**2)[numbers]), rtol=0.1)
    assert np.array_equal(found.mean[~gaps], x[~gaps].astype(np.float32))
    assert np.all(found.std[~gaps] == 0)
    probs = np.mean([p.level_probs[0][1][:, :, 0].numpy() for p in parts], 0)
    rows = gaps[:, 2]
    sure = rows & (np.sort(probs)[:, -1] - np.sort(probs)[:, -2] > 0.1)
    assert np.array_equal(found.mean[sure, 2], probs.argmax(1)[sure])
    np.testing.assert_allclose(found.std[rows, 2], 1 - probs.max(1)[rows], atol=0.05)


@pytest.mark.parametrize("draws", [1, 2, 3, 7])
def test_as_many_draws_as_asked_for_of_the_members_in_turn(three, x, draws):
    found = three.restore(x, draws=draws, seed=0)
    assert found.draws.shape == (draws, *x.shape)
    assert found.codes.shape == (draws, len(x), 2)
    seen = ~np.isnan(x)
    assert all(np.array_equal(draw[seen], x[seen]) for draw in found.draws)
    assert len(np.unique(found.draws[:, ~seen[:, 0], 0], axis=0)) == draws


def test_draws_have_the_spread_of_the_mixture(three, x):
    row = x[np.isnan(x[:, 1]) & ~np.isnan(x[:, 0])][:1]
    found = three.restore(row, draws=3000, seed=0)
    assert found.draws[:, 0, 1].mean() == pytest.approx(found.mean[0, 1], abs=0.15)
    assert found.draws[:, 0, 1].std() == pytest.approx(found.std[0, 1], rel=0.1)


def test_what_was_seen_is_kept_where_columns_have_an_origin():
    frame = table().drop(columns="level").assign(time=1.7e9 + np.arange(120) / 3)
    model = backstory.fit(frame, ensemble=3, **SMALL)
    rows = backstory.load(frame, schema=model.schema).values[:20]
    found = model.restore(rows, method="importance", proposals=50)
    assert np.array_equal(found.mean[:, 2], rows[:, 2])
    assert not found.std[:, 2].any()


def test_samples_are_of_all_members(three):
    assert [len(three.sample(n, seed=0)) for n in (1, 2, 3, 7)] == [1, 2, 3, 7]
    assert np.array_equal(three.sample(9, seed=0)[::3], three.members[0].sample(3, seed=0))
    given = np.array([1.0, np.nan, np.nan])
    assert np.all(three.sample(5, seed=0, where=given, frame=False)[:, 0] == 1)


def test_draws_come_with_their_means(three):
    x, means = three.sample_with_means(7, seed=1)
    ends = [(column.low, column.high) for column in three.schema.kinds[:2]]
    cut = np.any([np.isin(x[:, j], end) for j, end in enumerate(ends)], 0)  # `sample` draws these again
    assert not cut.all()
    assert np.array_equal(x[~cut], three.sample(7, seed=1, frame=False)[~cut])
    assert np.array_equal(means, three.sample(7, mean=True, seed=1, frame=False))


def test_codes_stand_side_by_side(three, x):
    q = three.encode(x)
    assert torch.equal(q.mean, torch.cat([m.encode(x).mean for m in three.members], 1))
    assert q.std.shape == (20, 6)


def test_reconstructions_are_averages_and_votes(three, x):
    parts = np.stack([m.reconstruct(x) for m in three.members])
    np.testing.assert_allclose(three.reconstruct(x)[:, :2], parts[:, :, :2].mean(0), rtol=1e-6)
    votes = parts[:, :, 2]
    agreed = (votes == votes[0]).all(0)
    assert np.array_equal(three.reconstruct(x)[agreed, 2], votes[0][agreed])
    assert three.reconstruct(x, mean=False).shape == x.shape


def test_scores_compare_with_the_mixture_of_held_out_rows(three, x):
    found = three.score(x)
    each = [m.score(x).log_evidence for m in three.members]
    np.testing.assert_allclose(found.log_evidence, np.logaddexp.reduce(each) - math.log(3), rtol=1e-5)
    held_out = backstory.load(table(), schema=three.schema).values[three.splits.validation]
    again = three.score(x, held_out)
    np.testing.assert_allclose(found.p_value, again.p_value)
    assert isinstance(found, scoring.Scores)


def test_it_is_saved_and_opened(three, x, tmp_path):
    three.save(tmp_path / "run")
    for model in (backstory.open(tmp_path / "run"), unpack(three.pack())):
        assert isinstance(model, Ensemble)
        assert np.array_equal(model.restore(x, draws=2).draws, three.restore(x, draws=2).draws)
        assert np.array_equal(model.score(x).p_value, three.score(x).p_value)
    assert json.loads((tmp_path / "run" / "config.json").read_text())["ensemble"] == 3
    single = backstory.open(tmp_path / "run" / "members" / "1")
    assert np.array_equal(single.sample(3, seed=0), three.members[1].sample(3, seed=0))
    three.members[0].save(tmp_path / "run", force=True)
    assert not isinstance(backstory.open(tmp_path / "run"), Ensemble)
    assert not (tmp_path / "run" / "members").exists()


def test_what_one_model_has_is_asked_of_a_member(three):
    for name in ("prior", "exact", "decode", "terms", "inference_gap", "vae"):
        with pytest.raises(AttributeError, match=f"no {name} of its own; ask one of its members"):
            getattr(three, name)
    with pytest.raises(AttributeError, match="'Ensemble' object has no attribute 'nothing'"):
        _ = three.nothing


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"ensemble": 0}, "ensemble has to be at least 1, got 0"),
        ({"ensemble": 2, "posterior": "delta"}, "no p"),
        ({"ensemble": 2, "latnt": 3}, "no option 'latnt'"),
        ({"ensemble": 2, "devices": 2}, "one process"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_written(options, words, tmp_path):
    with pytest.raises(InputError, match=words):
        backstory.fit(table(), tmp_path / "run", **{**SMALL, **options})
    assert not (tmp_path / "run").exists()


def test_members_are_of_the_same_rows(three):
    other = backstory.fit(table(), seed=9, **SMALL)
    with pytest.raises(InputError, match="same data and training rows"):
        Ensemble([three.members[0], other])


# -- runs -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("ensemble")
    table().to_csv(path / "table.csv", index=False)
    return path


ARGUMENTS = ["--latent", "2", "--hidden", "8", "--epochs", "4", "--no-compile", "--seed", "5"]
ARGUMENTS += ["--likelihood", "joint"]


def test_the_command_line_takes_it_everywhere(folder, three, x, capsys):
    data, run = str(folder / "table.csv"), str(folder / "run")
    assert main(["fit", data, "-o", run, "--ensemble", "3", *ARGUMENTS]) == 0
    opened = backstory.open(run)
    assert np.allclose(opened.restore(x).mean, three.restore(x).mean, atol=1e-5)
    assert (folder / "run" / "members" / "2" / "training.png").exists()
    assert not (folder / "run" / "ensemble.json").exists()
    capsys.readouterr()
    for number, command in enumerate(
        [
            ["sample", run, "-n", "7", "--where", "a=1"],
            ["sample", run, "-n", "7", "--prior", "mixture", "--components", "2"],
            ["encode", run, data, "--std", "--draws", "2"],
            ["reconstruct", run, data],
            ["restore", run, data, "--std", "--draws", "2"],
            ["impute", run, data, "--std", "--draws", "4"],
            ["score", run, data, "--limit", "20"],
        ]
    ):
        assert main([*command, "-o", str(folder / f"{number}.csv")]) == 0, capsys.readouterr().err
    assert pd.read_csv(folder / "5.csv").notna().all(axis=None)
    assert len(pd.read_csv(folder / "5.draws.csv")) == 4 * 120
    capsys.readouterr()
    for command in (
        ["evaluate", run, data, "--limit", "20"],
        ["evaluate", run, data, "--missing", "0.3", "--limit", "20"],
        ["info", run],
    ):
        assert main([*command, "--json"]) == 0
        record = json.loads(capsys.readouterr().out)
    assert record["ensemble"] == 3
    assert record["parameters"] == sum(p.numel() for m in three.members for p in m.vae.state_dict().values())
    assert main(["info", run]) == 0
    assert "3 models" in capsys.readouterr().out


def test_a_run_that_was_cut_off_goes_on(folder, three, x, monkeypatch, capsys):
    data, run = str(folder / "table.csv"), folder / "cut"
    epochs = iter(range(7))  # in the middle of the second member

    def interrupting(self: train.Trainer, *arguments: object, **options: object) -> dict:
        if next(epochs, None) is None:
            signal.raise_signal(signal.SIGINT)
        return whole(self, *arguments, **options)

    whole = train.Trainer._epoch
    monkeypatch.setattr(train.Trainer, "_epoch", interrupting)
    assert main(["fit", data, "-o", str(run), "--ensemble", "3", *ARGUMENTS]) == 130
    assert "go on with: backstory fit" in capsys.readouterr().err
    monkeypatch.setattr(train.Trainer, "_epoch", whole)
    first = (run / "members" / "0" / "model.safetensors").stat().st_mtime_ns
    assert main(["sample", str(run), "-o", str(folder / "never.csv")]) == 2
    assert "has not ended" in capsys.readouterr().err
    assert main(["fit", data, "-o", str(run), "--resume", "--ensemble", "2"]) == 2
    assert "begun with ensemble 3, got 2" in capsys.readouterr().err
    assert main(["fit", data, "-o", str(run), "--resume", "--epochs", "9"]) == 2
    assert "begun with epochs 4, got 9" in capsys.readouterr().err
    assert main(["fit", data, "-o", str(run), "--resume"]) == 0
    assert (run / "members" / "0" / "model.safetensors").stat().st_mtime_ns == first
    opened = backstory.open(run)
    for mine, its in zip(opened.members, backstory.open(folder / "run").members, strict=True):
        for name, value in mine.vae.state_dict().items():
            torch.testing.assert_close(value, its.vae.state_dict()[name], rtol=0, atol=0, equal_nan=True)
    assert main(["fit", data, "-o", str(run), "--resume", "--epochs", "4"]) == 0
    assert "nothing to go on with" in capsys.readouterr().err
    assert main(["fit", data, "-o", str(run), "--resume", "--epochs", "9"]) == 2
    assert "begun with epochs 4, got 9" in capsys.readouterr().err


def test_a_single_run_is_not_taken_up_as_several(folder):
    run = folder / "single"
    backstory.fit(table(), run, **SMALL)
    with pytest.raises(InputError, match=r"single|finished"):
        backstory.fit(table(), run, ensemble=2, resume=True, **SMALL)


def test_estimators_average():
    x = table()[["a", "b"]].to_numpy()
    small = {"latent": 1, "epochs": 3, "options": {"hidden": (8,), "compile": False}, "random_state": 0}
    imputer = VAEImputer(**small).fit(x)
    assert len(imputer.model_.members) == 3
    assert np.isfinite(imputer.transform(x)).all()
    density = VAEDensity(ensemble=2, **small).fit(x)
    each = [scoring.log_evidence(m.vae, torch.tensor(x)) for m in density.model_.members]
    truth = torch.logsumexp(torch.stack(each), 0) - math.log(2)
    np.testing.assert_allclose(density.score_samples(x), truth.numpy())


def test_the_split_may_have_a_seed_of_its_own():
    short = SMALL | {"epochs": 1, "seed": 5, "split_seed": 9}
    several, alone = backstory.fit(table(), ensemble=2, **short), backstory.fit(table(), **short)
    for member in several.members:
        assert np.array_equal(member.splits.validation, alone.splits.validation)
