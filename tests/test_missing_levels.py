"""A condition whose level is missing in some rows: training, densities, levels, draws, files."""

import numpy as np
import pandas as pd
import pytest
import torch

import backstory
from backstory.cli.main import main
from backstory.data.load import load
from backstory.data.observation import Observation
from backstory.models.defaults import default_schedule
from backstory.options import TrainOptions
from backstory.training import schedule
from backstory.training.step import Bound

RNG = np.random.default_rng(0)
N, SHARE, APART = 800, 0.3, 3.0
C = (RNG.random(N) < SHARE).astype(int)
X = np.stack([RNG.normal(APART * C, 1), RNG.normal(0, 1, N)], 1)
LABELS = np.where(np.arange(N) < 80, C.astype(object), None)  # of a tenth of the rows
OPTIONS = {"latent": 1, "hidden": (32,), "likelihood": "gaussian-fixed", "sigma": 0.5, "progress": False}
SMALL = {"latent": 2, "hidden": (8,), "epochs": 2, "progress": False}


@pytest.fixture(scope="module")
def mixture():
    """A model of two Gaussians, whose p(c|x) is known, with a tenth of the labels."""
    return backstory.fit(X, given=LABELS, epochs=60, **OPTIONS)


@pytest.fixture
def refusal():
    """The sentence of the InputError that a call raises."""

    def sentence(call, *args, **options) -> str:
        with pytest.raises(backstory.InputError) as error:
            call(*args, **options)
        return str(error.value)

    return sentence


def true_posterior(x: np.ndarray) -> np.ndarray:
    """p(c = 1 | x) of the two Gaussians."""
    odds = np.log(SHARE / (1 - SHARE)) + APART * x[:, 0] - APART**2 / 2
    return 1 / (1 + np.exp(-odds))


# -- truths -------------------------------------------------------------------------------------------------


def test_levels_are_inferred_as_by_the_true_posterior(mixture) -> None:
    truth = true_posterior(X)
    for method in ("bayes", "encoder"):
        found = mixture.classify(X, method=method).probabilities[:, 1]
        assert np.abs(found - truth).mean() < 0.05, method


def test_the_density_is_the_sum_over_the_levels(mixture) -> None:
    rows = X[:50]
    each = [mixture.log_evidence(rows, samples=400, given={"class": k}).log_evidence for k in (0, 1)]
    shares = torch.tensor(mixture.schema.conditions[0].shares)
    expected = torch.logsumexp(torch.stack(each, 1) + shares.log(), 1)
    found = mixture.log_evidence(rows, samples=400)
    torch.testing.assert_close(found.log_evidence, expected, rtol=0, atol=0.05)
    assert float((found.elbo - found.log_evidence).max()) < 3 * float(found.standard_error.max()) + 1e-3
    looked = mixture._look(mixture._drawn(rows)).log_evidence
    torch.testing.assert_close(looked.double(), expected.double(), rtol=0, atol=0.2)


def test_the_density_is_the_same_by_a_method_that_needs_gradients(mixture) -> None:
    found, expected = mixture.log_evidence(X[:4], method="variational"), mixture.log_evidence(X[:4])
    assert {*found.methods} == {"variational"}
    torch.testing.assert_close(found.log_evidence, expected.log_evidence, rtol=0, atol=0.1)


def test_rows_with_a_level_are_as_in_company_of_their_own(mixture) -> None:
    some = np.array([0, None, 1, None], object)
    found = mixture.log_evidence(X[:4], samples=100, given={"class": some})
    alone = mixture.log_evidence(X[:4], samples=100, given={"class": [0, 0, 1, 1]})
    assert found.log_evidence.shape == (4,)
    torch.testing.assert_close(found.log_evidence[0], alone.log_evidence[0], rtol=0, atol=0.1)
    assert mixture.encode(X[:4], given={"class": some}).mean.isfinite().all()
    assert np.isfinite(mixture.reconstruct(X[:4])).all()


