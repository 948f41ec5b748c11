"""Training by many processes with a device each: Lightning Fabric on torch.distributed.

torchrun and SLURM start all processes themselves. Without them, `start` runs the command line of this process
again for each further device. All processes execute the same program. Each value that decides what a step
does is
identical to the bit in all of them: it is summed over the processes, or comes from the first one.

When one process fails, the others wait for it. So it notes its error in the store that the processes share,
and the others read the note when they fail in turn. The first process reports the error. If it does not
arrive in time, because it waits inside an operation that cannot be interrupted, the process that failed
reports it.
"""

import atexit
import inspect
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from backstory import console
from backstory.errors import InputError, TrainingFailed
from backstory.training.devices import Alone, pick_device
from backstory.training.launcher import launcher_of

GRACE = 2.0  # seconds that the first process has to report an error
KINDS = (InputError, TrainingFailed, KeyboardInterrupt)  # of errors that other processes raise as their own

T = TypeVar("T")


def start(device: str, devices: int | None, nodes: int | None) -> Alone:
    """This process alone, or the group of processes that it belongs to.

    Args:
        device: `auto`, `cpu`, `cuda`, …; a group has one kind of device.
        devices: processes on each machine; None for as many as torchrun or SLURM started, or else one.
        nodes: machines, None likewise.

    Raises:
        InputError: the processes cannot be started; in that case none runs.
    """
    for name, value in (("devices", devices), ("nodes", nodes)):
        if value is not None and value < 1:
            raise InputError(f"{name} has to be at least 1, got {value}")
    launcher = launcher_of(os.environ)
    devices, nodes = _counts(devices, nodes, launcher, os.environ)
    if devices * nodes == 1:
        return Alone(pick_device(device))
    accelerator = _accelerator(device, devices)
    if launcher is None:
        _check_start(nodes, os.environ)
    return Group(_fabric(accelerator, devices, nodes, launcher))


def processes(devices: int | None, nodes: int | None) -> int:
    """Number of processes on all machines together."""
    devices, nodes = _counts(devices, nodes, launcher_of(os.environ), os.environ)
    return devices * nodes


# -- what was asked for -----------------------------------------------------------------------------------


def _counts(
    devices: int | None, nodes: int | None, launcher: str | None, environment: Mapping[str, str]
) -> tuple[int, int]:
    """Number of processes on each machine, and number of machines."""
    if launcher is None:
        return devices or 1, nodes or 1
    if launcher == "torchrun":
        here, world = int(environment["LOCAL_WORLD_SIZE"]), int(environment["WORLD_SIZE"])
        found = here, world // here
    else:
        machines = int(environment.get("SLURM_NNODES", "1"))
        found = int(environment.get("SLURM_NTASKS", "1")) // machines, machines
    asked = devices or found[0], nodes or found[1]
    if asked != found:
        raise InputError(
            f"{launcher} started {found[0]} processes on each of {found[1]} machines, got devices {asked[0]} "
            f"and nodes {asked[1]}; leave both out, or start as many as they say"
        )
    return found


def _accelerator(device: str, devices: int) -> str:
    kind = pick_device("auto").type if device == "auto" else device
    if kind not in ("cpu", "cuda"):
        raise InputError(f"several processes take device auto, cpu or cuda, got {device!r}; use one of these")
    if kind == "cuda" and torch.cuda.device_count() < devices:
        raise InputError(
            f"devices has to be at most {torch.cuda.device_count()}, the number of GPUs here, got {devices}; "
            "ask for fewer, or use device cpu"
        )
    return kind


