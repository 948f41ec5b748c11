"""What a GPU does with Backstory: the same numbers as a processor, and how fast it trains and answers.

    python bench/gpu.py                    all parts, at most eight minutes (bench/results/gpu.json)
    python bench/gpu.py --parts numbers    one part

Each part is a process of its own with a limit of time, so that no part can take the time of another:

    numbers    every likelihood and every task on both devices: the largest difference of the deterministic
               numbers (codes, log p(x|z), gradient), and of estimates in units of their standard errors
    training   samples per second of W1, W3 and large batches, with the data on the device: Backstory as it is
               and compiled, beside a tuned eager loop, `torch.compile(mode="reduce-overhead")`, and one CUDA
               graph of the whole step (binarise, forward, backward, Adam)
    answers    rows per second of importance sampling, annealing and restoration

Speeds are medians of segments that alternate between all contenders. Without a GPU, `--device cpu` runs all
but the CUDA graph; the tests do so with tiny sizes.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import backstory
from backstory.data.values import stored_rows
from backstory.models import build, defaults
from backstory.models.statistics import data_statistics
from backstory.opening import unpack
from backstory.options import sort_options
from backstory.training import schedule
from backstory.training.devices import pick_device
from backstory.training.step import Bound
from backstory.training.trainer import Trainer
from record import environment, timed, write
from training_speed import WORKLOADS, synthetic
from workers.backstory_fit import options
from workers.torch_loops import VAE
from workers.workload import Workload

RESULTS = Path(__file__).parent / "results" / "gpu.json"
LIMITS = {"numbers": 120, "training": 240, "answers": 110}  # seconds
LIKELIHOODS = {
    "images": ("bernoulli", "categorical", "logistic", "gaussian", "laplace"),
    "numbers": ("gaussian", "gaussian-per-entry", "gaussian-predicted", "laplace", "student"),
    "table": ("joint", "autoregressive"),
}
SMALL = {"epochs": 1, "hidden": (32,), "latent": 3, "compile": False, "progress": False, "device": "cpu"}
Step = Callable[[], Any]


def main(arguments: Sequence[str] | None = None) -> None:
    a = parse(arguments)
    if a.inside:
        print(json.dumps(PARTS[a.parts[0]](a)))
        return
    record: dict[str, Any] = {**environment(), "device": name_of(a.device), "sizes": sizes(a)}
    for part in a.parts:
        record[part] = apart(part, a)
        write(a.output, record)
        print(json.dumps({part: record[part]}, indent=2), flush=True)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--parts", nargs="+", choices=LIMITS, default=list(LIMITS))
    parser.add_argument("--rows", type=int, default=60_000, help="images of the training")
    parser.add_argument("--batches", nargs="*", type=int, default=[1024, 8192], help="large batches of W1")
    parser.add_argument("--seconds", type=float, default=1.0, help="of a segment")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--questions", type=int, default=512, help="rows of the answers")
    parser.add_argument("--limit", type=float, default=1.0, help="factor of the parts' limits of time")
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    a = parser.parse_args(arguments)
    a.given = list(arguments if arguments is not None else sys.argv[1:])
    return a


def sizes(a: argparse.Namespace) -> dict[str, Any]:
    return {name: getattr(a, name) for name in ("rows", "batches", "seconds", "repeats", "questions")}


def name_of(device: str) -> str:
    return torch.cuda.get_device_name() if pick_device(device).type == "cuda" else device


def apart(part: str, a: argparse.Namespace) -> dict[str, Any]:
    """The record of a part from a process of its own; an error or the end of its time is its record, too."""
    limit = LIMITS[part] * a.limit
    command = [sys.executable, __file__, *a.given, "--parts", part, "--inside"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return {"failed": f"took longer than {limit:g} s"}
    if done.returncode:
        return {"failed": "\n".join(done.stderr.splitlines()[-5:])}
    record: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return record


# -- the same numbers -----------------------------------------------------------------------------------


def numbers(a: argparse.Namespace) -> dict[str, Any]:
    """For each likelihood, the differences between the processor and the device."""
    found = {}
    for kind, names in LIKELIHOODS.items():
        data = DATA[kind]()
        for name in names:
            model = backstory.fit(data, likelihood=name, **SMALL)
            found[f"{kind} {name}"] = differences(model, unpack(model.pack(), a.device), data)
    return found


def differences(here: Any, there: Any, data: Any) -> dict[str, float]:
    """Relative differences of deterministic numbers, and of estimates in standard errors."""
    steps = [one_step(model, data) for model in (here, there)]
    record = {name: relative(steps[0][name], steps[1][name]) for name in steps[0]}
    rows = data[:20] if isinstance(data, np.ndarray) else data.iloc[:20]
    estimates = [model.log_evidence(rows, samples=200, seed=1) for model in (here, there)]
    errors = np.hypot(*(e.standard_error for e in estimates))
    gap = np.abs(estimates[0].log_evidence - estimates[1].log_evidence)
    record["evidence, in standard errors"] = float(np.median(gap / np.maximum(errors, 1e-6)))
    there.sample(5, seed=1)
    there.reconstruct(rows)
    there.score(rows, reference=data)
    if isinstance(data, np.ndarray):
        seen = np.random.default_rng(0).random(data[:4].shape) < 0.5
        there.restore(data[:4], backstory.Mask(seen), draws=2)
    return record


def one_step(model: Any, data: Any) -> dict[str, torch.Tensor]:
    """The codes, log p(x|z) and the gradient for the same rows and the same noise."""
    bound, generator = Bound(model.vae, model.schema, model.training), torch.Generator().manual_seed(0)
    rows = stored_rows(data, model.schema, None).on(torch.device("cpu"), slice(16))
    drawn = bound.batch(rows, 16, generator)
    batch = drawn._replace(x=drawn.x.to(model.device), noise=drawn.noise.to(model.device))
    terms = model.vae.terms(batch.observation, len(batch.noise), noise=batch.noise)
    model.vae.zero_grad()
    (-bound(batch, 1.0, 16).objective.mean()).backward()
    gradient = torch.cat([p.grad.flatten() for p in model.vae.parameters() if p.grad is not None])
    tensors = {"codes": terms.posterior.centre, "log p(x|z)": terms.log_likelihood, "gradient": gradient}
    return {name: value.detach().cpu().double() for name, value in tensors.items()}


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    """The largest difference, as a fraction of the largest value."""
    return float((a - b).abs().max() / a.abs().max().clamp(min=1e-12))


def images(rows: int = 80) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (rows, 12, 12)).astype(np.uint8)


def table_of_numbers() -> np.ndarray:
    random = np.random.default_rng(0)
    return (random.normal(size=(200, 2)) @ random.normal(size=(2, 6))).astype(np.float32)


def mixed_table() -> Any:
    import pandas as pd

    random = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "number": random.normal(size=200),
            "count": random.poisson(3, 200),
            "level": random.choice(list("abc"), 200),
            "yes": random.choice(["y", "n"], 200),
        }
    )


DATA: dict[str, Callable[[], Any]] = {"images": images, "numbers": table_of_numbers, "table": mixed_table}

# -- training -------------------------------------------------------------------------------------------


def training(a: argparse.Namespace) -> dict[str, Any]:
    """Samples per second of each contender, for each workload."""
    device = pick_device(a.device)
    workloads = {name: WORKLOADS[name] for name in ("W1", "W3")}
    for batch in a.batches:
        workloads[f"W1, batch {batch}"] = Workload(batch=batch, hidden=(400, 400), latent=20)
    with tempfile.TemporaryDirectory() as folder:
        synthetic(Path(folder) / "images.npy", a.rows, 0)
        data = np.load(Path(folder) / "images.npy")
    return {name: speeds(w, data, device, a) for name, w in workloads.items()}


def speeds(w: Workload, data: np.ndarray, device: torch.device, a: argparse.Namespace) -> dict[str, Any]:
    """Medians over segments in turns; a contender that fails has its error in place of a speed."""
    made: dict[str, Step] = {}
    record: dict[str, Any] = {}
    for name, make in contenders(device).items():
        try:
            made[name] = make(w, data, device)
            made[name]()
        except Exception as error:  # compilers and captures fail in many ways
            record[name] = f"{type(error).__name__}: {error}".splitlines()[0]
            made.pop(name, None)
    rates: dict[str, list[float]] = {name: [] for name in made}
    for _ in range(a.repeats):
        for name, step in made.items():
            rates[name].append(w.batch * steps_per_second(step, device, a.seconds))
    return {**record, **{name: round(statistics.median(values)) for name, values in rates.items()}}


def steps_per_second(step: Step, device: torch.device, seconds: float) -> float:
    steps, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        for _ in range(20):
            step()
        synchronise(device)
        steps += 20
    return steps / (time.perf_counter() - start)


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def contenders(device: torch.device) -> dict[str, Callable[[Workload, np.ndarray, torch.device], Step]]:
    found: dict[str, Callable[[Workload, np.ndarray, torch.device], Step]] = {
        "backstory eager": lambda w, data, device: ours(w, data, device, False),
        "backstory --compile": lambda w, data, device: ours(w, data, device, True),
        "tuned eager": tuned,
        "reduce-overhead": lambda w, data, device: tuned(w, data, device, compiled=True),
    }
    return {**found, "CUDA graph": whole_graph} if device.type == "cuda" else found


def ours(w: Workload, data: np.ndarray, device: torch.device, compiled: bool) -> Step:
    """The step of Backstory's trainer: a batch of shuffled rows, the gradient, the update, the sums."""
    dataset = backstory.load(data)
    schema, model = defaults.resolve(dataset.schema, sort_options(options(w))[0])
    training_options = sort_options({**options(w), "epochs": 1, "warmup": 0, "compile": compiled})[1]
    resolved = schedule.resolve(training_options, len(data), defaults.default_schedule(schema, model))
    vae = build.build(schema, model, 0, data_statistics(data, schema)).to(device)
    trainer = Trainer(vae, schema, data, data[:0], resolved)
    warmup, batches = torch.ones((), device=device), trainer.shuffled.batches(trainer._order())

    def step() -> None:
        nonlocal batches
        stored = next(batches, None)
        if stored is None or len(stored.values) < w.batch:
            batches = trainer.shuffled.batches(trainer._order())
            stored = next(batches)
        trainer._step(stored, w.batch, warmup, 1e-3)

    return step


