"""PSNR and SSIM: closed forms, and the formula with a loop over all windows."""

import numpy as np
import pytest

import backstory
from backstory.data.load import load
from backstory.inference.picture_quality import C1, C2, psnr, ssim

RNG = np.random.default_rng(0)


def by_loops(x: np.ndarray, y: np.ndarray, width: int) -> float:
    """SSIM of two images (H, W), window by window (Wang et al. 2004, eq. 13 with eqs. 14 to 16)."""
    offsets = np.arange(width) - width // 2
    w = np.exp(-np.add.outer(offsets**2, offsets**2) / (2 * 1.5**2))
    w /= w.sum()
    values = []
    for i in range(x.shape[0] - width + 1):
        for j in range(x.shape[1] - width + 1):
            a, b = (image[i : i + width, j : j + width] for image in (x, y))
            mean_a, mean_b = (w * a).sum(), (w * b).sum()
            var_a, var_b = (w * (a - mean_a) ** 2).sum(), (w * (b - mean_b) ** 2).sum()
            both = (w * (a - mean_a) * (b - mean_b)).sum()
            up = (2 * mean_a * mean_b + C1) * (2 * both + C2)
            values.append(up / ((mean_a**2 + mean_b**2 + C1) * (var_a + var_b + C2)))
    return float(np.mean(values))


@pytest.mark.parametrize(("shape", "width"), [((13, 16), 11), ((8, 8), 7), ((11, 5), 5), ((28, 28), 11)])
def test_ssim_is_that_of_the_formula(shape, width) -> None:
    x = RNG.random((2, *shape))
    y = np.clip(x + RNG.normal(0, 0.2, x.shape), 0, 1)
    np.testing.assert_allclose(ssim(x, y), [by_loops(a, b, width) for a, b in zip(x, y, strict=True)])


def test_closed_forms() -> None:
    a, b = np.full((1, 12, 12), 0.3), np.full((1, 12, 12), 0.6)
    np.testing.assert_allclose(ssim(a, b), (2 * 0.18 + C1) / (0.09 + 0.36 + C1))
    np.testing.assert_allclose(psnr(a, b), -20 * np.log10(0.3))
    assert psnr(a, a).tolist() == [np.inf]
    colour = RNG.random((1, 12, 12, 3))
    np.testing.assert_allclose(ssim(colour, colour), 1)


def test_a_model_of_images_is_evaluated_with_both() -> None:
    data = load("digits").subset(np.arange(200))
    model = backstory.fit(data, epochs=1, hidden=(16,), latent=2, progress=False)
    found = model.evaluate(data, samples=5)
    x, y = data.values / 16, model.reconstruct(data) / 16
    assert found.psnr == pytest.approx(float(psnr(x, y).mean()), rel=1e-5)
    assert found.ssim == pytest.approx(float(ssim(x, y).mean()), rel=1e-5)
    table = backstory.fit(RNG.normal(size=(50, 3)), epochs=1, hidden=(4,), latent=1, progress=False)
    assert table.evaluate(RNG.normal(size=(5, 3)), samples=5).ssim is None


def test_no_images() -> None:
    none = np.zeros((0, 9, 8))
    assert psnr(none, none).shape == ssim(none, none).shape == (0,)
