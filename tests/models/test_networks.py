"""Networks: shapes, affine ones, and gradients that reach every weight."""

import itertools
import math

import pytest
import torch
from torch import nn

from backstory.models.networks.conv import ConvDecoder, ConvEncoder, channels, sides
from backstory.models.networks.mlp import ACTIVATIONS, MLP
from backstory.models.networks.resnet import ResNetDecoder, ResNetEncoder, larger

SHAPES = [(8, 8), (28, 20), (5, 7), (64, 64, 3), (1,), (11,), (13, 1), (4, 9, 2)]
BLOCKS = ["gated", "residual", "plain"]
IMAGES = [(8, 8), (28, 20), (28, 28), (5, 7), (4, 4), (9, 33), (64, 64, 3), (15, 17, 4), (11, 8, 1), (100, 4)]


def noise(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def seeded(make, *args, **kwargs):
    """A network whose weights are the same in every test, whatever ran before."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make(*args, **kwargs)


def assert_gradient_everywhere(network: nn.Module, x: torch.Tensor) -> None:
    output = network(x)
    (output * noise(*output.shape)).sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert (parameter.grad != 0).any(), name


@pytest.mark.parametrize("rows", [1, 5])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("block", BLOCKS)
def test_mlp_shapes_and_gradients(block, shape, rows):
    encoder = seeded(MLP, shape, (2, 6), (16, 16, 16), block)
    decoder = seeded(MLP, (6,), (3, *shape), (16, 16), block)
    features = encoder(noise(rows, *shape))
    assert features.shape == (rows, 2, 6)
    assert decoder(features[:, 0]).shape == (rows, 3, *shape)
    assert_gradient_everywhere(encoder, noise(rows, *shape))
    assert_gradient_everywhere(decoder, noise(rows, 6))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("block", ["residual", "plain"])
def test_activations(block, activation):
    network = seeded(MLP, (4,), (2,), (8, 8), block, activation)
    assert any(isinstance(module, ACTIVATIONS[activation]) for module in network.modules())
    assert not is_affine(network, noise(6, 4))


@pytest.mark.parametrize("block", BLOCKS)
def test_rows_do_not_mix(block):
    network = seeded(MLP, (4,), (2,), (8, 8), block)
    x = noise(6, 4)
    torch.testing.assert_close(network(x)[2:3], network(x[2:3]))


def is_affine(network, x):
    network, x = network.double(), x.double()
    a, b = x[::2], x[1::2]
    middle = network(0.3 * a + 0.7 * b)
    return torch.allclose(middle, 0.3 * network(a) + 0.7 * network(b), rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("block", BLOCKS)
def test_without_hidden_layers_the_map_is_affine(shape, block):
    network = seeded(MLP, shape, (2, 3), (), block)
    assert is_affine(network, noise(6, *shape))
    assert sum(p.numel() for p in network.parameters()) == 6 * (math.prod(shape) + 1)


@pytest.mark.parametrize("block", BLOCKS)
def test_with_hidden_layers_the_map_is_not_affine(block):
    assert not is_affine(seeded(MLP, (4,), (3,), (8,), block), noise(6, 4))


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("shape", IMAGES, ids=str)
def test_conv_shapes_and_gradients(shape, rows):
    encoder = seeded(ConvEncoder, shape, (2, 6), width=4, hidden=16)
    decoder = seeded(ConvDecoder, (6,), (3, *shape), width=4, hidden=16)
    features = encoder(noise(rows, *shape))
    assert features.shape == (rows, 2, 6)
    assert decoder(features[:, 0]).shape == (rows, 3, *shape)
    assert_gradient_everywhere(encoder, noise(rows, *shape))
    assert_gradient_everywhere(decoder, noise(rows, 6))


@pytest.mark.parametrize("height", range(4, 40, 3))
@pytest.mark.parametrize("width", range(4, 40, 5))
def test_conv_round_trip_of_any_size(height, width):
    path = sides(height, width)
    assert path[0] == (height, width)
    assert all((b[0], b[1]) == (a[0] // 2, a[1] // 2) for a, b in itertools.pairwise(path))
    assert min(path[-1]) >= 2
    z = ConvEncoder((height, width), (3,), width=1, hidden=4)(torch.zeros(1, height, width))
    assert ConvDecoder((3,), (1, height, width), width=1, hidden=4)(z).shape == (1, 1, height, width)


def test_conv_stages_of_the_text():
    assert sides(8, 8) == [(8, 8), (4, 4)]
    assert len(sides(64, 64)) == 5
    assert sides(5, 7) == [(5, 7)]
    assert channels(5, 32) == [32, 64, 128, 256, 256]


@pytest.mark.parametrize("shape", [(12, 9), (12, 9, 3)], ids=str)
def test_conv_sees_the_picture_the_right_way_up(shape):
    """Moving the picture moves the convolution's output: rows stay rows, columns columns, channels last."""
    encoder = seeded(ConvEncoder, shape, (4,), width=4, hidden=8)
    first = encoder.stages[0]
    x = torch.zeros(1, *shape)
    x[0, 0, 4] = 1.0  # first row, fifth column
    planes = x.unsqueeze(1) if len(shape) == 2 else x.movedim(-1, 1)
    bias = first(torch.zeros_like(planes))
    changed = (first(planes) - bias).abs().sum(1)[0]
    assert changed.shape == (6, 4)
    rows, columns = changed.nonzero(as_tuple=True)
    assert rows.max() == 0
    assert columns.min() == 1
    assert columns.max() == 2


def test_colours_are_kept_apart():
    """The decoder's channel axis holds parameter × colour in that order, for every pixel."""
    decoder = seeded(
        ConvDecoder, (2,), (2, 5, 7, 3), width=4, hidden=8
    )  # no stage: the last layer is a Linear
    last = decoder.dense[-1]
    nn.init.zeros_(last.weight)
    last.bias.data = torch.arange(last.bias.numel(), dtype=torch.float32)
    output = decoder(torch.zeros(1, 2))
    for parameter in range(2):
        for colour in range(3):
            expected = 6 * torch.arange(35).view(5, 7) + 3 * parameter + colour
            assert torch.equal(output[0, parameter, :, :, colour], expected.float())


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("shape", IMAGES, ids=str)
def test_resnet_shapes_and_gradients(shape, rows):
    encoder = seeded(ResNetEncoder, shape, (2, 6), width=4, depth=2)
    decoder = seeded(ResNetDecoder, (6,), (3, *shape), width=4, depth=2)
    features = encoder(noise(rows, *shape))
    assert features.shape == (rows, 2, 6)
    assert decoder(features[:, 0]).shape == (rows, 3, *shape)
    assert_gradient_everywhere(encoder, noise(rows, *shape))
    assert_gradient_everywhere(decoder, noise(rows, 6))


def test_resnet_rows_do_not_mix():
    encoder = seeded(ResNetEncoder, (9, 12), (4,), width=4)
    x = noise(6, 9, 12)
    torch.testing.assert_close(encoder(x)[2:3], encoder(x[2:3]))


@pytest.mark.parametrize("sides", [((5, 7), (10, 14)), ((5, 7), (5, 7)), ((5, 7), (11, 14))], ids=str)
def test_a_larger_map_begins_as_the_convolution_of_repeated_pixels(sides):
    enlarged = seeded(larger, *sides, 3, 4)
    smooth = seeded(torch.nn.Conv2d, 3, 4, 3, padding=1)
    x = torch.randn(2, 3, *sides[0], generator=torch.Generator().manual_seed(0))
    repeated = torch.nn.functional.interpolate(x, scale_factor=sides[1][1] // 7, mode="nearest")
    expected = smooth(repeated) - smooth.bias[:, None, None] + enlarged.bias[:, None, None]
    inner = [slice(2 * (size // 2) - 1) for size in sides[1]]  # the edge beyond an odd side differs
    torch.testing.assert_close(enlarged(x)[..., *inner], expected[..., *inner], rtol=1e-5, atol=1e-5)


def test_resnet_begins_without_a_checkerboard():
    """A constant map stays constant away from the border."""
    grown = seeded(larger, (8, 8), (16, 16), 4, 4)(torch.ones(1, 4, 8, 8))[..., 1:-1, 1:-1]
    torch.testing.assert_close(grown, grown[..., :1, :1].expand_as(grown))