def test_draws_without_a_level_are_of_all_levels(mixture) -> None:
    drawn = mixture.sample(4000, seed=0)
    assert (drawn[:, 0] > APART / 2).mean() == pytest.approx((X[:, 0] > APART / 2).mean(), abs=0.05)


def test_a_missing_level_of_some_draws_is_drawn_alone(mixture) -> None:
    drawn = mixture.sample(4000, seed=0, given={"class": [None, 1] * 2000})[:, 0] > APART / 2
    assert drawn[::2].mean() == pytest.approx((X[:, 0] > APART / 2).mean(), abs=0.05)
    assert drawn[1::2].mean() > 0.8


def test_the_objective_is_the_sum_over_the_levels(mixture) -> None:
    """With every level summed over, the bound is that of eq. 7, and of eq. 6 where c is observed."""
    given = {"class": np.array([None, 1, 0, None], object)}
    rows = mixture._drawn(X[:4], given)
    options = schedule.resolve(TrainOptions(), N, default_schedule(mixture.schema, mixture.options))
    bound = Bound(mixture.vae, mixture.schema, options)
    noise = torch.randn(1, 4, 1, generator=torch.Generator().manual_seed(0))
    from backstory.training.step import Batch

    with torch.no_grad():
        found = bound(Batch(rows.x, noise, rows.given), 1.0, N).objective
        log_q = mixture.vae.levels.posterior(mixture.vae.inputs(rows.x), rows.given)
        bounds = []
        for level in range(2):
            c = torch.nn.functional.one_hot(torch.full((4,), level), 2).float()
            terms = mixture.vae.terms(Observation(rows.x, c), noise=noise)
            bounds.append(terms.log_likelihood[0] - terms.kl)
    joint = torch.stack(bounds, 1) + torch.tensor(mixture.schema.conditions[0].log_shares).float()
    q = log_q.exp()
    expected = torch.where(q > 0, q * (joint - log_q), 0.0).sum(1)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(found[1:3], joint[[1, 2], [1, 0]])


# -- restoration ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def linear():
    """A linear-Gaussian model of three correlated columns, of which each level has a mean of its own."""
    rng = np.random.default_rng(1)
    c = rng.integers(0, 2, 600)
    x = 2.0 * c[:, None] + rng.normal(size=(600, 1)) * [1.0, 0.8, -0.6] + 0.5 * rng.normal(size=(600, 3))
    labels = np.where(np.arange(600) < 200, c.astype(object), None)
    options = {"network": "linear", "likelihood": "gaussian", "latent": 1, "lr": 1e-2, "progress": False}
    return backstory.fit(x, given=labels, epochs=40, **options)


def exact_restoration(model, y):
    """p(c|y), mean and variance of x in closed form where the first column alone is observed."""
    schema, condition = model.schema, model.schema.conditions[0]
    prepared, a = schema.prepare(torch.tensor(y)), torch.eye(3)[:1]
    joint, means, variances = [], [], []
    for level in range(2):
        codes = torch.nn.functional.one_hot(torch.full((len(y),), level), 2)
        exact = model.exact().given(codes)
        joint.append(exact.log_evidence(prepared, ~prepared.isnan()) + condition.log_shares[level])
        found = exact.restored(prepared[:, :1], a)
        means.append(found.mean.float())
        variances.append(found.covariance.diagonal(dim1=1, dim2=2))
    share = torch.softmax(torch.stack(joint), 0).unsqueeze(-1)
    stored = torch.stack([torch.tensor(schema.means(m)) for m in means]).double()
    spread = torch.stack([torch.tensor(schema.deviations(v.sqrt().float())) for v in variances]).double()
    mean = (share * stored).sum(0)
    return share[..., 0], mean, (share * (spread**2 + stored**2)).sum(0) - mean**2, torch.stack(joint)