def _check_start(nodes: int, environment: Mapping[str, str]) -> None:
    """InputError if the further processes cannot be started by running the command line again."""
    if "LOCAL_RANK" in environment:
        return  # this is one of them
    missing = [name for name in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK") if name not in environment]
    if nodes > 1 and missing:
        raise InputError(
            f"several machines need a launcher, got none and no {missing[0]}; start with torchrun or srun"
        )
    main = sys.modules["__main__"]
    if hasattr(sys, "ps1") or sys.flags.interactive or not (main.__spec__ or os.path.isfile(sys.argv[0])):
        raise InputError(
            "several devices need a command or script that can be run again for each of them, got a notebook "
            "or interactive session; use the command line, or one device"
        )


def _fabric(accelerator: str, devices: int, nodes: int, launcher: str | None) -> Any:
    """A Fabric with its processes running."""
    try:
        from lightning_fabric import Fabric
        from lightning_fabric.plugins import environments
        from lightning_fabric.strategies import DDPStrategy
    except ImportError:
        raise InputError(
            "several devices need Lightning Fabric, which is not installed; "
            "pip install 'backstory[distributed]'"
        ) from None
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    try:
        place = {
            "torchrun": environments.TorchElasticEnvironment,
            "srun": environments.SLURMEnvironment,
            None: environments.LightningEnvironment,
        }[launcher]()
        strategy = DDPStrategy(**_ddp_settings())
        fabric = Fabric(
            accelerator=accelerator, devices=devices, num_nodes=nodes, strategy=strategy, plugins=[place]
        )
        fabric.launch()
    except (RuntimeError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"the processes cannot be started: {reason}") from None
    return fabric


def _ddp_settings() -> dict[str, Any]:
    """Settings of DDP for models with a constant graph and constant buffers.

    With a constant graph DDP determines once which parameters have no gradient; constant buffers are not
    copied.
    """
    known = inspect.signature(nn.parallel.DistributedDataParallel).parameters
    newer = "forward_sync_buffers" in known
    return {"static_graph": True, "forward_sync_buffers" if newer else "broadcast_buffers": False}


# -- the group --------------------------------------------------------------------------------------------


def _leave() -> None:
    """End the threads of the group: one that still runs when the program ends aborts it now and then."""
    if dist.is_initialized():
        dist.destroy_process_group()


class Group(Alone):
    """One of many processes.

    Args:
        fabric: from Lightning Fabric, launched.
    """

    pause = 10

    def __init__(self, fabric: Any):
        super().__init__(fabric.device)
        self.fabric = fabric
        self.rank, self.world = fabric.global_rank, fabric.world_size
        self.store = dist.distributed_c10d._get_default_store()
        atexit.register(_leave)
        if self.rank:
            console.hush()

    # -- values -----------------------------------------------------------------------------------------

    def sum(self, value: Tensor) -> Tensor:
        total = value.clone()
        dist.all_reduce(total)
        return total

    def total(self, *numbers: float) -> tuple[float, ...]:
        return tuple(self.sum(torch.tensor(numbers, dtype=torch.float64, device=self.device)).tolist())

    def first(self, find: Callable[[], T]) -> T:
        found: T = self.fabric.broadcast(find() if self.rank == 0 else None)
        return found

    def rows(self, part: Tensor, count: int) -> Tensor:
        rows = part.new_zeros(count, *part.shape[1:])
        rows[self.rank :: self.world] = part
        return self.sum(rows)

    def own_generator(self, common: torch.Generator, seed: int, number: int) -> torch.Generator:
        if self.world == 1:
            return common
        own = seed + 1 + number * self.world + self.rank
        return torch.Generator(self.device).manual_seed(own % 2**63)

    # -- parameters -------------------------------------------------------------------------------------

    def setup(self, module: nn.Module) -> nn.Module:
        wrapped: Any = self.fabric.setup_module(module, move_to_device=False)
        wrapped.mark_forward_method("codes")
        return wrapped

    def backward(self, loss: Tensor) -> None:
        self.fabric.backward(loss)

    # -- errors -----------------------------------------------------------------------------------------

    @contextmanager
    def together(self) -> Iterator[None]:
        try:
            yield
            self.total()  # nobody leaves before the first has written everything
        except BaseException as error:
            raise self._end(error) from None

    def _end(self, error: BaseException) -> BaseException:
        """The error to raise: the first one of all processes, marked `told` if another process reports it."""
        if isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error)):
            error = TrainingFailed(
                "another process of this run has ended, and without it training cannot go on"
            )
        kind = next((kind for kind in KINDS if isinstance(error, kind)), type(error))
        note = {"rank": self.rank, "kind": kind.__name__, "text": str(error)}
        try:
            found = json.loads(self.store.compare_set("backstory/error", "", json.dumps(note)))
            if self.rank:
                self._wait_for("teller")
            told = self.store.compare_set("backstory/teller", "", str(self.rank)) != str(self.rank).encode()
            self.store.set(f"backstory/left/{self.rank}", "")
            if self.rank == 0 and not self._wait_for(*(f"left/{rank}" for rank in range(self.world))):
                self._end_children()
        except (RuntimeError, ValueError):  # the first process has the store, and is gone
            found, told = note, True
        if found["rank"] != self.rank:
            error = _remote(found)
        error.told = told  # type: ignore[attr-defined]
        return error

    def _wait_for(self, *names: str) -> bool:
        """Whether other processes have noted these names within `GRACE` seconds."""
        try:
            self.store.wait([f"backstory/{name}" for name in names], timedelta(seconds=GRACE))
        except RuntimeError:
            return False
        return True

    def _end_children(self) -> None:
        """Kill the processes that this one started, which would wait for it forever."""
        for process in getattr(self.fabric.strategy.launcher, "procs", ()):
            process.kill()


def _remote(note: dict[str, Any]) -> BaseException:
    """The error that another process noted."""
    for kind in KINDS:
        if note["kind"] == kind.__name__:
            return kind(note["text"])
    return TrainingFailed(f"process {note['rank']} failed: {note['kind']}: {note['text']}")
