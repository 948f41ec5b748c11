"""The compilation of a training step into one graph."""

import os
import shutil
import time
from collections.abc import Callable
from importlib.util import find_spec
from types import FunctionType, MethodType
from typing import Any

import torch

from backstory import console
from backstory.errors import InputError
from backstory.options import TrainOptions

# Compilation takes 10 to 20 seconds, and saves a millisecond or more per step
LEAST_STEPS, LEAST_MINUTES = 8_000, 1.0
TRIALS, TRIAL_SECONDS = 3, 1.0  # steps that are timed at most

GUARDS = "skip_all_guards_unsafe"  # shapes never change, so no call checks them


def compiled_graph(method: Any, device: torch.device) -> Callable[..., Any]:
    """A method compiled into one graph, forward and backward pass; on a GPU it is captured and replayed.

    All calls have tensors of the same shapes, so no call checks them. The compiler finds its result by the
    code object of a function, so each graph gets a code object of its own.
    """
    import torch._dynamo

    if not (hasattr(torch._dynamo.config, "trace_autograd_ops") and hasattr(torch.compiler, GUARDS)):
        raise RuntimeError(f"torch {torch.__version__} does not compile gradients; 2.11 and later do")
    torch._dynamo.config.trace_autograd_ops = True
    code = method.__code__.replace()
    function = FunctionType(code, method.__globals__, argdefs=method.__defaults__)
    options: dict[str, Any] = {"guard_filter_fn": getattr(torch.compiler, GUARDS)}
    if device.type == "cuda":
        options["triton.cudagraphs"] = True
    else:  # compiles the calls of kernels too; spreading little work over threads costs more than it saves
        options |= {"cpp_wrapper": True, "cpp.min_chunk_size": 8192}
    graph = MethodType(function, method.__self__)
    return torch.compile(graph, fullgraph=True, dynamic=False, options=options)


def decide(options: TrainOptions, rows: int, device: torch.device, world: int = 1) -> TrainOptions:
    """The options with `compile` decided.

    Args:
        options: from `schedule.resolve`; with `compile` None the length of the run decides. It stays None
            for a run of so many minutes: see `pays`.
        rows: number of training rows.
        device: by default a step is compiled only if there is a compiler for its device.
        world: number of processes; with several the step is not compiled.

    Raises:
        InputError: `compile` is true, and the objective cannot be compiled.
    """
    if world > 1:
        if options.compile:
            console.warn("compilation is left out: it is for training by one process")
        return options.model_copy(update={"compile": False})
    possible = options.objective.compiled
    if options.compile and not possible:
        raise InputError(
            f"objective {options.objective.name} cannot be compiled; leave `compile` out, or take another one"
        )
    if options.compile is not None:
        return options
    possible = possible and _has_compiler(device)
    if possible and options.minutes is not None:  # its steps have to be timed first
        return options.model_copy(update={"compile": None if options.minutes >= LEAST_MINUTES else False})
    steps = (options.epochs or 1) * (rows // (options.batch_size or 1))  # with full batches
    return options.model_copy(update={"compile": possible and steps >= LEAST_STEPS})


def pays(options: TrainOptions, rows: int, step: Callable[[], Any]) -> bool:
    """Whether a run of so many minutes has enough steps to be worth the compilation.

    Args:
        options: from `decide`.
        rows: number of training rows.
        step: takes one step without any effect on the run, to be timed.
    """
    assert options.minutes is not None
    step()  # the first one allocates memory
    seconds: list[float] = []
    while len(seconds) < TRIALS and sum(seconds) < TRIAL_SECONDS:
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    steps = 60 * options.minutes / min(seconds)
    if options.epochs is not None:
        steps = min(steps, options.epochs * (rows // (options.batch_size or 1)))
    return steps >= LEAST_STEPS


def _has_compiler(device: torch.device) -> bool:
    if device.type == "cuda":
        return find_spec("triton") is not None
    return device.type == "cpu" and any(map(shutil.which, (os.environ.get("CXX", "g++"), "clang++")))
