"""From the data's schema and a few options to a VAE: the one place that chooses defaults."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from backstory.data.schema import Schema
from backstory.data.tables.statistics import quantities
from backstory.distributions.bernoulli import BernoulliHead
from backstory.distributions.categorical import CategoricalHead
from backstory.distributions.columns import Marginals
from backstory.distributions.gaussian import GaussianHead
from backstory.distributions.joint import JointHead
from backstory.distributions.logistic import DiscretisedLogisticHead
from backstory.distributions.self_masked import SIGNS, SelfMasking
from backstory.distributions.student import StudentTHead
from backstory.models.networks.columns import ColumnInputs
from backstory.models.networks.conditions import Behind
from backstory.models.networks.conv import ConvDecoder, ConvEncoder
from backstory.models.networks.mlp import MLP
from backstory.models.posteriors import DeltaPosterior, DiagonalPosterior
from backstory.models.priors import Mixture, StandardNormal
from backstory.models.statistics import Statistics, blank_statistics
from backstory.models.vae import VAE, Inputs
from backstory.options import ModelOptions


def build(
    schema: Schema,
    options: ModelOptions,
    seed: int = 0,
    statistics: Statistics | None = None,
    marginals: Marginals | None = None,
) -> VAE:
    """The model for resolved options; initial weights depend on `seed` alone, not on the global state.

    Args:
        schema, options: from `resolve`.
        statistics: the training data's location and scale, from `data_statistics`; loading sets them later.
        marginals: of likelihood joint, from `tabular.data_marginals`; likewise.
    """
    shift, scale = statistics or blank_statistics(schema)
    assert options.latent is not None
    context = schema.condition_width
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if options.likelihood == "joint":
            known = marginals or Marginals.blank(schema.numel)
            head: Any = JointHead(quantities(schema), known)
            inputs = ColumnInputs(quantities(schema), known, shift, scale)
            encoder, decoder = _networks((inputs.outputs,), options, head.features_shape, context)
            encoder = Behind(inputs, encoder)
        else:
            head = _head(schema, options, shift, scale)
            if options.missingness != "random":
                head = SelfMasking(head, SIGNS[options.missingness], shift, scale)
            seen = _with_mask(schema.shape) if options.incomplete else schema.shape
            encoder, decoder = _networks(seen, options, head.features_shape, context)
        incomplete = bool(options.incomplete)
        inputs_of_x = Inputs(shift, scale, incomplete, context)
        return VAE(encoder, decoder, head, _prior(options), _posterior(options), inputs_of_x)


def _posterior(options: ModelOptions) -> nn.Module:
    make = {"gaussian": DiagonalPosterior, "delta": DeltaPosterior}[options.posterior]
    return make(options.latent or 1)


def _prior(options: ModelOptions) -> nn.Module:
    latent = options.latent or 1
    match options.prior:
        case "mixture":
            return Mixture(latent, options.components)
        case "normal":
            return StandardNormal(latent)
    raise NotImplementedError(f"prior {options.prior}")


def _head(schema: Schema, options: ModelOptions, shift: Tensor, scale: Tensor) -> Any:
    levels = schema.model_levels
    match options.likelihood:
        case "bernoulli":
            return BernoulliHead(schema.shape)
        case "categorical":
            return CategoricalHead(schema.shape, levels or 2)
        case "logistic":
            return DiscretisedLogisticHead(schema.shape, levels or 2, shift, scale)
        case "student":
            return StudentTHead(schema.shape, shift, scale)
    family, _, sigma = options.likelihood.partition("-")
    if family != "gaussian":
        raise NotImplementedError(f"likelihood {options.likelihood}")
    unit = scale if schema.kind != "images" else torch.tensor(_full_range(schema))
    full = _full_range(schema) if options.bounded else None
    value = (options.sigma or 1.0) * unit
    return GaussianHead(schema.shape, sigma or "learned", shift, scale, value, full, options.sigma_floor)


def _full_range(schema: Schema) -> float:
    return float(schema.levels - 1) if schema.levels is not None else float(schema.maximum or 1.0)


def _networks(
    inputs: tuple[int, ...], options: ModelOptions, features: tuple[int, ...], context: int
) -> tuple[nn.Module, nn.Module]:
    latent, hidden = options.latent or 1, options.hidden or ()
    if options.network == "conv":
        return ConvEncoder(inputs, (2, latent), context=context), ConvDecoder((latent + context,), features)
    block = "gated" if options.network == "mlp" else options.network
    make: Callable[..., MLP] = MLP
    return (
        make(inputs, (2, latent), hidden, block, options.activation, context),
        make((latent + context,), features, hidden[::-1], block, options.activation),
    )


def _with_mask(shape: tuple[int, ...]) -> tuple[int, ...]:
    """What the encoder of incomplete data sees, see `VAE`."""
    return (*shape, 2) if len(shape) < 3 else (*shape[:2], 2 * math.prod(shape[2:]))


def describe(schema: Schema, options: ModelOptions) -> list[str]:
    """The choices in words, for people to read."""
    likelihood = options.likelihood
    if schema.presentation == "binarised":
        likelihood += " (grey values binarised at random, anew at each use)"
    elif schema.presentation == "dequantised":
        likelihood += " (integer levels dequantised with uniform noise)"
    elif schema.levels is not None and schema.levels > 2:
        likelihood += f" ({schema.levels} levels)"
    network = options.network + (f" {'-'.join(map(str, options.hidden))}" if options.hidden else "")
    posterior = "none: a plain autoencoder" if options.posterior == "delta" else "diagonal gaussian"
    shape = " × ".join(map(str, schema.shape))
    return [
        f"data        {schema.kind}, {shape}, {schema.dtype}",
        f"likelihood  {likelihood}",
        f"network     {network}",
        *([f"given       {', '.join(map(str, schema.conditions))}"] if schema.conditions else []),
        f"latent      {options.latent} units, prior {options.prior}, posterior {posterior}",
    ]
