"""Presets: options of `fit` under one name, such as the settings of a row of docs/results.md.

with_preset({"preset": "digits-pixels", "components": 50})     its options, with 50 components
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backstory.options.choices import AUTO, CHOICES, one_of, owners


@dataclass(frozen=True)
class Preset:
    """Options under one name.

    Attributes:
        name: as people give it.
        purpose: what the options are for, in a line.
        options: of `fit`, by name.
    """

    name: str
    purpose: str
    options: Mapping[str, Any]


_GATED = {
    "likelihood": "bernoulli",
    "network": "mlp",
    "hidden": (300, 300),
    "latent": 40,
    "epochs": 300,
    "lr": 0.001,
    "skip_spikes": 5,
}

PRESETS = {
    preset.name: preset
    for preset in (
        Preset("mnist-mlp", "Binarised MNIST with a flat z and fully connected networks.", _GATED),
        Preset("mnist-vamp", "The same with a learned prior, the VampPrior.", _GATED | {"prior": "vamp"}),
        Preset(
            "mnist-ladder",
            "Binarised MNIST with groups of z in feature maps of three sizes.",
            {"likelihood": "bernoulli", "latent": "2x14x14,4x7x7,16"},
        ),
        Preset(
            "mnist-pixels",
            "Binarised MNIST with pixels that depend on each other given z.",
            {"likelihood": "pixels-bernoulli", "prior": "mixture", "ema": 0.99},
        ),
        Preset(
            "digits-pixels",
            "Small grey images, such as the embedded digits, with pixels that depend on each other given z.",
            {"likelihood": "pixels", "prior": "mixture", "components": 30, "ema": 0.99},
        ),
        Preset(
            "restore",
            "Grey images that are to be restored: σ(z) has a floor, which keeps the posterior of z smooth.",
            {
                "likelihood": "gaussian-predicted",
                "sigma_floor": 0.2,
                "prior": "mixture",
                "components": 500,
                "network": "residual",
                "hidden": (512, 512, 512),
                "latent": 64,
                "epochs": 24,
                "ema": 0.999,
                "skip_spikes": 5,
                "validation": 0.02,
            },
        ),
    )
}


def with_preset(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with those of their preset, if they name one; InputError for a preset that does not exist.

    A choice that is `auto` is left to the preset.

    >>> with_preset({"preset": "mnist-mlp", "latent": 10})["latent"]
    10
    """
    if "preset" not in options:
        return dict(options)
    name = one_of("preset", options["preset"], list(PRESETS))
    return over(PRESETS[name].options, {option: v for option, v in options.items() if v not in (None, AUTO)})


def over(earlier: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """`options`, and the earlier ones where they say nothing.

    Another choice takes the place of the earlier one with all of its options, and `latent` that of
    `hierarchy`, which is another way to give it.

    >>> over({"prior": "mixture", "components": 30, "latent": 8}, {"prior": "vamp"})
    {'latent': 8, 'prior': 'vamp'}
    >>> over({"prior": "mixture", "components": 30, "latent": 8}, {"components": 50})
    {'prior': 'mixture', 'components': 50, 'latent': 8}
    """
    kept = dict(earlier)
    if "latent" in options or "hierarchy" in options:
        kept = _without(kept, ["latent", "hierarchy"])
    for group in CHOICES:
        if group in options and options[group] != kept.get(group):
            inside = ["objective_args"] if group == "objective" else [n for n in kept if owners(group, n)]
            kept = _without(kept, [group, *inside])
    return kept | dict(options)


def _without(values: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in names}