def tuned(w: Workload, data: np.ndarray, device: torch.device, compiled: bool = False) -> Step:
    """Bytes on the device, binarised by a comparison of bytes; fused Adam; nothing waits for the device."""
    images, vae = torch.from_numpy(data).unsqueeze(1).to(device), VAE(w).to(device)
    optimiser = torch.optim.Adam(vae.parameters(), lr=1e-3, fused=True)
    loss_of: Any = torch.compile(vae, mode="reduce-overhead") if compiled else vae
    total = torch.zeros((), device=device)

    def step() -> None:
        batch = images[torch.randint(len(images), (w.batch,), device=device)]
        loss = loss_of((batch > torch.empty_like(batch).random_(0, 255)).float())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        total.add_(loss.detach())

    return step


def whole_graph(w: Workload, data: np.ndarray, device: torch.device) -> Step:
    """One CUDA graph of rows, binarisation, forward and backward pass and Adam."""
    images, vae = torch.from_numpy(data).unsqueeze(1).to(device), VAE(w).to(device)
    optimiser = torch.optim.Adam(vae.parameters(), lr=1e-3, fused=True, capturable=True)
    total = torch.zeros((), device=device)

    def step() -> None:
        batch = images[torch.randint(len(images), (w.batch,), device=device)]
        loss = vae((batch > torch.empty_like(batch).random_(0, 255)).float())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        total.add_(loss.detach())

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    optimiser.zero_grad()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


