"""Masked convolutions: parameters of each pixel given the pixels before it and maps of z.

Pixels are in reading order, row by row. A masked convolution looks at the pixels above, and at those to the
left in the same row; the first one does not look at the pixel itself, later ones do (van den Oord et al.
2016, "Pixel recurrent neural networks", sec. 3.4). The maps m(z) of a pixel reach its parameters alone, so
few layers leave the rest of the image to z (Gulrajani et al. 2017, "PixelVAE").

    h = first(x) + join(m(z)),    h ← h + block(h),    parameters = last(h)

The last layer begins at zero, which stands for the location and scale of the training data.
"""

import torch
from torch import Tensor, nn

from backstory.models.networks.conv import entries, planes

FIRST = 5  # side of the first convolution


class MaskedConv(nn.Conv2d):
    """A convolution over the pixels that come before each pixel.

    Args:
        inputs, outputs: channels.
        side: of the window, odd.
        own: whether it looks at the pixel itself.
    """

    mask: Tensor

    def __init__(self, inputs: int, outputs: int, side: int, own: bool):
        super().__init__(inputs, outputs, side, padding=side // 2)
        before = torch.arange(side * side) < side * side // 2 + int(own)
        self.register_buffer("mask", before.view(side, side).float(), persistent=False)

    def forward(self, input: Tensor) -> Tensor:
        return self._conv_forward(input, self.weight * self.mask, self.bias)


class PixelNetwork(nn.Module):
    """Parameters of the pixels given z and the pixels before each.

    Args:
        image: shape of an image, (H, W) or (H, W, C).
        maps: number of feature maps m(z).
        outputs: (P, H, W) or (P, H, W, C), the parameters of an image.
        width, layers: channels and number of the residual blocks.
    """

    def __init__(self, image: tuple[int, ...], maps: int, outputs: tuple[int, ...], width: int, layers: int):
        super().__init__()
        self.image, self.outputs = image, outputs
        self.first = MaskedConv(image[2] if len(image) == 3 else 1, width, FIRST, own=False)
        self.join = nn.Conv2d(maps, width, 1)
        self.blocks = nn.ModuleList(_block(width) for _ in range(layers))
        parameters = outputs[0] * (outputs[3] if len(outputs) == 4 else 1)
        self.last = nn.Conv2d(width, parameters, 1)
        for weights in self.last.parameters():
            nn.init.zeros_(weights)

    def forward(self, x: Tensor, maps: Tensor) -> Tensor:
        """Parameters, (*batch, *outputs).

        Args:
            x: images in standard units, (*some, H, W) or (*some, H, W, C).
            maps: m(z), (*codes, M, H, W); `some` and `codes` broadcast to `batch`.
        """
        dims = len(self.image)
        seen = self.first(planes(x.reshape(-1, *x.shape[-dims:])))
        joined = self.join(maps.reshape(-1, *maps.shape[-3:]))
        both = seen.view(*x.shape[:-dims], *seen.shape[1:]) + joined.view(*maps.shape[:-3], *joined.shape[1:])
        h = both.reshape(-1, *both.shape[-3:])
        for block in self.blocks:
            h = h + block(h)
        parameters = entries(self.last(nn.functional.silu(h)), self.outputs)
        return parameters.view(*both.shape[:-3], *self.outputs)


def _block(width: int) -> nn.Module:
    return nn.Sequential(
        nn.SiLU(), MaskedConv(width, width, 3, own=True), nn.SiLU(), nn.Conv2d(width, width, 1)
    )
