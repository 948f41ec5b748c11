"""The same mathematics in JAX: one compiled scan for each epoch, in an environment of its own.

    pip install jax optax

A scan needs batches of one size, so that the rows of a short last batch wait for another epoch.
"""

from functools import partial
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax, nn

from workers.serve import Segment, serve, timed
from workers.workload import CHANNELS, PIXELS, SIDES, Job, Workload, decoder_widths, encoder_widths

# the faster of its generators on a CPU
jax.config.update("jax_default_prng_impl", "rbg")

ACTIVATIONS = {"relu": nn.relu, "tanh": jnp.tanh, "silu": nn.silu}
LAYOUT = ("NHWC", "HWIO", "NHWC")
Layer = tuple[Array, Array]


def initial(key: Array, w: Workload) -> dict[str, list[Layer]]:
    """Weights and biases of each part, by its name."""
    parts: dict[str, list[tuple[int, ...]]] = {
        "encoder": list(pairwise(encoder_widths(w))),
        "decoder": list(pairwise(decoder_widths(w))),
    }
    if w.network == "conv":
        parts["down"] = [(4, 4, *pair) for pair in pairwise(CHANNELS)]
        parts["up"] = [(4, 4, *pair) for pair in pairwise(CHANNELS[::-1])]
    layers = {}
    for name, shapes in parts.items():
        key, *keys = jax.random.split(key, 1 + len(shapes))
        layers[name] = [_layer(k, shape) for k, shape in zip(keys, shapes, strict=True)]
    return layers


def _layer(key: Array, shape: tuple[int, ...]) -> Layer:
    bound = 1 / np.sqrt(np.prod(shape[:-1]))
    return jax.random.uniform(key, shape, minval=-bound, maxval=bound), jnp.zeros(shape[-1])


def dense(layers: list[Layer], activation: Any, x: Array) -> Array:
    for weight, bias in layers[:-1]:
        x = activation(x @ weight + bias)
    weight, bias = layers[-1]
    return x @ weight + bias


def encode(parameters: Any, w: Workload, x: Array) -> tuple[Array, Array]:
    activation = ACTIVATIONS[w.activation]
    x = x[..., None]
    for weight, bias in parameters.get("down", ()):
        padding = ((1, 1), (1, 1))
        x = activation(lax.conv_general_dilated(x, weight, (2, 2), padding, dimension_numbers=LAYOUT) + bias)
    return tuple(jnp.split(dense(parameters["encoder"], activation, x.reshape(len(x), -1)), 2, axis=1))


def decode(parameters: Any, w: Workload, z: Array) -> Array:
    """Logits, (B, 784)."""
    activation = ACTIVATIONS[w.activation]
    x = dense(parameters["decoder"], activation, z)
    if w.network == "conv":
        x = x.reshape(-1, SIDES[-1], SIDES[-1], CHANNELS[-1])
        for weight, bias in parameters["up"]:
            # a padding of 2 around the spread image undoes a convolution of 4 × 4 with a padding of 1
            padding = ((2, 2), (2, 2))
            x = lax.conv_transpose(activation(x), weight, (2, 2), padding, dimension_numbers=LAYOUT) + bias
    return x.reshape(len(x), -1)


def loss(parameters: Any, w: Workload, x: Array, key: Array) -> Array:
    """Minus the bound, averaged over a batch."""
    mean, log_variance = encode(parameters, w, x)
    noise = jax.random.normal(key, (w.samples, *mean.shape))
    z = mean + noise * jnp.exp(0.5 * log_variance)
    logits = decode(parameters, w, z.reshape(-1, w.latent)).reshape(w.samples, -1, PIXELS)
    log_likelihood = (logits * x.reshape(-1, PIXELS) - nn.softplus(logits)).sum(-1)
    if w.samples == 1:
        kl = -0.5 * (1 + log_variance - mean**2 - jnp.exp(log_variance)).sum(-1)
        return (kl - log_likelihood[0]).mean()
    log_weight = log_likelihood + 0.5 * (noise**2 - z**2 + log_variance).sum(-1)
    return (jnp.log(w.samples) - nn.logsumexp(log_weight, axis=0)).mean()


def make(job: Job) -> Segment:
    w = job.workload
    images = jnp.asarray(np.load(job.data))
    steps = len(images) // w.batch
    key, first = jax.random.split(jax.random.key(job.seed))
    parameters = initial(first, w)
    optimiser = optax.adam(1e-3)

    def step(images: Array, state: Any, rows: Array) -> tuple[Any, Array]:
        parameters, moments, key = state
        key, for_bytes, for_loss = jax.random.split(key, 3)
        batch = images[rows]
        # JAX draws bytes from 0 … 255: a level of 255 is ink in 255 of 256 draws
        x = (batch > jax.random.bits(for_bytes, batch.shape, jnp.uint8)).astype(jnp.float32)
        value, gradient = jax.value_and_grad(loss)(parameters, w, x, for_loss)
        updates, moments = optimiser.update(gradient, moments, parameters)
        return (optax.apply_updates(parameters, updates), moments, key), value

    @partial(jax.jit, donate_argnums=0)
    def train(state: Any, images: Array) -> tuple[Any, Array]:
        parameters, moments, key = state
        key, for_order = jax.random.split(key)
        order = jax.random.permutation(for_order, len(images))[: steps * w.batch]
        start, batches = (parameters, moments, key), order.reshape(steps, w.batch)
        state, values = lax.scan(partial(step, images), start, batches)
        return state, values.mean()

    state = (parameters, optimiser.init(parameters), key)

    def epoch() -> float:
        nonlocal state
        state, value = train(state, images)
        return float(value)  # waits for the epoch to end

    return timed(epoch, steps * w.batch)


if __name__ == "__main__":
    serve(make, {"jax": jax.__version__, "optax": optax.__version__})
