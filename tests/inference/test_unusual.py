"""Scores by log p(x) and by training rows that are near: what each kind sees, levels, gaps, p-values."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

import backstory
from backstory.inference.exemplar import MOST_EXEMPLARS, Exemplars
from backstory.inference.unusual import Neighbours, Shares, kept_rows, robust_scale

KINDS = ("near", "group", "separate")
NETWORK = {"latent": 1, "hidden": (8,), "epochs": 5, "seed": 0, "progress": False}


def values(known: np.ndarray, x: np.ndarray) -> dict[str, np.ndarray]:
    """The values of each kind in the first view, by name."""
    found = Neighbours(known, np.zeros(known.shape[1], int)).values(x)
    return dict(zip(KINDS, found, strict=False))


def test_outliers_near_each_other_are_seen_by_groups_and_by_columns():
    """One row in fifty, far in each column, and more than a row of the others has near it."""
    rng = np.random.default_rng(0)
    x, outlier = rng.normal(size=(300, 8)), np.arange(300) < 6
    x[outlier] = 2.5 + 0.1 * rng.normal(size=(6, 8))
    areas = {kind: roc_auc_score(outlier, -value) for kind, value in values(x, x).items()}
    assert areas["near"] < 0.5
    assert min(areas["group"], areas["separate"]) > 0.9


def test_a_lone_row_between_groups_has_no_neighbour():
    """Each of its values is common, and so are their pairs' correlations; there are few rows."""
    rng = np.random.default_rng(0)
    corners = np.array([[1.0, 1.0, 1.0], [1.0, -1.0, -1.0], [-1.0, 1.0, -1.0], [-1.0, -1.0, 1.0]])
    x = corners[np.arange(40) % 4] + 0.1 * rng.normal(size=(40, 3))
    strange = np.array([[-1.0, -1.0, -1.0], [1.0, 1.0, -1.0]])
    usual, unusual = values(x, x), values(x, strange)
    assert unusual["near"].max() < usual["near"].min() - 5
    assert unusual["group"].max() < usual["group"].min()


def test_nearness_is_the_mean_distance_to_a_tenth_of_the_rows():
    rng = np.random.default_rng(0)
    x, at = rng.normal(size=(80, 3)), rng.normal(size=(5, 3))
    model = Exemplars.of(x, 0.2)
    known, y = (x - model.location) / model.scale, (at - model.location) / model.scale
    distances = np.sort(np.linalg.norm(y[:, None] - known, axis=2), 1)[:, :8]
    np.testing.assert_allclose(model.nearness(at), -np.log(distances.mean(1)), atol=1e-5)


def test_a_cell_that_one_of_two_rows_lacks_is_no_distance():
    x = np.random.default_rng(0).normal(size=(60, 2))
    alone = values(x[:, :1], x[:5, :1] + 0.1)["group"]
    gaps = np.column_stack([x[:5, 0] + 0.1, np.full(5, np.nan)])
    np.testing.assert_allclose(values(x, gaps)["group"], alone, atol=1e-6)
    holes = x.copy()
    holes[:30, 1] = np.nan
    assert np.isfinite(values(holes, np.concatenate([x, holes, gaps]))["group"]).all()
    holes[:, 1] = np.nan  # of this column nothing is known
    np.testing.assert_allclose(values(holes, x + 0.1)["group"], values(x[:, :1], x[:, :1] + 0.1)["group"])


def test_levels_without_an_order_have_the_same_distance_and_rare_ones_are_rare():
    rng = np.random.default_rng(0)
    level = np.where(rng.random(400) < 0.02, 2, rng.integers(0, 2, 400)).astype(float)
    known = np.column_stack([rng.normal(size=400), level])
    neighbours = Neighbours(known, np.array([0, 3]))
    found = neighbours.values(np.array([[0.1, 0.0], [0.1, 1.0], [0.1, 2.0], [0.1, np.nan]]))
    assert (found[:, 2] < found[:, :2].min(1)).all()
    assert np.isfinite(found).all()
    assert abs(found[1, 0] - found[1, 1]) < 0.2


