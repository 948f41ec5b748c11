"""Observation operators: what they do to x, how they compose, and what they refuse."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from backstory.errors import InputError
from backstory.inference.damaged import LEAST, ROUNDING, damage, observe
from backstory.inference.linear_maps import DENSE_LIMIT, Dense, Separable
from backstory.inference.operators import Blur, Downscale, Linear, Mask, Noise

SHAPES = [(6, 8), (5, 7), (1, 4), (5, 6, 3), (4, 4, 1)]


def images(shape, rows=3, seed=0):
    return torch.rand(rows, *shape, generator=torch.Generator().manual_seed(seed)).double()


def flip(x):
    return x.flip(1) + 2 * x


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("sigma", [0.4, 1.0, 3.0])
def test_blur_is_that_of_scipy(shape, sigma):
    x = images(shape)
    channels = (0,) * (len(shape) - 2)
    expected = ndimage.gaussian_filter(x.numpy(), (0, sigma, sigma, *channels), mode="reflect")
    np.testing.assert_allclose(damage(Blur(sigma), x), expected, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("r", [1, 2, 3])
def test_downscale_takes_means_of_blocks_the_last_of_which_may_be_smaller(shape, r):
    x, y = images(shape), damage(Downscale(r), images(shape))
    for i, j in np.ndindex(y.shape[1], y.shape[2]):
        block = x[:, i * r : (i + 1) * r, j * r : (j + 1) * r]
        torch.testing.assert_close(y[:, i, j], block.mean((1, 2)))
    assert y.shape[1:3] == (-(-shape[0] // r), -(-shape[1] // r))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "operator", [Downscale(2), Blur(1.0), Downscale(2) @ Blur(0.7), Linear(flip), Downscale(2) @ Linear(flip)]
)
def test_the_adjoint_is_the_adjoint_and_squares_are_squares(shape, operator):
    x = images(shape)
    y = damage(operator, x)
    linear = observe(operator, y, shape).linear
    other = images(tuple(y.shape[1:]), seed=1)
    torch.testing.assert_close((linear.forward(x) * other).sum(), (x * linear.adjoint(other)).sum())
    units = torch.eye(x[0].numel()).double().reshape(-1, *shape)
    squares = linear.entrywise(torch.square).forward(units)
    torch.testing.assert_close(squares, linear.forward(units).square())


def test_a_product_acts_from_right_to_left():
    x = images((6, 6))
    torch.testing.assert_close(
        damage(Downscale(2) @ Blur(1.0), x), damage(Downscale(2), damage(Blur(1.0), x))
    )
    torch.testing.assert_close(
        damage(Blur(1.0) @ Downscale(2), x), damage(Blur(1.0), damage(Downscale(2), x))
    )
    twice = damage(Linear(flip) @ Blur(1.0) @ Linear(flip), x)
    torch.testing.assert_close(twice, flip(damage(Blur(1.0), flip(x))))
    assert isinstance(observe(Blur(1.0) @ Downscale(2), images((3, 3)), (6, 6)).linear, Separable)


def test_noise_has_its_sigma_in_units_of_y(generator):
    x = torch.zeros(20_000, 2).double()
    unit = torch.tensor([3.0, 0.5])
    assert damage(Noise(0.2), x, unit, generator).std(0).numpy() == pytest.approx([0.6, 0.1], rel=0.03)
    both = damage(Noise(0.3) @ Noise(0.4), x, 2.0, generator)
    assert both.std(0).numpy() == pytest.approx([1.0, 1.0], rel=0.03)
    total = Noise(0.1) @ Linear(lambda v: v.sum(1, keepdim=True))
    assert float(observe(total, x[:1, :1], (2,), unit).sigma) == pytest.approx(0.35)
    assert float(observe(Noise(0.1) @ Downscale(3), x[:1, :1, None], (2, 2), 255.0).sigma) == pytest.approx(
        25.5
    )


def test_what_a_map_gives_without_noise_was_rounded():
    seen = observe(Downscale(2), images((2, 2)), (4, 4), 255.0)
    assert float(seen.sigma) == pytest.approx(255 * ROUNDING)
    assert observe(Mask(torch.ones(2, 2, dtype=torch.bool)), images((2, 2)), (2, 2)).exact
    assert observe(Noise(0) @ Blur(0) @ Downscale(1), images((2, 2)), (2, 2)).exact


def test_masks_and_nan_say_what_was_seen(generator):
    x, mask = images((3, 4)), torch.rand(3, 3, 4, generator=generator) < 0.5
    y = damage(Mask(mask), x)
    assert torch.equal(y.isnan(), ~mask)
    for operator in (Mask(mask), Noise(0)):
        assert torch.equal(observe(operator, y, (3, 4)).observed, mask)
    shared = np.zeros((3, 4), dtype=bool)
    shared[1] = True
    shared.flags.writeable = False
    seen = observe(Mask(shared) @ Mask(mask), y, (3, 4)).observed
    assert torch.equal(seen, mask & torch.tensor(shared.copy()))
    assert torch.isfinite(observe(Mask(mask), y, (3, 4)).y).all()


@pytest.mark.parametrize(
    ("operator", "shape", "message"),
    [
        (Noise(-0.1), (4, 4), "0 or more"),
        (Noise(float("nan")), (4, 4), "0 or more"),
        (Noise(torch.ones(3)), (4, 4), "one for each entry of y"),
        (Noise(torch.eye(4)), (4, 4), "positive in every entry"),
        (Blur(-1.0), (4, 4), "between 0 and 1000 pixels"),
        (Downscale(0), (4, 4), "whole factor"),
        (Blur(1e8), (4, 4), "between 0 and 1000 pixels"),
        (Downscale(1.5), (4, 4), "whole factor"),
        (Downscale(float("nan")), (4, 4), "whole factor"),
        (Downscale(float("inf")), (4, 4), "whole factor"),
        (Blur(1.0), (16,), "needs images"),
        (Downscale(2), (4, 4), r"\(N, 2, 2\)"),
        (Blur(1.0) @ Noise(0.1), (4, 4), "stands left of every map"),
        (Downscale(2) @ Mask(torch.ones(4, 4, dtype=torch.bool)), (4, 4), "stands left of every map"),
        (Mask(torch.ones(4, 5, dtype=torch.bool)), (4, 4), "a mask in the shape of y"),
        (Mask(np.ones((4, 4))), (4, 4), "array of bool"),
        (Linear(lambda x: x + 1), (4, 4), "linear function"),
        (Linear(torch.square), (4, 4), "linear function"),
        (Linear(lambda x: x[:, :2]), (4, 4), r"\(N, 2, 4\)"),
        (Linear(lambda x: x), (65, 65), str(DENSE_LIMIT)),
        (Linear(lambda x: x @ torch.ones(3, 3)), (4, 4), "failed with"),
        (Linear(lambda x: x.numpy()), (4, 4), "got ndarray"),
        (Linear(lambda x: x.sum()), (4, 4), r"got a tensor of shape \(\)"),
    ],
)
def test_what_cannot_be_is_refused(operator, shape, message):
    with pytest.raises(InputError, match=message):
        observe(operator, images(shape), shape)


def test_what_is_missing_of_x_is_missing_where_it_would_be_part_of_y():
    x = images((4, 4))
    x[1, 0, 0] = torch.nan
    for operator, lost in [
        (Downscale(2), 1),
        (Noise(0), 1),
        (Linear(flip), 2),
    ]:
        y, whole = damage(operator, x), damage(operator, x.nan_to_num(0.5))
        assert y.isnan().sum((1, 2)).tolist() == [0, lost, 0]
        assert torch.equal(y[~y.isnan()], whole[~y.isnan()])


def test_a_map_to_one_number_and_noise_next_to_none():
    total = Linear(lambda x: x.sum((1, 2)))
    x = images((4, 4))
    y = damage(total, x)
    seen = observe(total, y, (4, 4))
    torch.testing.assert_close(seen.linear.adjoint(y), y[:, None, None].expand(3, 4, 4))
    assert float(observe(Noise(1e-30), x, (4, 4), 255.0).sigma) == pytest.approx(LEAST * 255)


def test_y_has_to_be_there_where_the_mask_says_so():
    y = images((2, 2))
    y[0, 0, 0] = torch.nan
    mask = torch.ones(2, 2, dtype=torch.bool)
    with pytest.raises(InputError, match="NaN where the mask"):
        observe(Mask(mask), y, (2, 2))
    mask[0, 0] = False
    assert int(observe(Mask(mask), y, (2, 2)).observed.sum()) == 9
    y[0, 0, 0] = torch.inf
    with pytest.raises(InputError, match="infinity"):
        observe(Mask(mask), y, (2, 2))
    with pytest.raises(InputError, match="y of shape"):
        observe(Mask(mask), y[:0], (2, 2))


@pytest.mark.parametrize(
    "operator", [Blur(0.8), Downscale(2) @ Blur(0.8), Linear(flip), Blur(1) @ Linear(flip)]
)
@pytest.mark.parametrize("variance", [0.3, "per entry"])
def test_a_rotation_makes_the_covariance_diagonal(operator, variance):
    x = images((4, 6))
    s = torch.tensor(variance).double() if variance == 0.3 else images((4, 6), 1, seed=5)[0]
    seen = observe(operator, damage(operator, x), (4, 6))
    rotated = seen.prepared(s)
    assert rotated.diagonal
    torch.testing.assert_close(rotated.linear.forward(x), rotated.y)
    units = torch.eye(24).double().reshape(-1, 4, 6)
    a = rotated.linear.forward(units).flatten(1).T
    c = (a * s.expand(4, 6).flatten()) @ a.T
    torch.testing.assert_close(c, torch.diag(c.diagonal()), atol=1e-10, rtol=0)
    assert isinstance(seen.prepared(None).linear, Dense) or seen.diagonal
