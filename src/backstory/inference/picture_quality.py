"""How near images come to others: PSNR, and SSIM with the window and constants of Wang et al. 2004.

    PSNR = −10 log₁₀ mean (x − y)²
    SSIM = mean of (2 μx μy + C₁)(2 σxy + C₂) / ((μx² + μy² + C₁)(σx² + σy² + C₂))

Values are fractions of the full range. The local moments of SSIM have Gaussian weights, σ = 1.5 pixels, in a
window of 11 × 11 pixels that lies within the image; a smaller image has the largest odd window that fits. The
channels of colour images are averaged.
"""

import math

import numpy as np
from scipy.ndimage import correlate1d

WINDOW, SIGMA = 11, 1.5
C1, C2 = 0.01**2, 0.03**2


def psnr(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """PSNR of each image, (N,) in dB, infinite for equal ones; x and y are (N, H, W) or (N, H, W, C).

    >>> psnr(np.zeros((1, 2, 2)), np.full((1, 2, 2), 0.1))
    array([20.])
    """
    error = np.square(x - y).mean(axis=_pixels(x))
    return -10 * np.log10(error, out=np.full(len(x), -math.inf), where=error > 0)


def ssim(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """SSIM of each image, (N,), 1 for equal ones; x and y are (N, H, W) or (N, H, W, C).

    >>> ssim(np.ones((1, 12, 12)), np.ones((1, 12, 12)))
    array([1.])
    """
    width = min(WINDOW, *x.shape[1:3])
    half = (width - 1) // 2
    offsets = np.arange(-half, half + 1)
    weights = np.exp(-np.square(offsets) / (2 * SIGMA**2))
    weights /= weights.sum()

    def local(values: np.ndarray) -> np.ndarray:
        """Weighted means of all windows within the image."""
        for axis in (1, 2):
            values = correlate1d(values, weights, axis=axis)
        return values[:, half : values.shape[1] - half, half : values.shape[2] - half]

    x, y = x.astype(np.float64), y.astype(np.float64)
    mean_x, mean_y = local(x), local(y)
    var_x, var_y = local(x * x) - mean_x**2, local(y * y) - mean_y**2
    covariance = local(x * y) - mean_x * mean_y
    values = (2 * mean_x * mean_y + C1) * (2 * covariance + C2)
    values /= (mean_x**2 + mean_y**2 + C1) * (var_x + var_y + C2)
    result: np.ndarray = values.mean(axis=_pixels(x))
    return result


def _pixels(x: np.ndarray) -> tuple[int, ...]:
    """All axes but that of the images, which may be none."""
    return tuple(range(1, x.ndim))