def test_each_kind_has_the_same_weight_and_no_unit():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3))
    own, evidence = np.arange(200), rng.normal(size=200)
    at, theirs = rng.normal(size=(20, 3)), rng.normal(size=20)

    def scores(scale: float, spread: float) -> np.ndarray:
        shares = Shares.of(Neighbours(x * scale, np.zeros(3, int)), evidence * spread, x * scale, own)
        return shares.scores(theirs * spread, at * scale)

    np.testing.assert_allclose(scores(1.0, 1.0), scores(1000.0, 50.0), atol=1e-6)
    shares = Shares.of(Neighbours(x, np.zeros(3, int)), evidence, x, own)
    lower = shares.scores(theirs - 1e9, at) - shares.scores(theirs, at)
    gain = shares.tails[0].log_share(theirs - 1e9) - shares.tails[0].log_share(theirs)
    np.testing.assert_allclose(lower, gain / 4)  # one of four kinds


def test_few_rows_are_kept_of_many():
    assert kept_rows(5).tolist() == [0, 1, 2, 3, 4]
    many = kept_rows(10_000)
    assert len(np.unique(many)) == MOST_EXEMPLARS
    assert np.array_equal(many, kept_rows(10_000))


def test_a_spread_is_that_of_a_gaussian_without_its_tails():
    x = np.random.default_rng(0).standard_cauchy(20_000)[:, None]
    location, spread = robust_scale(np.concatenate([x, np.zeros_like(x)], 1))
    assert location == pytest.approx([0, 0], abs=0.05)
    assert spread == pytest.approx([2 / 1.349, 1], rel=0.05)


# -- in a run -----------------------------------------------------------------------------------------------


def pair(rows: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    z = rng.normal(size=rows)
    return np.stack([z, z + 0.2 * rng.normal(size=rows), rng.normal(size=rows)], 1)


@pytest.fixture(scope="module")
def model():
    return backstory.fit(pair(600, 0), validation=0.2, **NETWORK)


def test_a_run_keeps_training_rows_and_its_score_ranks_what_its_density_misses(model, tmp_path):
    """After a few epochs log p(x) knows little of the pair of columns."""
    usual, strange = pair(200, 1), pair(200, 2)
    strange[:, 1] *= -1
    x, outlier = np.concatenate([usual, strange]), np.arange(400) >= 200
    found = model.score(x)
    by_score, by_evidence = (roc_auc_score(outlier, -v) for v in (found.score, found.log_evidence))
    assert by_score > max(0.8, by_evidence + 0.1)
    assert roc_auc_score(outlier, -found.p_value) == pytest.approx(by_score, abs=0.01)
    again = backstory.open(model.save(tmp_path / "run"))
    np.testing.assert_array_equal(again.score(x).score, found.score)
    assert len(again.known) == 480


def test_p_values_of_the_score_are_uniform(model):
    found = model.score(pair(1000, 3), pair(4000, 4))
    assert stats.kstest(found.p_value, "uniform").pvalue > 0.01


def test_the_density_stays_what_it_is_without_training_rows(model):
    x, alone = pair(50, 5), backstory.fit(pair(600, 0), validation=0.2, **NETWORK)
    alone.known = None  # as in a run of an earlier version
    found, without = model.score(x), alone.score(x)
    np.testing.assert_array_equal(found.log_evidence, without.log_evidence)
    np.testing.assert_array_equal(found.surprise, without.surprise)
    usual = alone._look(alone.reference).log_evidence.numpy()
    shares = (1 + (usual <= without.log_evidence[:, None]).sum(1)) / (1 + len(usual))
    np.testing.assert_allclose(without.p_value, shares)
    assert stats.spearmanr(without.score, without.log_evidence).statistic > 0.999


def test_a_row_is_scored_alike_in_any_company_and_training_rows_leave_themselves_out(model):
    x = pair(600, 0)
    np.testing.assert_allclose(model.score(x[:3]).score, model.score(x).score[:3])
    lone = np.concatenate([x, [[50.0, -50.0, 50.0]]])
    fitted = backstory.fit(lone, validation=0.0, **NETWORK)
    scores = fitted.score(lone, x[:50]).score
    assert scores.argmin() == 600


def test_conditional_models_have_scores_by_their_density():
    frame = pd.DataFrame(pair(200, 0), columns=list("abc")).assign(group=["u", "v"] * 100)
    model = backstory.fit(frame, given=["group"], **NETWORK)
    assert model.known is None
    assert np.isfinite(model.score(frame).score).all()