@pytest.mark.parametrize("method", ["importance", "variational", "hmc", "auto"])
def test_a_restoration_sums_over_the_levels_by_their_probability(linear, method) -> None:
    y = np.stack([np.array([-1.5, 0.5, 1.0, 1.5, 4.0]), *np.full((2, 5), np.nan)], 1)
    share, mean, variance, joint = exact_restoration(linear, y)
    assert 0.1 < share[0, 2] < 0.9  # the level matters
    found = linear.restore(y, draws=4000, method=method, seed=0)
    np.testing.assert_allclose(found.mean, mean, rtol=0, atol=0.12)
    np.testing.assert_allclose(found.std[:, 1:], variance.sqrt()[:, 1:], rtol=0, atol=0.1)
    np.testing.assert_allclose(found.draws.mean(0), mean, rtol=0, atol=0.12)
    np.testing.assert_allclose(found.draws.std(0)[:, 1:], variance.sqrt()[:, 1:], rtol=0, atol=0.1)
    if method != "hmc":
        np.testing.assert_allclose(found.log_evidence, torch.logsumexp(joint, 0), rtol=0, atol=0.05)


def test_rows_with_a_level_are_restored_as_in_company_of_their_own(linear) -> None:
    y = np.stack([np.array([-1.5, 1.0, 1.0, 4.0]), *np.full((2, 4), np.nan)], 1)
    given = {"class": np.array([0, None, 1, None], object)}
    mixed = linear.restore(y, given=given, draws=5, seed=3)
    alone = linear.restore(y, given={"class": [0, 0, 1, 0]}, draws=5, seed=3)
    assert np.array_equal(mixed.mean[[0, 2]], alone.mean[[0, 2]])
    assert np.array_equal(mixed.draws[:, [0, 2]], alone.draws[:, [0, 2]])
    assert not np.array_equal(mixed.mean[[1, 3]], alone.mean[[1, 3]])
    again = linear.restore(y, given=given, draws=5, seed=3)
    assert np.array_equal(mixed.draws, again.draws)


def test_rows_with_all_or_nothing_observed_say_nothing_of_each_other(linear) -> None:
    y = np.array([[1.0, 2.0, 3.0], [np.nan, np.nan, np.nan]])
    found = linear.restore(y, draws=3000, seed=0)
    assert found.methods == ("observed", "prior")
    assert np.array_equal(found.mean[0], np.float32(y[0]))
    assert not found.std[0].any()
    drawn = linear.sample(4000, seed=1)
    np.testing.assert_allclose(found.draws[:, 1].mean(0), drawn.mean(0), rtol=0, atol=0.15)
    np.testing.assert_allclose(found.mean[1], drawn.mean(0), rtol=0, atol=0.15)


def test_noisy_rows_without_a_level_are_restored(linear) -> None:
    y = linear.sample(6, seed=2)
    mask = np.ones(y.shape, bool)
    mask[::2, 1] = False  # another mask in each row
    found = linear.restore(y, backstory.Mask(mask) @ backstory.Noise(0.3), draws=3, seed=0)
    assert np.isfinite(found.mean).all()
    assert found.draws.shape == (3, 6, 3)


def test_cells_with_levels_are_filled_by_the_sum_over_the_levels() -> None:
    rng = np.random.default_rng(2)
    kind = rng.choice(["a", "b"], 400)
    colour = np.where(rng.random(400) < 0.9, np.where(kind == "a", "red", "blue"), "green")
    size = np.where(kind == "a", 0.0, 6.0) + rng.normal(size=400)
    frame = pd.DataFrame({"kind": kind, "colour": colour, "size": size})
    frame.loc[100:, "kind"] = None
    model = backstory.fit(frame, given="kind", likelihood="joint", epochs=30, hidden=(32,), progress=False)
    asked = pd.DataFrame({"kind": [None, None, "b"], "colour": [None] * 3, "size": [-0.5, 6.5, -0.5]})
    filled = model.impute(asked)
    assert filled["colour"].tolist()[:2] == ["red", "blue"]
    found = model.restore(asked, draws=0)
    for _, probs in found.level_probs:
        torch.testing.assert_close(probs.sum(1), torch.ones(probs.sum(1).shape), rtol=0, atol=1e-4)


