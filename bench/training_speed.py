"""The speed of training, as a fraction of the bare matrix products of the same steps.

    python bench/training_speed.py            steps of five workloads, Backstory beside other ways to write
                                              them (bench/results/training_speed.json)
    python bench/training_speed.py growth     the same against batch size, width and number of rows
                                              (training_speed_growth.json, docs/images/training_speed.png)
    python bench/training_speed.py growth --render       draws the picture of that file again

Each contender is a process of its own (`bench/workers`) that trains for a segment whenever it is asked to.
Before and after each segment another process runs the bare products for a while: on its own memory, with the
same number of threads. A ratio is samples per second against the mean of both. What is reported is the
median of the ratios and their quartiles; seconds of different runs of this file say nothing.

Contenders:

    backstory              `backstory.fit` with a folder for the run and no validation rows, by the seconds of
                           its own metrics without the first epoch: data, checkpoints, progress bar and all
    backstory --compile    the same, compiled whether or not it would choose to be
    backstory eager        the same, never compiled
    tutorial               a loader of float images, `torch.bernoulli`, Adam as it comes, the loss each step
    tuned eager            bytes in memory, fused Adam, the loss of each epoch
    against, against eager another checkout, where --against names its src folder
    pythae, jax            where --pythae or --jax name the Python of an environment that has them

After each epoch `fit` looks at the use of the codes on up to 2000 rows, which is in its time: the fewer the
--rows, the larger that share. The data are images with about as much ink as MNIST, drawn from the seed, or
real ones with --data.
"""

import argparse
import json
import math
import os
import platform
import pty
import shlex
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from rich.console import Console
from rich.table import Table

import backstory
from workers.workload import Job, Workload, operations

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "bench" / "results"
LEAST_SECONDS = 0.5  # of a segment
INK, FULL = 0.19, 0.37  # entries of MNIST that are not 0, and how many of those are 255
BLOCK = 10_000  # rows drawn at once
AXES = {"batch size": "batch size", "width": "width of the hidden layers", "rows": "rows of data"}

WORKLOADS = {
    "W1": Workload(batch=128, hidden=(400, 400), latent=20),
    "W2a": Workload(batch=20, hidden=(200, 200), latent=50, activation="tanh"),
    "W2b": Workload(batch=100, hidden=(200, 200), latent=50, activation="tanh"),
    "W2c": Workload(batch=100, hidden=(200, 200), latent=50, activation="tanh", samples=50),
    "W3": Workload(batch=128, hidden=(256,), latent=32, activation="silu", network="conv"),
}


@dataclass(frozen=True)
class Contender:
    """A module of `workers`, the Python to run it with, the options it is given, and the package's folder."""

    module: str
    python: str = sys.executable
    options: dict[str, Any] = field(default_factory=dict)
    source: Path = Path(backstory.__file__).parents[1]


PRODUCTS = Contender("products")