# -- answers --------------------------------------------------------------------------------------------


def answers(a: argparse.Namespace) -> dict[str, Any]:
    """Rows per second of evidence by importance sampling and annealing, and of restoration."""
    data = np.random.default_rng(0).integers(0, 256, (max(200, a.questions), 28, 28)).astype(np.uint8)
    data[:, ::2] //= 8
    small = {**SMALL, "likelihood": "bernoulli", "latent": 20, "hidden": (400, 400), "device": a.device}
    model = backstory.fit(data, **small)
    rows = data[: a.questions]
    few = rows[: max(1, len(rows) // 8)]
    mask = backstory.Mask(np.random.default_rng(1).random(few.shape) < 0.5)
    tasks: dict[str, tuple[int, Step]] = {
        "importance sampling": (len(rows), lambda: model.log_evidence(rows, samples=200, method="is")),
        "annealing": (len(few), lambda: model.log_evidence(few, samples=8, method="ais")),
        "restoration": (len(few), lambda: model.restore(few, mask, draws=4)),
    }
    record = {name: round(count / timed(task)[1], 2) for name, (count, task) in tasks.items()}
    return {"rows per second": record}


PARTS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "numbers": numbers,
    "training": training,
    "answers": answers,
}

if __name__ == "__main__":
    main()