def test_an_ensemble_restores_rows_without_a_level() -> None:
    pair = backstory.fit(X, given=LABELS, ensemble=2, **SMALL | {"epochs": 1})
    y = np.where(np.arange(2) == 0, X[:4], np.nan)
    assert np.isfinite(pair.restore(y, draws=3).mean).all()


# -- what does not change -----------------------------------------------------------------------------------


def test_a_model_with_all_levels_is_as_before() -> None:
    whole = backstory.fit(X, given=C, **SMALL)
    assert whole.vae.levels is None
    assert not any(name.startswith("levels") for name in whole.vae.state_dict())
    gaps = backstory.fit(X, given=LABELS, **SMALL | {"epochs": 1})
    assert gaps.vae.levels is not None
    from backstory.models import build

    fresh = [build.build(model.schema, model.options, 0).state_dict() for model in (whole, gaps)]
    assert all(torch.equal(value, fresh[1][name]) for name, value in fresh[0].items())


def test_labels_that_are_kept_are_balanced_and_seeded(tmp_path) -> None:
    options = SMALL | {"labelled": 40, "epochs": 1}
    model = backstory.fit("digits", tmp_path / "run", given="class", **options)
    (condition,) = model.schema.conditions
    assert condition.shares == pytest.approx([0.1] * 10)
    data = load("digits")
    assert model.trained_on(data)
    again = backstory.fit("digits", given="class", **options)
    assert torch.equal(
        model.vae.levels.network.layers[0].both.weight, again.vae.levels.network.layers[0].both.weight
    )
    opened = backstory.open(tmp_path / "run")
    rows = data.values[:5]
    assert torch.equal(opened.log_evidence(rows, 10).log_evidence, model.log_evidence(rows, 10).log_evidence)


def test_levels_without_a_labelled_row_are_counted(caplog) -> None:
    kind = np.where(np.arange(N) % 4 == 0, "x", np.where(C == 1, "one", "zero"))
    for labelled, words in ((1, "2 of 3 levels of 'class' have no"), (2, "1 of 3 levels of 'class' has no")):
        backstory.fit(X, given=kind, labelled=labelled, **SMALL | {"epochs": 1})
        assert f"{words} labelled row" in caplog.text
        caplog.clear()
    backstory.fit(X, given=kind, labelled=3, **SMALL | {"epochs": 1})
    assert "labelled row" not in caplog.text


def test_a_run_goes_on_to_the_bit(tmp_path, monkeypatch) -> None:
    from backstory.training.trainer import Trainer

    options = SMALL | {"epochs": 3}
    whole = backstory.fit(X, tmp_path / "whole", given=LABELS, **options)
    step, taken = Trainer._step, []

    def interrupted(self, *args):
        taken.append(1)
        if len(taken) == 20:
            raise KeyboardInterrupt
        step(self, *args)

    monkeypatch.setattr(Trainer, "_step", interrupted)
    backstory.fit(X, tmp_path / "cut", given=LABELS, checkpoint_every=1e-9, **options)
    monkeypatch.setattr(Trainer, "_step", step)
    again = backstory.fit(X, tmp_path / "cut", given=LABELS, resume=True, progress=False)
    for name, value in whole.vae.state_dict().items():
        assert torch.equal(value, again.vae.state_dict()[name]), name


def test_an_ensemble_sums_over_the_levels() -> None:
    pair = backstory.fit(X, given=LABELS, ensemble=2, **SMALL | {"epochs": 1})
    assert pair.log_evidence(X[:5], 10).log_evidence.shape == (5,)
    assert pair.classify(X[:5], method="encoder").probabilities.sum(1) == pytest.approx(np.ones(5))


