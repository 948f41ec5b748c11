"""From the data's schema and resolved options to a VAE."""

from dataclasses import replace
from functools import partial

from backstory.data.missing_levels import MissingLevel
from backstory.data.schema import Schema
from backstory.data.tables.statistics import quantities
from backstory.distributions.quantities import ColumnStatistics
from backstory.errors import counted
from backstory.models import hierarchy, ladder, likelihoods, networks, posteriors, priors
from backstory.models.initial import drawn_from
from backstory.models.level_posterior import LevelPosterior
from backstory.models.networks.conditions import Behind
from backstory.models.registry import Likelihood, Networks, Setting, builder
from backstory.models.statistics import Statistics, blank_statistics
from backstory.models.vae import VAE, Inputs
from backstory.options import ModelOptions
from backstory.options.levels import written

__all__ = ["build", "describe", "hierarchy", "ladder", "likelihoods", "networks", "posteriors", "priors"]


def build(
    schema: Schema,
    options: ModelOptions,
    seed: int = 0,
    statistics: Statistics | None = None,
    columns: ColumnStatistics | None = None,
) -> VAE:
    """The model for resolved options; initial weights depend on `seed` alone, not on the global state.

    Args:
        schema, options: from `resolve`.
        seed: of the initial weights.
        statistics: location and scale of the training data, from `data_statistics`; loading sets them later.
        columns: statistics of the columns of a table, from `tables.statistics.column_statistics`; likewise.
    """
    shift, scale = statistics or blank_statistics(schema)
    known = columns or ColumnStatistics.blank(quantities(schema))
    setting = Setting(
        schema,
        options.latent or 1,
        shift,
        scale,
        known,
        bool(options.incomplete),
        options.hierarchy or (),
        options.network.affine or options.network.values.get("hidden") == (),
        options.network,
    )
    likelihood: Likelihood = builder(options.likelihood)
    with drawn_from(seed):
        posterior = builder(options.posterior)(options.posterior, setting)
        network: Networks = builder(options.network).beside(posterior)
        head = likelihood.head(options.likelihood, setting)
        inputs = likelihood.inputs(options.likelihood, setting) if likelihood.inputs else None
        read = (inputs.outputs,) if inputs else setting.encoder_shape
        encoder = network.encoder(options.network, read, posterior.features_shape, setting.context)
        decoder = likelihood.decoder(
            options.likelihood, setting, head, partial(network.decoder, options.network)
        )
        around = replace(setting, encoder=encoder, posterior=posterior, encoder_input=read)
        prior = builder(options.prior)(options.prior, around)
        levels = _level_posterior(options, setting, read)  # the last, so that other weights are as without it
    if inputs:
        encoder = Behind(inputs, encoder)
    inputs_of_x = Inputs(shift, scale, setting.incomplete, setting.context)
    return VAE(encoder, decoder, head, prior, posterior, inputs_of_x, levels)


def _level_posterior(options: ModelOptions, setting: Setting, read: tuple[int, ...]) -> LevelPosterior | None:
    """q(c|x) by a network of the encoder's kind; None where all conditions are observed."""
    missing = MissingLevel.of(setting.schema.conditions)
    if missing is None:
        return None
    networks: Networks = builder(options.network)
    likelihood: Likelihood = builder(options.likelihood)
    network = networks.encoder(options.network, read, (missing.count,), setting.context - missing.count)
    if likelihood.inputs:  # of its own: a module belongs to one place of the model
        network = Behind(likelihood.inputs(options.likelihood, setting), network)
    return LevelPosterior(network, missing)


def describe(schema: Schema, options: ModelOptions) -> list[str]:
    """The choices in words, for people to read."""
    likelihood = options.likelihood.name
    if schema.presentation == "binarised":
        likelihood += " (grey values binarised at random, anew at each use)"
    elif schema.presentation == "dequantised":
        likelihood += " (integer levels dequantised with uniform noise)"
    elif schema.levels is not None and schema.levels > 2:
        likelihood += f" ({schema.levels} levels)"
    hidden = options.network.model_dump().get("hidden")
    network = options.network.name + (f" {'-'.join(map(str, hidden))}" if hidden else "")
    shape = " × ".join(map(str, schema.shape))
    groups = f" in groups {written(options.hierarchy)} from x upwards" if options.hierarchy else ""
    return [
        f"data        {schema.kind}, {shape}, {schema.dtype}",
        f"likelihood  {likelihood}",
        f"network     {network}",
        *([f"given       {', '.join(map(str, schema.conditions))}"] if schema.conditions else []),
        f"latent      {counted(options.latent or 0, 'unit')}{groups}, prior {options.prior.name}, "
        f"posterior {options.posterior.name}",
    ]
