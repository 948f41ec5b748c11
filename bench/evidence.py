"""The log-evidence on MNIST by importance sampling and by annealing, and the speed of importance sampling.

    python bench/evidence.py mnist     trains the net of Burda et al. (2016) with one stochastic layer, then
                                       compares IS and AIS, and brackets simulated images (evidence.json)
    python bench/evidence.py speed     importance sampling against the decoder's bare matrix products
                                       (evidence_speed.json)

The net is 784-200-200-50, tanh, with dynamic binarisation. Every number is in nats per image.
"""

import argparse
import math
import statistics
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import backstory
from backstory import console
from backstory.data.schema import Schema
from backstory.inference.annealing import STARTS, Annealing, bidirectional
from backstory.inference.importance import Evidence, importance_sampling
from backstory.inference.memory import pairs_at_once
from backstory.inference.pareto import threshold
from backstory.models import build
from backstory.models.defaults import resolve
from backstory.options import ModelOptions
from record import environment, timed, write

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "bench" / "results"
NET = {
    "likelihood": "bernoulli",
    "network": "plain",
    "hidden": (200, 200),
    "activation": "tanh",
    "latent": 50,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(dest="what", required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--samples", type=int, default=5000, help="importance samples per image")
    shared.add_argument("--threads", type=int, default=None, help="of PyTorch; by default its own choice")
    shared.add_argument("--seed", type=int, default=0)

    mnist = commands.add_parser("mnist", parents=[shared])
    mnist.add_argument("--data", default=str(ROOT.parent / "shared" / "data" / "mnist"))
    mnist.add_argument("--run", type=Path, default=ROOT / "runs" / "bench-evidence")
    mnist.add_argument("--retrain", action="store_true", help="even if the run is there")
    mnist.add_argument("--epochs", type=int, default=30)
    mnist.add_argument("--test-rows", type=int, default=100)
    mnist.add_argument("--simulated", type=int, default=100, help="images of the bracket")
    mnist.add_argument("--chains", type=int, default=16)
    mnist.add_argument("--steps", type=int, default=200)
    mnist.add_argument("--leapfrog", type=int, default=3)
    mnist.add_argument("--schedule", default="sigmoid")
    mnist.add_argument("--starts", nargs="+", default=list(STARTS))
    mnist.add_argument("--output", type=Path, default=RESULTS / "evidence.json")

    speed = commands.add_parser("speed", parents=[shared])
    speed.add_argument("--rows", type=int, default=1000)
    speed.add_argument("--repeats", type=int, default=5)
    speed.add_argument("--output", type=Path, default=RESULTS / "evidence_speed.json")

    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    result = compare(arguments) if arguments.what == "mnist" else measure_speed(arguments)
    write(arguments.output, {**environment(), **result})


# -- MNIST ----------------------------------------------------------------------------------------------


def compare(a: argparse.Namespace) -> dict[str, Any]:
    """IS and AIS side by side on test images, and a bracket of simulated ones for each start."""
    data = backstory.load(a.data)
    model = trained(a, data)
    assert data.test_rows is not None
    rows = np.sort(np.random.default_rng(a.seed).permutation(data.test_rows)[: a.test_rows])
    x = data.values[rows]
    base, seconds = timed(lambda: model.log_evidence(x, a.samples, a.seed, progress=True))
    result = {
        "epochs": a.epochs,
        "test_rows": len(rows),
        "elbo": float(base.elbo.mean()),
        "importance_sampling": {**summary(base), "seconds": round(seconds, 1)},
    }
    report("IS", result["importance_sampling"])
    settings = {"steps": a.steps, "leapfrog": a.leapfrog, "schedule": a.schedule}
    result["settings"] = {"chains": a.chains, **settings}
    for start in a.starts:
        how = {**settings, "start": start, "method": "ais"}
        e, seconds = timed(partial(model.log_evidence, x, a.chains, a.seed, progress=True, **how))
        away = e.log_evidence - base.log_evidence
        annealed = {
            **summary(e),
            "acceptance": float(e.acceptance.mean()),
            "minus_importance_sampling": float(away.mean()),
            "minus_importance_sampling_error": float(away.std()) / math.sqrt(len(away)),
            "seconds": round(seconds, 1),
        }
        report(f"AIS from {start}", annealed)
        result[f"annealed_from_{start}"] = annealed
        result[f"bracket_from_{start}"] = bracket(model, Annealing(a.chains, start=start, **settings), a)
        report(f"bracket from {start}", result[f"bracket_from_{start}"])
    return result


def trained(a: argparse.Namespace, data: Any) -> backstory.Model:
    """The run's model; trained first, for the stated budget, where there is none."""
    if (a.run / "config.json").exists() and not a.retrain:
        model = backstory.open(a.run)
        if model.summary["epochs"] != a.epochs:
            sys.exit(f"{a.run} was trained for {model.summary['epochs']} epochs; give --retrain, or --run")
        return model
    return backstory.fit(data, a.run, validation=0.05, epochs=a.epochs, seed=a.seed, force=True, **NET)


def bracket(model: backstory.Model, how: Annealing, a: argparse.Namespace) -> dict[str, Any]:
    """The average gap between upper and lower bounds on images that the model drew."""
    with console.progress("bracket", a.simulated) as bar:
        b, seconds = timed(lambda: bidirectional(model.vae, a.simulated, how, a.seed, bar.advance))
    return {
        "simulated": a.simulated,
        "lower": float(b.lower.mean()),
        "upper": float(b.upper.mean()),
        "gap": b.gap,
        "gap_error": b.gap_error,
        "largest_gap": float((b.upper - b.lower).max()),
        "acceptance": float(b.acceptance.mean()),
        "seconds": round(seconds, 1),
    }


def summary(e: Evidence) -> dict[str, Any]:
    """Averages over images; errors over the draws."""
    heavy = float((e.pareto_k > threshold(e.samples)).double().mean())
    record = {
        "samples": e.samples,
        "log_evidence": float(e.log_evidence.mean()),
        "standard_error": float(e.standard_error.square().sum().sqrt()) / len(e.standard_error),
        "ess": float(e.ess.mean()),
    }
    if not e.pareto_k.isnan().any():
        record |= {"pareto_k": float(e.pareto_k.mean()), "heavy_tailed": heavy}
    return record


# -- speed ----------------------------------------------------------------------------------------------


def measure_speed(a: argparse.Namespace) -> dict[str, Any]:
    """Seconds of importance sampling and of the bare products, in turns; medians of paired ratios."""
    schema = Schema(kind="images", shape=(28, 28), dtype="uint8", levels=256, maximum=255)
    schema, options = resolve(schema, ModelOptions(**NET))
    vae = build.build(schema, options, a.seed).eval()
    generator = torch.Generator().manual_seed(a.seed)
    x = (torch.rand(a.rows, 28, 28, generator=generator) < 0.13).float()
    batches = x.split(500)  # as `Model` does
    at_once = min(len(batches[0]), pairs_at_once(vae))
    layers = [m.weight.detach() for m in vae.decoder.modules() if isinstance(m, nn.Linear)]
    bare = Products(layers, at_once, a.rows * a.samples, generator)
    seconds: dict[str, list[float]] = {"products": [], "importance_sampling": []}
    with torch.no_grad():
        bare(0.1)
        importance_sampling(vae, batches, max(1, a.samples // 50), generator)
        for _ in range(a.repeats):
            seconds["products"].append(timed(bare)[1])
            seconds["importance_sampling"].append(
                timed(lambda: importance_sampling(vae, batches, a.samples, generator))[1]
            )
    ratios = [p / s for p, s in zip(*seconds.values(), strict=True)]
    result = {
        "rows": a.rows,
        "samples": a.samples,
        "decoded_at_once": at_once,
        "throughput_of_bare_products": statistics.median(ratios),
        "ratios": [round(r, 4) for r in ratios],
        "seconds": {name: [round(s, 3) for s in values] for name, values in seconds.items()},
    }
    print(f"importance sampling runs at {result['throughput_of_bare_products']:.2f} of the bare products")
    return result


class Products:
    """The decoder's matrix products alone, on the shapes that importance sampling decodes at once."""

    def __init__(self, layers: list[Tensor], pairs: int, total: int, generator: torch.Generator):
        self.layers, self.times = layers, math.ceil(total / pairs)
        self.z = torch.randn(pairs, layers[0].shape[1], generator=generator)
        self.outputs = [torch.empty(pairs, layer.shape[0]) for layer in layers]

    def __call__(self, share: float = 1.0) -> None:
        for _ in range(math.ceil(share * self.times)):
            h = self.z
            for layer, output in zip(self.layers, self.outputs, strict=True):
                h = torch.mm(h, layer.T, out=output)


# -- both -----------------------------------------------------------------------------------------------


def report(name: str, record: dict[str, Any]) -> None:
    values = (f"{k} {v:.3f}" if isinstance(v, float) else f"{k} {v}" for k, v in record.items())
    print(f"{name}: {', '.join(values)}", flush=True)


if __name__ == "__main__":
    main()