# -- refusals -----------------------------------------------------------------------------------------------


def test_what_cannot_be_is_refused(mixture, refusal) -> None:
    numbers = np.where(np.arange(N) < 80, X[:, 0], np.nan)
    assert "must be observed" in refusal(backstory.fit, X, given=numbers, **SMALL)
    both = {"class": LABELS, "other": LABELS}
    assert "one condition with missing values" in refusal(backstory.fit, X, given=both, **SMALL)
    for objective in ("tcvae", "mmd", "free-bits", "score"):
        assert "compares the rows" in refusal(backstory.fit, X, given=LABELS, objective=objective, **SMALL)
    assert "label_weight" in refusal(backstory.fit, X, given=C, label_weight=1.0, **SMALL)
    assert "compile" in refusal(backstory.fit, X, given=LABELS, compile=True, **SMALL)
    assert "`labelled`" in refusal(backstory.fit, "digits", labelled=10, **SMALL)
    assert "from 1 to" in refusal(backstory.fit, "digits", given="class", labelled=10_000, **SMALL)


def test_a_known_condition_has_no_network_for_it(refusal) -> None:
    model = backstory.fit(X, given=C, **SMALL | {"epochs": 1})
    assert "use method bayes" in refusal(model.classify, X, method="encoder")


# -- files --------------------------------------------------------------------------------------------------


def test_the_command_line(tmp_path, capsys) -> None:
    table, run = tmp_path / "a.csv", str(tmp_path / "run")
    frame = pd.DataFrame({"a": X[:200, 0], "b": X[:200, 1], "kind": np.where(C[:200] == 1, "one", "zero")})
    frame.assign(kind=frame["kind"].where(frame.index < 60)).to_csv(table, index=False)
    assert main(["fit", str(table), "-o", run, "--given", "kind", "--epochs", "2", "--hidden", "8"]) == 0
    assert "observed in 30 % of the rows" in capsys.readouterr().err
    assert main(["evaluate", run, str(table), "--samples", "20"]) == 0
    told = f"given kind: read from {table}; kind is inferred in rows without it\n"
    assert told in capsys.readouterr().err
    assert main(["classify", run, str(table), "-o", str(tmp_path / "c.csv"), "--method", "encoder"]) == 0
    assert len(pd.read_csv(tmp_path / "c.csv")) == 200
    assert main(["sample", run, "-n", "30", "-o", str(tmp_path / "s.csv"), "--seed", "0"]) == 0
    drawn = pd.read_csv(tmp_path / "s.csv")
    assert list(drawn) == ["a", "b", "kind"]
    assert set(drawn["kind"]) == {"one", "zero"}
    assert main(["score", run, str(table), "-o", str(tmp_path / "p.csv")]) == 0
    gaps, whole = tmp_path / "gaps.csv", tmp_path / "whole.csv"
    frame.assign(a=frame["a"].where(frame.index % 2 == 0), kind="").iloc[:20].to_csv(gaps, index=False)
    assert main(["impute", run, str(gaps), "-o", str(whole)]) == 0
    assert pd.read_csv(whole)[["a", "b"]].notna().all().all()
    digits = ["fit", "digits", "-o", str(tmp_path / "d"), "--given", "class", "--labelled", "50"]
    assert main([*digits, "--epochs", "1", "--hidden", "8"]) == 0
    assert "observed in 3.87 % of the rows" in capsys.readouterr().err
    classes = tmp_path / "d.csv"
    assert main(["classify", digits[3], "digits", "-o", str(classes), "--samples", "2", "--limit", "20"]) == 0
    assert "classes of 20 images of the test part" in capsys.readouterr().err
    assert pd.read_csv(classes)["row"].tolist() == backstory.load("digits").test_rows[:20].tolist()
