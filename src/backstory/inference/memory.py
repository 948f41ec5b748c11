"""How many codes to decode at once, so that memory stays within a budget.

A pair (draw k, observation b) is one code z_kb that is decoded and weighed by log p(x_b|z_kb). The cost of a
pair is measured: log p(x|z) of a single pair is computed once per model, and every block of memory that
PyTorch allocates on the way is counted until it is freed. The highest sum is the cost. With a gradient the
backward pass is run too, so that the activations kept for it count.

Two limits hold, and the tighter one decides:

    pairs · outputs ≤ OUTPUTS      decoder outputs, chosen for speed: on a processor they stay in its cache
    pairs · cost    ≤ BUDGET       bytes, chosen for memory: the activations of a wide network are many

Work space that a kernel takes for itself, such as that of a convolution, is not counted.
"""

import math
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._pytree import tree_leaves

from backstory.data.observation import Observation
from backstory.dispatch import DispatchMode
from backstory.models.vae import VAE

OUTPUTS, ACCELERATOR_OUTPUTS = 2**19, 2**26  # numbers
BUDGET, ACCELERATOR_BUDGET = 2**30, 2**32  # bytes
PROBES = 32  # the most pairs that are measured together

_costs: WeakKeyDictionary[VAE, dict[Any, int]] = WeakKeyDictionary()


def pairs_at_once(vae: VAE, gradient: bool = False, outputs: int | None = None) -> int:
    """How many pairs (draw, observation) to decode at once; at least 1.

    Args:
        vae: the model, on the device on which it will compute.
        gradient: whether the gradient by z is taken too.
        outputs: numbers that the caller holds for a pair, where these are more than the decoder's outputs.
    """
    on_cpu = vae.shift.device.type == "cpu"
    outputs = max(outputs or 0, math.prod(vae.features_shape))
    by_speed = (OUTPUTS if on_cpu else ACCELERATOR_OUTPUTS) // outputs
    by_memory = (BUDGET if on_cpu else ACCELERATOR_BUDGET) // pair_bytes(vae, gradient)
    return max(1, min(by_speed, by_memory))


def pair_bytes(vae: VAE, gradient: bool = False) -> int:
    """Bytes that log p(x|z) of one pair takes at its highest, without parameters; measured once per model."""
    costs = _costs.setdefault(vae, {})
    key = gradient, vae.shift.dtype, vae.shift.device
    if key not in costs:
        costs[key] = _measured(vae, gradient)
    return costs[key]


def _measured(vae: VAE, gradient: bool) -> int:
    """Bytes per pair, of as many pairs as take little memory: some tensors are made once for all of them."""
    one = _peak(vae, gradient, 1)
    pairs = max(1, min(PROBES, BUDGET // 8 // max(1, one)))
    return max(1, math.ceil(_peak(vae, gradient, pairs) / pairs)) if pairs > 1 else max(1, one)


def _peak(vae: VAE, gradient: bool, pairs: int) -> int:
    """Bytes that log p(x|z) of one x at so many codes takes at its highest."""
    with torch.no_grad():
        generator = torch.Generator(vae.shift.device).manual_seed(0)
        given = torch.zeros(1, vae.context).to(vae.shift) if vae.context else None
        prior = vae.prior(given).of_rows(torch.zeros(pairs, dtype=torch.long))
        z = prior.sample(pairs, generator).unsqueeze(1)
        x = Observation(vae.decode(z[0], given).sample(generator), given)
    z = z.detach().requires_grad_(gradient)
    with torch.set_grad_enabled(gradient), Allocations() as allocations:
        value = vae.log_likelihood(x, z)
        if gradient:
            torch.autograd.grad(value.sum(), z)
    return allocations.peak


class Allocations(DispatchMode):
    """Counts the bytes of tensors that are created inside and not yet freed.

    Attributes:
        peak: the largest count so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._alive: dict[StorageWeakRef, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = _blocks((args, kwargs))
        self._alive |= {block: size for block, size in _blocks(result).items() if block not in given}
        self._alive = {block: size for block, size in self._alive.items() if not block.expired()}
        self.peak = max(self.peak, sum(self._alive.values()))
        return result


def _blocks(tree: Any) -> dict[StorageWeakRef, int]:
    """The memory of all tensors among arguments or results, with its size in bytes."""
    storages = [leaf.untyped_storage() for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
    return {StorageWeakRef(storage): storage.nbytes() for storage in storages}
