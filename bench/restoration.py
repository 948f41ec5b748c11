"""Restoration of images beside the methods of scikit-image, and what its quality costs.

    python bench/restoration.py mnist     trains a grey model, restores test images of every kind of damage
                                          (bench/results/restoration_mnist.json)
    python bench/restoration.py frey      the same for Frey faces (restoration_frey.json)
    python bench/restoration.py methods   quality and seconds of each way to find z, and of the MAP estimate,
                                          for one run or several (restoration_methods.json)
    python bench/restoration.py render    the tables of docs/restoration.md and its plot from these files

Images are in [0, 1]. All methods get the same y. PSNR and SSIM are averages over images; `best of 10` is the
draw of p(x|y) nearest to the truth.
"""

import argparse
import json
import multiprocessing
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import backstory
from backstory import Blur, Downscale, Noise
from backstory.data.dataset import Dataset
from backstory.inference.conditional import condition
from backstory.inference.damaged import observe
from backstory.inference.operators import Operator, Product
from backstory.inference.restoration import coverage
from backstory.report import training as plots
from classical import DEBLURRING, DENOISERS, INPAINTING, UPSCALING, Known, Method, psnr, ssim, tuned
from record import environment, has_place, place, timed, write

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "bench" / "results"
SHARED = ROOT.parent / "shared" / "data"
DATA = {"mnist": SHARED / "mnist", "frey": SHARED / "freyfaces" / "freyfaces.npy"}
BEST_OF = 10

DIGITS = {"hidden": (512, 512, 512), "latent": 64, "epochs": 24, "ema": 0.999, "validation": 0.02}

# By likelihood, the usual one first. Of digits σ(z) is small where a pixel is certain, as background is, and
# large at the edges of strokes; the floor keeps p(z|y) in one piece. One σ leaves the cost of deblurring low;
# faces need no more.
MODELS: dict[str, dict[str, dict[str, Any]]] = {
    "mnist": {
        "gaussian-predicted": {
            **DIGITS,
            "sigma_floor": 0.2,
            "prior": "mixture",
            "components": 500,
            "skip_spikes": 5.0,
            "ensemble": 3,
        },
        "gaussian": DIGITS,
    },
    "frey": {"gaussian": {"hidden": (256, 256), "latent": 32, "epochs": 150, "validation": 0.1}},
}
FREY_TEST = 1000
EFFORT = {
    "budget": "of auto, see Model.restore",
    "rounds": "of natural gradients before hmc",
    "chains": "of hmc",
    "temperatures": "of hmc",
    "transitions": "of hmc",
}


