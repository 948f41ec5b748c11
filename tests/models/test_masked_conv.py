"""Masked convolutions look at earlier pixels alone."""

import pytest
import torch

from backstory.models.networks.masked_conv import PixelNetwork


@pytest.mark.parametrize("shape", [(4, 5), (3, 4, 3)])
def test_parameters_of_a_pixel_depend_on_the_pixels_before_it_and_on_its_maps(shape):
    height, width = shape[:2]
    network = PixelNetwork(shape, 2, (2, *shape), width=6, layers=2).double()
    generator = torch.Generator().manual_seed(0)
    for weights in network.parameters():
        weights.data = torch.randn(weights.shape, generator=generator).double()
    x = torch.randn(1, *shape, generator=generator).double().requires_grad_()
    maps = torch.randn(3, 1, 2, height, width, generator=generator).double().requires_grad_()
    out = network(x, maps)
    assert out.shape == (3, 1, 2, *shape)
    for pixel in range(height * width):
        of_pixel = out[0, 0].reshape(2, height * width, -1)[:, pixel].sum()
        of_x, of_maps = torch.autograd.grad(of_pixel, (x, maps), retain_graph=True)
        seen = of_x.reshape(height * width, -1).abs().sum(-1) > 0
        assert not seen[pixel:].any()
        assert pixel == 0 or seen[pixel - 1] or pixel % width == 0
        told = of_maps[0, 0].flatten(1).abs().sum(0) > 0
        assert told[pixel]
        assert not told[pixel + 1 :].any()
        assert not of_maps[1:].any()