def main(arguments: Sequence[str] | None = None) -> None:
    a = parse(arguments)
    if a.render:
        draw(json.loads(a.output.read_text()), a.figure)
        return
    known = contenders(a)
    for name in a.contenders or ():
        if name not in known:
            sys.exit(f"expected contenders among {', '.join(known)}, got {name!r}")
    default = ["backstory", "tutorial"] if a.what == "growth" else list(known)
    chosen = {name: known[name] for name in a.contenders or default}
    record = {**environment(a), "settings": settings(a)}
    with tempfile.TemporaryDirectory() as folder:
        part = measure_growth if a.what == "growth" else measure_workloads
        part(a, chosen, Path(folder), record)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", nargs="?", choices=("workloads", "growth"), default="workloads")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, help="segments of each contender, by default 7, 3 of growth")
    parser.add_argument(
        "--limit", type=float, help="no repeat begins after so many seconds, by default 240 in growth"
    )
    parser.add_argument("--rows", type=int, default=20_000, help="rows of an epoch")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", help="a folder of IDX files; by default the images are synthetic")
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument("--contenders", nargs="+", help="names as above; by default all there are")
    parser.add_argument("--pythae", help="path of a Python that has pythae")
    parser.add_argument("--against", type=Path, help="src folder of another checkout of Backstory")
    parser.add_argument("--jax", help="path of a Python that has jax and optax")
    parser.add_argument("--batches", nargs="*", type=int, default=[20, 50, 100, 200, 500, 1000])
    parser.add_argument("--widths", nargs="*", type=int, default=[100, 200, 400, 800, 1600])
    parser.add_argument("--sizes", nargs="*", type=int, default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--output", type=Path)
    parser.add_argument("--figure", type=Path, default=ROOT / "docs" / "images" / "training_speed.png")
    parser.add_argument("--render", action="store_true", help="of growth: only draw the picture again")
    a = parser.parse_args(arguments)
    growth = a.what == "growth"
    a.output = a.output or RESULTS / ("training_speed_growth.json" if growth else "training_speed.json")
    a.repeats = a.repeats or (3 if growth else 7)
    a.limit = a.limit or (240.0 if growth else math.inf)
    a.command = shlex.join(["python", "bench/training_speed.py", *(arguments or sys.argv[1:])])
    if a.render and not growth:
        parser.error("--render draws the picture of growth")
    return a


def contenders(a: argparse.Namespace) -> dict[str, Contender]:
    """All that can be measured here, by name."""
    from backstory.options import TrainOptions

    found = {"backstory": Contender("backstory_fit")}
    if "compile" in TrainOptions.model_fields:
        found["backstory --compile"] = Contender("backstory_fit", options={"compile": True})
        found["backstory eager"] = Contender("backstory_fit", options={"compile": False})
    if a.against:
        found["against"] = Contender("backstory_fit", source=a.against.resolve())
        found["against eager"] = Contender(
            "backstory_fit", options={"compile": False}, source=a.against.resolve()
        )
    found["tutorial"] = Contender("torch_loops", options={"loop": "tutorial"})
    found["tuned eager"] = Contender("torch_loops", options={"loop": "tuned"})
    if a.pythae:
        found["pythae"] = Contender("pythae_loop", a.pythae)
    if a.jax:
        found["jax"] = Contender("jax_loop", a.jax)
    return found


# -- workloads and growth -------------------------------------------------------------------------------


def measure_workloads(
    a: argparse.Namespace, chosen: dict[str, Contender], folder: Path, record: dict[str, Any]
) -> None:
    data = images(a, a.rows, folder)
    record["workloads"] = {}
    for name in a.workloads:
        record["workloads"][name] = measure(WORKLOADS[name], chosen, a, data, folder / name, name)
        write(a.output, record)
    Console().print(table(record["workloads"], list(chosen)))


def measure_growth(
    a: argparse.Namespace, chosen: dict[str, Contender], folder: Path, record: dict[str, Any]
) -> None:
    """Along each axis the workload W1 but for one thing."""
    base = WORKLOADS["W1"]
    points = [("batch size", n, replace(base, batch=n), a.rows) for n in a.batches]
    points += [("width", n, replace(base, hidden=(n, n)), a.rows) for n in a.widths]
    points += [("rows", n, base, n) for n in a.sizes]
    record["growth"] = {}
    for axis, value, workload, rows in points:
        title = f"{axis} {value}"
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            data = images(a, rows, Path(scratch))
            result = measure(workload, chosen, a, data, Path(scratch), title)
        record["growth"].setdefault(axis, {})[str(value)] = result
        write(a.output, record)
    draw(record, a.figure)


def measure(
    workload: Workload,
    chosen: dict[str, Contender],
    a: argparse.Namespace,
    data: Path,
    folder: Path,
    title: str,
) -> dict[str, Any]:
    """Segments of all contenders in turns, with the bare products between any two."""
    with ExitStack() as stack:
        bare, *workers = [
            stack.enter_context(started(c, workload, data, folder / str(i), a))
            for i, c in enumerate([PRODUCTS, *chosen.values()])
        ]
        runs = dict(zip(chosen, workers, strict=True))
        for worker in (bare, *workers):
            worker.ready()
        for worker in (bare, *workers):
            worker.warm_up()
        before = bare.segment()
        start = time.monotonic()
        for repeat in range(a.repeats):
            if repeat and time.monotonic() - start > a.limit:
                break
            for name in rotated(list(runs), repeat):
                seconds = runs[name].segment()
                after = bare.segment()
                runs[name].ratios.append((before + after) / 2 / seconds)
                before = after
                report(f"{title}: {name} {runs[name].ratios[-1]:.3f} of the bare products")
    return {
        "workload": asdict(workload),
        "operations_of_a_step": operations(workload),
        "bare_products": bare.summary(),
        "contenders": {name: worker.summary() for name, worker in runs.items()},
    }


def rotated(names: list[str], by: int) -> list[str]:
    """So that nobody always comes after the same one."""
    by %= len(names)
    return names[by:] + names[:by]


# -- workers --------------------------------------------------------------------------------------------


class Worker:
    """This side of a worker process; see `workers/serve.py` for the other.

    Attributes:
        ratios: of its speed to that of the bare products, one for each segment.
    """

    def __init__(self, process: subprocess.Popen[str], terminal: "Terminal", title: str):
        self.process, self.terminal, self.title = process, terminal, title
        self.epochs, self.ratios = 1, []
        self.per_sample: list[float] = []  # seconds, of the segments that count
        self.beside: list[float] = []  # seconds of each segment that went into anything but its epochs
        self.first: tuple[float, int] = (0.0, 0)  # seconds that the first answer took, and its epochs
        self.versions: dict[str, str] = {}

    def ready(self) -> None:
        self.versions = self._read()["versions"]

    def warm_up(self) -> None:
        """Segments that do not count, and how many epochs make one that is long enough."""
        start = time.perf_counter()
        answer = self._ask()
        self.first = (time.perf_counter() - start, answer["epochs"])
        if answer["seconds"] < LEAST_SECONDS:
            answer = self._ask()
        self.epochs = math.ceil(LEAST_SECONDS / answer["seconds"])

    def segment(self) -> float:
        """Seconds for each sample."""
        start = time.perf_counter()
        answer = self._ask()
        whole = time.perf_counter() - start
        self.samples = answer["samples"] // self.epochs
        self.per_sample.append(answer["seconds"] / answer["samples"])
        self.beside.append(whole - answer["epochs"] * answer["seconds"] / self.epochs)
        return self.per_sample[-1]

    def summary(self) -> dict[str, Any]:
        seconds, epochs = self.first
        record = {
            "samples_per_second": [round(1 / s, 1) for s in self.per_sample],
            # more than its epochs would have taken at the speed of later: compiling, above all
            "seconds_of_first_start": round(
                seconds - epochs * self.samples * statistics.median(self.per_sample), 2
            ),
            "seconds_beside_the_epochs": round(statistics.median(self.beside), 2),
            "epochs_of_a_segment": self.epochs,
            "versions": self.versions,
        }
        if not self.ratios:
            return record
        low, middle, high = np.quantile(self.ratios, (0.25, 0.5, 0.75)).round(4).tolist()
        ratios = [round(r, 4) for r in self.ratios]
        return {"fraction_of_bare_products": middle, "quartiles": [low, high], "ratios": ratios, **record}

    def _ask(self) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{self.epochs}\n")
        self.process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            sys.exit(f"{self.title} ended with status {self.process.returncode}:\n{self.terminal.text()}")
        return json.loads(line)


class Terminal:
    """A terminal that nobody looks at: what a process writes to it costs that process what it always does."""

    def __init__(self) -> None:
        self.mine, self.theirs = pty.openpty()
        self.tail = b""
        self.thread = threading.Thread(target=self._drain, daemon=True)
        self.thread.start()

    def _drain(self) -> None:
        try:
            while data := os.read(self.mine, 65536):
                self.tail = (self.tail + data)[-4000:]
        except OSError:  # how the end of a terminal shows on Linux
            pass

    def text(self) -> str:
        """The end of what was written, once the process is over."""
        self.thread.join(1)
        return self.tail.decode(errors="replace")


@contextmanager
def started(
    contender: Contender, workload: Workload, data: Path, folder: Path, a: argparse.Namespace
) -> Iterator[Worker]:
    """A worker that has been started; it ends with the context."""
    folder.mkdir(parents=True)
    job = Job(workload, str(data), str(folder), a.threads, a.seed, contender.options)
    terminal = Terminal()
    process = subprocess.Popen(
        [contender.python, "-m", f"workers.{contender.module}", job.write()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=terminal.theirs,
        text=True,
        env=variables(contender, folder, a.threads),
    )
    os.close(terminal.theirs)
    try:
        yield Worker(process, terminal, contender.module)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.terminate()
        process.wait()
        terminal.thread.join()
        os.close(terminal.mine)
        assert process.stdout is not None
        process.stdout.close()


def variables(contender: Contender, folder: Path, threads: int) -> dict[str, str]:
    """The environment of a worker: the same for all but for where they find their modules."""
    paths = [str(ROOT / "bench")]
    if contender.python == sys.executable:
        paths.append(str(contender.source))
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "TERM": "xterm",
        # so that the first compilation is one, and not a file of an earlier run
        "TORCHINDUCTOR_CACHE_DIR": str(folder / "compiled"),
    }


# -- data -----------------------------------------------------------------------------------------------


def images(a: argparse.Namespace, rows: int, folder: Path) -> Path:
    """A file of so many images, (N, 28, 28) of uint8."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"images_{rows}.npy"
    if a.data is None:
        synthetic(path, rows, a.seed)
        return path
    values = backstory.load(a.data).values
    if values.shape[1:] != (28, 28) or len(values) < rows:
        sys.exit(f"expected at least {rows} images of 28 × 28 in {a.data}, got {values.shape}")
    np.save(path, values[:rows])
    return path


def synthetic(path: Path, rows: int, seed: int) -> None:
    """Independent pixels: mostly 0, some 255, and a few of every level between."""
    rng = np.random.default_rng(seed)
    file = open_memmap(path, "w+", np.uint8, (rows, 28, 28))
    for start in range(0, rows, BLOCK):
        block = file[start : start + BLOCK]
        u = rng.random(block.shape, np.float32)
        grey = rng.integers(1, 255, block.shape, np.uint8)
        block[:] = np.where(u < INK * FULL, 255, np.where(u < INK, grey, 0))


# -- results --------------------------------------------------------------------------------------------


def environment(a: argparse.Namespace) -> dict[str, Any]:
    return {
        "command": a.command,
        "date": date.today().isoformat(),
        "backstory": backstory.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": a.threads,
    }


def settings(a: argparse.Namespace) -> dict[str, Any]:
    names = ("repeats", "rows", "seed")
    data = "synthetic" if a.data is None else "IDX files"
    return {**{name: getattr(a, name) for name in names}, "data": data, "least_seconds": LEAST_SECONDS}


def processor() -> str:
    """Its name where the system gives one."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((x.partition(":")[2].strip() for x in lines if x.startswith("model name")), "")


def table(workloads: dict[str, Any], names: list[str]) -> Table:
    """Medians and quartiles; a row for each workload, a column for each contender."""
    result = Table("workload", *names, title="samples per second, as a fraction of the bare products")
    for name, record in workloads.items():
        found = [record["contenders"][c] for c in names]
        result.add_row(name, *("{:.2f} [{:.2f}, {:.2f}]".format(*quartiles(c)) for c in found))
    return result


def quartiles(contender: dict[str, Any]) -> tuple[float, float, float]:
    """The median first."""
    return (contender["fraction_of_bare_products"], *contender["quartiles"])


def draw(record: dict[str, Any], path: Path) -> None:
    """A panel for each axis: the fraction of the bare products against its values, a dot for each segment."""
    from matplotlib.figure import Figure

    from backstory.report.training import BLUE, FAINT, GREEN, INK, ORANGE, save

    figure = Figure(figsize=(11.5, 4.4), facecolor="white")
    panels = figure.subplots(1, len(record["growth"]), sharey=True, squeeze=False)[0]
    figure.subplots_adjust(left=0.06, right=0.86, top=0.78, bottom=0.09, wspace=0.08)
    for axes, (axis, points) in zip(panels, record["growth"].items(), strict=True):
        values = [int(value) for value in points]
        names = list(next(iter(points.values()))["contenders"])
        ends = []
        for name, colour in zip(names, (BLUE, ORANGE, GREEN, INK) * 2, strict=False):
            found = [p["contenders"][name] for p in points.values()]
            medians = [c["fraction_of_bare_products"] for c in found]
            axes.plot(values, medians, color=colour, lw=2.2, solid_capstyle="round")
            for value, contender in zip(values, found, strict=True):
                ratios = contender["ratios"]
                axes.scatter([value] * len(ratios), ratios, s=26, color=colour, alpha=0.55, lw=0, zorder=3)
            ends.append((medians[-1], name, colour))
        axes.axhline(1, color=INK, lw=1)
        axes.set(xscale="log", xlim=(values[0] / 1.35, values[-1] * 1.35))
        axes.set_xticks(values, [f"{value:,}" for value in values])
        axes.set_xticks([], minor=True)
        axes.set_title(AXES[axis], fontsize=11, color=INK, loc="left")
        axes.grid(axis="y", color=FAINT, lw=0.6)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(length=0, colors=INK)
    panels[0].set(ylim=(0, 1.05), yticks=np.arange(5) / 4)
    for height, name, colour in [*ends, (1, "bare products", INK)]:
        at = (1.03, height)
        panels[-1].annotate(name, at, xycoords=("axes fraction", "data"), color=colour, va="center")
    threads, rows = record["threads"], record["settings"]["rows"]
    left = panels[0].get_position().x0
    figure.text(
        left, 0.93, "Samples per second, as a fraction of the bare matrix products", fontsize=14, color=INK
    )
    figure.text(
        left,
        0.87,
        f"784-400-400-20 with batches of 128 from {rows:,} rows, and one of these changed.  "
        f"{record['processor']}, {threads} thread{'s' * (threads > 1)}.  "
        "Lines join medians; a dot is one segment.",
        fontsize=9.5,
        color=INK,
    )
    save(figure, path)


def report(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def write(path: Path, record: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