@dataclass(frozen=True)
class Task:
    """A kind of damage: blur, then downscaling, then noise, then what is hidden."""

    noise: float = 0.0
    missing: float = 0.0
    lower: bool = False
    downscale: int = 1
    blur: float = 0.0

    @property
    def operator(self) -> Operator:
        parts: list[Operator] = [Noise(self.noise)] if self.noise else []
        parts += [Downscale(self.downscale)] if self.downscale > 1 else []
        return Product((*parts, *([Blur(self.blur)] if self.blur else [])))

    def damage(self, model: backstory.Model, x: np.ndarray, seed: int) -> np.ndarray:
        y = model.damage(x, self.operator, self.missing, seed)
        if self.lower:
            y[:, x.shape[1] // 2 :] = np.nan
        return y

    @property
    def methods(self) -> dict[str, Method]:
        if self.blur:
            return DEBLURRING
        if self.noise:
            return DENOISERS
        return UPSCALING if self.downscale > 1 else INPAINTING


TASKS = {
    "noise σ = 0.25": Task(noise=0.25),
    "noise σ = 110/255": Task(noise=110 / 255),
    "noise σ = 0.5": Task(noise=0.5),
    "50 % missing": Task(missing=0.5),
    "80 % missing": Task(missing=0.8),
    "lower half missing": Task(lower=True),
    "downscaled 2 ×": Task(downscale=2),
    "downscaled 4 ×": Task(downscale=4),
    "blur σ = 1.5, noise 0.02": Task(blur=1.5, noise=0.02),
}
COSTLY = ("noise σ = 0.5", "50 % missing", "80 % missing", "lower half missing", "downscaled 4 ×")

# What the plot calls a way to restore, and its options
WAYS: dict[str, list[dict[str, Any]]] = {
    "encoder": [{"proposals": k} for k in (50, 500)],
    "importance": [{"proposals": k} for k in (100, 1000, 5000)],
    "variational": [{"steps": n} for n in (25, 150, 450)],
    "hmc": [{"temperatures": t, "transitions": n} for t, n in ((10, 10), (20, 20), (40, 40))],
    "MAP": [{"steps": n} for n in (50, 300)],
}
COLOURS = {
    "encoder": plots.FAINT,
    "importance": plots.ORANGE,
    "variational": plots.GREEN,
    "hmc": plots.BLUE,
    "MAP": plots.INK,
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(dest="what", required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--tasks", nargs="+", choices=TASKS, metavar="TASK", help="by default all")
    shared.add_argument("--seed", type=int, default=0)
    shared.add_argument("--threads", type=int, default=1, help="of PyTorch")

    for name, rows in (("mnist", 1000), ("frey", FREY_TEST)):
        table = commands.add_parser(name, parents=[shared])
        table.add_argument("--data", default=str(DATA[name]))
        table.add_argument("--run", type=Path, default=ROOT / "runs" / f"bench-restoration-{name}")
        usual = next(iter(MODELS[name]))
        table.add_argument("--likelihood", choices=MODELS[name], default=usual)
        table.add_argument("--epochs", type=int, default=MODELS[name][usual]["epochs"])
        table.add_argument("--rows", type=int, default=rows, help="images, the first of the test part")
        table.add_argument("--draws", type=int, default=50)
        table.add_argument("--method", default="auto")
        for option, what in EFFORT.items():
            table.add_argument(f"--{option}", type=int, default=None, help=what)
        table.add_argument("--workers", type=int, default=1, help="processes, each with tasks of its own")
        table.add_argument("--tuning-rows", type=int, default=30, help="for the others' parameters")
        table.add_argument("--output", type=Path, default=RESULTS / f"restoration_{name}.json")

    ways = commands.add_parser("methods", parents=[shared])
    ways.add_argument("--data", default=str(DATA["mnist"]))
    ways.add_argument("--runs", nargs="+", type=Path, default=[ROOT / "runs" / "bench-restoration-mnist"])
    ways.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    ways.add_argument("--rows", type=int, default=30)
    ways.add_argument("--output", type=Path, default=RESULTS / "restoration_methods.json")

    page = commands.add_parser("render")
    page.add_argument("--results", type=Path, default=RESULTS)
    page.add_argument("--page", type=Path, default=ROOT / "docs" / "restoration.md")
    page.add_argument("--figure", type=Path, default=ROOT / "docs" / "images" / "restoration_cost.png")

    a = parser.parse_args(arguments)
    if a.what == "render":
        render(a)
        return
    torch.set_num_threads(a.threads)
    if a.what == "methods":
        compare_ways(a)
    else:
        compare(a)


# -- beside other methods ---------------------------------------------------------------------------------


def compare(a: argparse.Namespace) -> None:
    """Every task by Backstory and by the others; the file is written anew after each."""
    model, train, test = prepared(a)
    result: dict[str, Any] = {
        **environment(),
        "workers": a.workers,
        "rows": len(test[: a.rows]),
        "draws": a.draws,
        "method": a.method,
        "effort": {name: getattr(a, name) for name in EFFORT},
        "model": {**told(model), "training_rows": len(train)},
        "tasks": {},
    }
    names = list(a.tasks or TASKS)
    for name, scores in zip(names, shared_out(a, names), strict=True):
        result["tasks"][name] = scores
        write(a.output, result)
        print(name, ", ".join(f"{way} {r['psnr']:.2f}" for way, r in scores.items()), sep=": ", flush=True)


def shared_out(a: argparse.Namespace, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The scores of each task, several at a time if there are several workers."""
    if a.workers == 1:
        yield from map(partial(scores_of, a), names)
        return
    with ProcessPoolExecutor(a.workers, multiprocessing.get_context("spawn")) as workers:
        yield from workers.map(partial(scores_of, a), names)


def scores_of(a: argparse.Namespace, name: str) -> dict[str, Any]:
    """Of one task, by Backstory and by the others."""
    torch.set_num_threads(a.threads)
    model, train, test = prepared(a)
    task, x = TASKS[name], test[: a.rows]
    y = task.damage(model, x, a.seed)
    other = task.damage(model, train[: a.tuning_rows], a.seed + 1)
    options = {name: getattr(a, name) for name in EFFORT if getattr(a, name) is not None}
    own = measured(model, task, x, y, draws=a.draws, method=a.method, seed=a.seed, **options)
    pairs = list(zip(train[: a.tuning_rows] / top(model), other / top(model), strict=True))
    images = x / top(model), y / top(model)
    others = {way: classical(m, task, *images, pairs) for way, m in task.methods.items()}
    return {"backstory": own, **others}


def prepared(a: argparse.Namespace) -> tuple[backstory.Model, np.ndarray, np.ndarray]:
    """The model, trained first where there is none; the images it learned from, and those kept apart."""
    train, test = parts(a.what, a.data)
    if (a.run / "config.json").exists():
        model = backstory.open(a.run)
        if model.training.epochs != a.epochs:
            sys.exit(f"{a.run} was trained for {model.training.epochs} epochs; give --epochs, or --run")
    else:
        options = {**MODELS[a.what][a.likelihood], "likelihood": a.likelihood, "epochs": a.epochs}
        model = backstory.fit(train, a.run, **options, seed=a.seed, network="residual")
    return model, np.asarray(train.values), np.asarray(test.values)


def told(model: backstory.Model) -> dict[str, Any]:
    """What a model is, for the record."""
    return {
        **model.options.flat(),
        "epochs": model.summary["epochs"],
        "ensemble": len(model.members),
    }


def parts(name: str, source: str) -> tuple[Dataset, Dataset]:
    """Training and test images: MNIST's own; 1,000 of the Frey faces, by a fixed seed, are for the test."""
    data = backstory.load(source)
    if name == "mnist":
        assert data.test_rows is not None
        test = data.test_rows
    else:
        test = np.random.default_rng(0).permutation(len(data))[-FREY_TEST:]

    def some(index: np.ndarray) -> Dataset:
        return replace(data, values=data.values[index], labels=None, test_rows=None, names=None)

    return some(np.setdiff1d(np.arange(len(data)), test)), some(test)


def top(model: backstory.Model) -> float:
    return float(model.schema.maximum or 1)


def measured(
    model: backstory.Model, task: Task, x: np.ndarray, y: np.ndarray, **options: Any
) -> dict[str, Any]:
    """Quality, coverage and cost of `Model.restore`."""
    found, seconds = timed(lambda: model.restore(y, task.operator, **options))
    truth, full = x / top(model), top(model)
    hidden = np.isnan(y) if y.shape == x.shape and not task.noise else np.ones(x.shape, bool)
    each = [quality(draw / full, truth) for draw in found.draws[:BEST_OF]]
    best = {name: np.max([scores[name] for scores in each], axis=0) for name in ("psnr", "ssim")}
    return {
        **averages(quality(found.mean / full, truth)),
        f"best_of_{BEST_OF}": averages(best),
        "coverage": {str(level): coverage(found, x, level, hidden) for level in (0.5, 0.9)},
        "seconds_per_image": seconds / len(x),
        "methods": dict(Counter(found.methods)),
        "median_r_hat": median(found.r_hat),
    }  # fmt: skip


def median(values: torch.Tensor) -> float | None:
    known = values[~values.isnan()]
    return float(known.median()) if len(known) else None


def quality(found: np.ndarray, truth: np.ndarray) -> dict[str, np.ndarray]:
    """PSNR and SSIM of each image."""
    pairs = list(zip(found.astype(np.float64), truth, strict=True))
    return {name: np.array([f(*pair) for pair in pairs]) for name, f in (("psnr", psnr), ("ssim", ssim))}


def averages(scores: dict[str, np.ndarray]) -> dict[str, float]:
    return {name: round(float(values.mean()), 4) for name, values in scores.items()}


def classical(
    method: Method, task: Task, x: np.ndarray, y: np.ndarray, pairs: Sequence[tuple[np.ndarray, np.ndarray]]
) -> dict[str, Any]:
    """Quality and cost of a method with the parameter that is best on other images."""
    known = Known((x.shape[1], x.shape[2]), task.noise, task.blur)
    parameter = tuned(method, pairs, known)
    found, seconds = timed(lambda: np.stack([method(one, known, parameter) for one in y]))
    tuning = {"parameter": parameter} if len(method.parameters) > 1 else {}
    return {**averages(quality(found, x)), **tuning, "seconds_per_image": seconds / len(x)}


# -- ways to find z ---------------------------------------------------------------------------------------


def compare_ways(a: argparse.Namespace) -> None:
    """Each way with several efforts, for each run; the file is written anew after each task."""
    _, test = parts("mnist", a.data)
    x = np.asarray(test.values[: a.rows])
    result: dict[str, Any] = {**environment(), "rows": len(x), "runs": {}}
    for run in a.runs:
        model = backstory.open(run)
        record: dict[str, Any] = {**told(model), "tasks": {}}
        result["runs"][run.name] = record
        for name in a.tasks or COSTLY:
            task, record["tasks"][name] = TASKS[name], {}
            y = task.damage(model, x, a.seed)
            for way in a.ways if len(model.members) == 1 else ("hmc",):
                found = [one_way(model, task, x, y, way, options, a.seed) for options in WAYS[way]]
                record["tasks"][name][way] = found
                scores = ", ".join(f"{f['psnr']:.2f} in {f['seconds_per_image']:.3f} s" for f in found)
                print(f"{run.name}, {name}, {way}: {scores}", flush=True)
            write(a.output, result)


def one_way(
    model: backstory.Model,
    task: Task,
    x: np.ndarray,
    y: np.ndarray,
    way: str,
    options: dict[str, Any],
    seed: int,
) -> dict[str, Any]:
    if way == "MAP":
        found, seconds = timed(lambda: maximum_a_posteriori(model, task.operator, y, seed=seed, **options))
        scores = averages(quality(found / top(model), x / top(model)))
        return {**options, **scores, "seconds_per_image": seconds / len(x)}
    return {**options, **measured(model, task, x, y, draws=BEST_OF, method=way, seed=seed, **options)}


def maximum_a_posteriori(
    model: backstory.Model, operator: Operator, y: np.ndarray, steps: int, starts: int = 4, seed: int = 0
) -> np.ndarray:
    """E[x|z, y] at the z with the highest p(z) p(y|z) that gradient ascent finds from draws of the prior."""
    vae, generator = model.vae, torch.Generator().manual_seed(seed)
    seen = observe(operator, torch.from_numpy(y).float(), model.schema.shape, model.units.unit)
    prior = vae.prior()
    with torch.no_grad():
        seen = seen.prepared(vae.decode(prior.mean[None]).constant_variance)
        z = torch.stack([prior.sample(len(y), generator) for _ in range(starts)])
    z.requires_grad_()
    optimiser = torch.optim.Adam([z], lr=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        height = prior.log_prob(z) + condition(vae.decode(z), seen).log_evidence
        (gradient,) = torch.autograd.grad(-height.sum(), z)
        z.grad = gradient
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        best = (prior.log_prob(z) + condition(vae.decode(z), seen).log_evidence).argmax(0)
        z = z[best, torch.arange(len(y))]
        return np.asarray(model.schema.means(condition(vae.decode(z), seen).mean)).clip(0, top(model))


# -- the page ---------------------------------------------------------------------------------------------


def render(a: argparse.Namespace) -> None:
    """The tables for which there is a result and a place on the page, and the plot."""
    results = {path.stem.removeprefix("restoration_"): path for path in a.results.glob("restoration_*.json")}
    read = {name: json.loads(path.read_text(encoding="utf-8")) for name, path in results.items()}
    for name, result in read.items():
        if has_place(a.page, name):
            place(a.page, name, ways_table(result) if "runs" in result else comparison(result))
    if "methods" in read:
        plots.save(cost_figure(read["methods"], read["mnist"]["tasks"]), a.figure)


def comparison(result: dict[str, Any]) -> list[str]:
    """The table of a data set."""
    lines = [
        f"{result['rows']:,} images, `{result['command']}`",
        "",
        "| PSNR in dB, SSIM | mean | best of 10 draws | coverage of 50 %, 90 % | s per image | others |",
        "|---|---:|---:|---:|---:|---|",
    ]
    for name, record in result["tasks"].items():
        own = record["backstory"]
        best = own[f"best_of_{BEST_OF}"]
        others = {way: r for way, r in record.items() if way != "backstory"}
        told = ", ".join(f"{way} {r['psnr']:.1f}, {r['ssim']:.2f}" for way, r in others.items())
        cells = [name, f"**{own['psnr']:.1f}**, {own['ssim']:.2f}", f"{best['psnr']:.1f}, {best['ssim']:.2f}"]
        cells += [", ".join(f"{100 * share:.0f}" for share in own["coverage"].values())]
        lines.append("| " + " | ".join([*cells, f"{own['seconds_per_image']:.2f}", told]) + " |")
    return lines


def ways_table(result: dict[str, Any]) -> list[str]:
    """PSNR of each way at its middle effort, for each run and task."""
    tasks = list(next(iter(result["runs"].values()))["tasks"])
    lines = [
        f"PSNR on {result['rows']} images, `{result['command']}`",
        "",
        "| model | z by | " + " | ".join(tasks) + " |",
        "|---|---|" + "---:|" * len(tasks),
    ]
    for run, record in result["runs"].items():
        for way in record["tasks"][tasks[0]]:
            found = [record["tasks"][task][way] for task in tasks]
            cells = [f"{each[len(each) // 2]['psnr']:.1f}" for each in found]
            lines.append("| " + " | ".join([run, way, *cells]) + " |")
    return lines


def cost_figure(result: dict[str, Any], others: dict[str, Any]) -> Figure:
    """PSNR against seconds, a panel for each task, of the first run."""
    tasks = next(iter(result["runs"].values()))["tasks"]
    figure = Figure(figsize=(3.2 * len(tasks), 3.6), dpi=plots.DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(tasks), squeeze=False)[0]
    for panel, (task, found) in zip(axes, tasks.items(), strict=True):
        for way, records in found.items():
            points = [(r["seconds_per_image"], r["psnr"]) for r in records]
            panel.plot(*zip(*points, strict=True), "o-", color=COLOURS[way], label=way, markersize=4)
        best = max((r["psnr"], way) for way, r in others[task].items() if way != "backstory")
        panel.axhline(best[0], color=plots.INK, linestyle=":", linewidth=1)
        panel.annotate(best[1], (0.98, best[0]), xycoords=("axes fraction", "data"), ha="right", va="bottom")
        panel.set(title=task, xscale="log", xlabel="seconds per image")
        panel.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("PSNR of the mean, dB")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    return figure


if __name__ == "__main__":
    main()
