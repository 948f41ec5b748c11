"""Scores of rows: the closed form, no influence of company, p-values by counting."""

import numpy as np
import pytest
import torch
from mixed import mixed_table
from scipy import stats

import backstory
from backstory import InputError
from backstory.inference import missingness, scoring


def test_the_evidence_of_a_linear_gaussian_model_is_exact(linear_gaussian):
    exact = linear_gaussian()
    found = scoring.log_evidence(exact.vae, exact.x, samples=3)
    torch.testing.assert_close(found, exact.log_evidence, rtol=0, atol=1e-9)


def test_a_row_is_scored_alike_in_any_company(small_vae, levels):
    vae, x = small_vae(), levels(7)
    whole = scoring.log_evidence(vae, x)
    alone = torch.cat([scoring.log_evidence(vae, row[None]) for row in x.flip(0)]).flip(0)
    torch.testing.assert_close(alone, whole, rtol=1e-12, atol=1e-12)


def test_surprise_adds_up_to_the_reconstruction(linear_gaussian):
    exact = linear_gaussian()
    found = scoring.look(exact.vae, exact.x, samples=2000).surprise
    terms = exact.vae.terms(exact.x, samples=20_000, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(found.sum(1), -terms.log_likelihood.detach().mean(0), rtol=0.02, atol=0.05)


def test_what_is_missing_has_no_surprise():
    x = np.random.default_rng(0).normal(size=(60, 3))
    x[::4, 1] = np.nan
    model = backstory.fit(x, latent=1, hidden=(4,), epochs=1, progress=False)
    found = model.score(x)
    assert np.array_equal(np.isnan(found.surprise), np.isnan(x))
    assert np.isfinite(found.log_evidence).all()


def scores(values, reference):
    """Of numbers that are evidence and, with the other sign, the surprise of a single entry."""
    looks = [scoring.Looks(torch.as_tensor(v), -torch.as_tensor(v)[:, None]) for v in (values, reference)]
    return scoring.compare(looks[0], [(np.arange(len(values)), looks[1])])


def test_p_values_are_shares_of_the_rows_compared_with():
    found = scores([-9.0, 2.0, 2.5, 9.0], [1.0, 2.0, 3.0])
    assert found.p_value.tolist() == [1 / 4, 3 / 4, 3 / 4, 1.0]
    assert found.entry_p_value[:, 0].tolist() == [1 / 4, 3 / 4, 3 / 4, 1.0]
    assert found.excess[:, 0].tolist() == [11.0, 0.0, -0.5, -7.0]
    assert found.strange(level=0.25) == [[0], [], [], []]


def test_p_values_of_rows_from_the_same_place_are_uniform():
    rng = np.random.default_rng(0)
    found = scores(rng.normal(size=2000), rng.normal(size=5000))
    assert stats.kstest(found.p_value, "uniform").pvalue > 0.01


@pytest.fixture(scope="module")
def model():
    rng = np.random.default_rng(0)
    z = rng.normal(size=600)
    x = np.stack([z, z + 0.1 * rng.normal(size=600), rng.normal(size=600)], 1)
    return backstory.fit(x, latent=1, network="linear", epochs=100, seed=0, progress=False)


def test_a_run_keeps_what_rows_are_compared_with(model, tmp_path):
    x = np.array([[0.3, 0.3, 0.3], [0.0, 0.0, 9.0], [2.5, -2.5, 0.0]])
    found = model.score(x)
    assert found.p_value[0] > 0.2
    assert found.p_value[1] == found.p_value[2] == 1 / 61  # of 60 validation rows
    assert found.strange()[1] == [2]
    assert set(found.strange()[2]) >= {0} or set(found.strange()[2]) >= {1}
    again = backstory.open(model.save(tmp_path / "run")).score(x)
    np.testing.assert_array_equal(again.p_value, found.p_value)
    np.testing.assert_array_equal(again.surprise, found.surprise)


def correlated(rows, seed, missing=0.3):
    """Three columns, the first two nearly the same, with gaps at random."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=rows)
    x = np.stack([z, z + 0.3 * rng.normal(size=rows), 3 * rng.normal(size=rows)], 1)
    return np.where(rng.random(x.shape) < missing, np.nan, x)


@pytest.fixture(scope="module")
def gappy():
    x, options = correlated(600, 0), {"network": "linear", "objective": "elbo", "epochs": 30}
    return backstory.fit(x, latent=1, validation=0.2, seed=0, progress=False, **options)


@pytest.mark.parametrize("most", [30, 2], ids=["each pattern", "rare patterns together"])
def test_p_values_are_uniform_within_each_pattern_of_gaps(gappy, monkeypatch, most):
    monkeypatch.setattr(missingness, "MOST_PATTERNS", most)
    x = correlated(1500, 1)
    found, gaps = gappy.score(x, correlated(8000, 2)), np.isnan(x)
    for pattern in np.unique(gaps, axis=0):
        rows = (gaps == pattern).all(1)
        if pattern.all():  # nothing is known of such a row
            assert np.isnan(found.p_value[rows]).all()
        elif most == 30:
            assert stats.kstest(found.p_value[rows], "uniform").pvalue > 0.005
            assert np.isfinite(found.entry_p_value[rows][:, ~pattern]).all()
    for count in range(3):  # rare patterns with the same number of gaps are compared together
        assert stats.kstest(found.p_value[gaps.sum(1) == count], "uniform").pvalue > 0.005


def test_a_pattern_without_enough_whole_rows_is_compared_with_filled_ones(gappy):
    x, reference = correlated(1000, 2, missing=0.0), correlated(400, 3, missing=0.6)
    assert 10 < (~np.isnan(reference).any(1)).sum() < scoring.ENOUGH
    found = gappy.score(x, reference)
    assert np.unique(found.p_value).size > 30
    assert found.p_value.min() < 0.05
    assert abs(found.p_value.mean() - 0.5) < 0.1
    assert (gappy.score(x[:5], reference).p_value == found.p_value[:5]).all()


def test_a_run_keeps_its_rows_with_their_gaps(gappy, tmp_path):
    again = backstory.open(gappy.save(tmp_path / "run"))
    x = correlated(50, 4)
    np.testing.assert_array_equal(again.score(x).p_value, gappy.score(x).p_value)


def test_other_rows_can_be_given(model):
    x = np.zeros((1, 3))
    assert model.score(x, reference=np.full((4, 3), 5.0)).p_value[0] == 1.0


def test_a_run_of_images_kept_no_rows():
    images = np.random.default_rng(0).integers(0, 2, (40, 4, 4)).astype(np.uint8)
    model = backstory.fit(images, latent=1, hidden=(4,), epochs=1, progress=False)
    with pytest.raises(InputError, match="reference"):
        model.score(images)
    assert model.score(images, images).surprise.shape == (40, 0)


def test_surprise_at_columns_is_that_of_asking_for_each_alone():
    options = {"likelihood": "joint", "latent": 2, "hidden": (8,)}
    model = backstory.fit(mixed_table(80, 0), epochs=1, progress=False, **options)
    rows = backstory.load(mixed_table(80, 0)).values[:20]
    x = model.schema.prepare(torch.as_tensor(rows))
    found = scoring.look(model.vae, x, samples=4).surprise
    noise = torch.randn(4, 1, 2, generator=torch.Generator().manual_seed(0)).expand(-1, 20, -1)
    likelihood, there = model.vae.decode(model.vae.encode(x).transport(noise)), ~torch.isnan(x)
    for j in range(x.shape[1]):
        only = there & (torch.arange(x.shape[1]) == j)
        alone = -likelihood.log_prob(x, only).mean(0)
        torch.testing.assert_close(found[there[:, j], j], alone[there[:, j]])
    assert torch.equal(found.isnan(), ~there)
