"""Restoration of grey images without a model of them: scikit-image's methods, with their parameters tuned.

An image is (H, W) in [0, 1], NaN where a pixel is missing. A method gets what was seen, what is known of the
damage, and one parameter, the best of a few by mean PSNR on other images.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

try:
    import pywt  # noqa: F401, which denoise_wavelet needs
    from skimage.metrics import structural_similarity
    from skimage.restoration import (
        denoise_nl_means,
        denoise_tv_chambolle,
        denoise_wavelet,
        inpaint_biharmonic,
        wiener,
    )
    from skimage.transform import resize
except ImportError as error:
    sys.exit(f"{error.name} is missing, which this comparison needs: pip install 'backstory[bench]'")

Image = NDArray[np.float64]


@dataclass(frozen=True)
class Known:
    """What a method is told: the size of the image, σ of the noise and of the blur, 0 without."""

    shape: tuple[int, int]
    noise: float = 0.0
    blur: float = 0.0


@dataclass(frozen=True)
class Method:
    """A method and the parameters from which its own is chosen."""

    restore: Callable[[Image, Known, float], Image]
    parameters: Sequence[float] = (0.0,)

    def __call__(self, y: Image, known: Known, parameter: float) -> Image:
        return np.clip(self.restore(y, known, parameter), 0, 1)


def total_variation(y: Image, known: Known, weight: float) -> Image:
    """Chambolle (2004); the weight is in units of σ."""
    return denoise_tv_chambolle(y, weight * known.noise)


def non_local_means(y: Image, known: Known, h: float) -> Image:
    """Buades et al. (2005) with patches of 5 × 5 pixels; h is in units of σ."""
    return denoise_nl_means(y, 5, 9, h * known.noise, sigma=known.noise, fast_mode=False)


def wavelet(y: Image, known: Known, factor: float) -> Image:
    """Soft thresholds by BayesShrink (Chang et al. 2000), for so many times the σ."""
    return denoise_wavelet(y, factor * known.noise, rescale_sigma=False)


def biharmonic(y: Image, known: Known, _: float) -> Image:
    """Damelin & Hoang (2018): Δ² x = 0 where nothing was seen."""
    return inpaint_biharmonic(np.nan_to_num(y), np.isnan(y))


def bicubic(y: Image, known: Known, _: float) -> Image:
    return resize(y, known.shape, order=3, mode="edge", anti_aliasing=False)


def deconvolution(y: Image, known: Known, balance: float) -> Image:
    """Wiener's, of the image with its edges reflected, against a Laplacian prior."""
    radius = int(4 * known.blur + 0.5)
    offset = np.arange(-radius, radius + 1)
    kernel = np.exp(-0.5 * (offset / known.blur) ** 2)
    point = np.outer(kernel, kernel)
    padded = np.pad(y, 2 * radius, mode="symmetric")
    inner = slice(2 * radius, -2 * radius)
    return wiener(padded, point / point.sum(), balance, clip=False)[inner, inner]


DENOISERS = {
    "total variation": Method(total_variation, (0.6, 0.8, 1.0, 1.2, 1.5)),
    "non-local means": Method(non_local_means, (0.4, 0.6, 0.8, 1.0, 1.3)),
    "wavelets": Method(wavelet, (0.4, 0.6, 0.8, 1.0, 1.3)),
}
INPAINTING = {"biharmonic": Method(biharmonic)}
UPSCALING = {"bicubic": Method(bicubic)}
DEBLURRING = {"Wiener": Method(deconvolution, tuple(10.0 ** np.arange(-4, 1.5, 0.5)))}


def tuned(method: Method, pairs: Sequence[tuple[Image, Image]], known: Known) -> float:
    """The parameter with the highest mean PSNR on pairs of whole and damaged images."""

    def quality(parameter: float) -> float:
        return float(np.mean([psnr(method(y, known, parameter), x) for x, y in pairs]))

    return max(method.parameters, key=quality) if len(method.parameters) > 1 else method.parameters[0]


def psnr(found: Image, truth: Image) -> float:
    """−10 log₁₀ of the mean squared error, dB."""
    return float(-10 * np.log10(np.mean(np.square(found - truth))))


def ssim(found: Image, truth: Image) -> float:
    """Structural similarity (Wang et al. 2004), in windows of 7 × 7 pixels."""
    return float(structural_similarity(found, truth, data_range=1.0))
