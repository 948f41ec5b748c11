"""Numbers far from zero keep their digits."""

import numpy as np
import pandas as pd
import pytest
import torch

import backstory
from backstory.data.load import load
from backstory.data.origins import MOST, array_origins, origin_of

NEAR = 0.01 * np.random.default_rng(0).normal(size=(200, 3))


@pytest.mark.parametrize("offset", [1e6, -1e6, 1e8])
@pytest.mark.parametrize("kind", ["array", "tensor", "npy", "frame"])
def test_densities_far_from_zero_are_those_near_it(tmp_path, offset: float, kind: str) -> None:
    far = NEAR + offset
    if kind == "npy":
        np.save(tmp_path / "x.npy", far)
    sources = {
        "array": far,
        "tensor": torch.from_numpy(far),
        "npy": tmp_path / "x.npy",
        "frame": pd.DataFrame(far, columns=list("abc")),
    }
    options = {"network": "linear", "latent": 1, "epochs": 3, "progress": False}
    model, true = backstory.fit(sources[kind], **options), backstory.fit(NEAR, **options)
    evidence, expected = (
        m.log_evidence(x, method="exact").log_evidence for m, x in ((model, sources[kind]), (true, NEAR))
    )
    np.testing.assert_allclose(evidence, expected, rtol=1e-3, atol=1e-3)
    drawn = np.asarray(model.sample(50, seed=0))
    assert drawn.std(0).min() > 1e-3
    assert np.abs(drawn - offset).max() < 1


def test_restorations_far_from_zero_keep_what_was_observed() -> None:
    far = NEAR + 1e6
    holes = far.copy()
    holes[::3, 1] = np.nan
    model = backstory.fit(holes, latent=1, epochs=2, hidden=(4,), progress=False)
    found = model.restore(holes[:30], draws=2)
    seen = ~np.isnan(holes[:30])
    np.testing.assert_array_equal(found.mean[seen], far[:30][seen])
    assert np.abs(found.mean - far[:30]).max() < 1


def test_origins_are_round_numbers_below_all_values() -> None:
    assert origin_of(-3, 5) == 0
    assert origin_of(1e6 + 0.02, 1e6 + 0.97) == 1e6
    assert -1000.6 <= origin_of(-1000.5, -1000.1) <= -1000.5
    assert origin_of(7.0, 7.0) == 7.0
    assert origin_of(float("nan"), float("nan")) == 0


def test_entries_have_an_origin_each_unless_they_are_very_many() -> None:
    both = np.column_stack([NEAR[:, 0], NEAR[:, 1] + 500])
    first, second = array_origins(both)
    assert first == 0
    assert 499.9 < second < 500
    assert array_origins(NEAR) == ()
    wide = np.repeat([[1e6], [1e6 + 0.5]], MOST + 1, axis=1)
    assert len(array_origins(wide)) == 1


def test_a_series_has_the_shape_of_its_origins() -> None:
    series = np.random.default_rng(0).normal(1e5, 1, (50, 6, 2))
    data = load(series)
    assert data.schema.origins.shape == (6, 2)
    x = data.schema.prepare(data.values)
    assert x.abs().max() < 20
    np.testing.assert_allclose(data.schema.restore(x), series, rtol=0, atol=1e-5)
