"""Backstory's defaults for images beside a plain network in the same processor time.

    OMP_NUM_THREADS=1 python bench/images.py sprites cifar frey   measures into bench/results/images.json

Backstory trains by `fit(x, epochs=…)` with no other option. The plain network then trains for as many seconds
of processor time: convolutions with stride 2, BatchNorm, Adam with a learning rate of 1e-3, batches of 64,
and a discretised logistic whose location and scale are predicted for each entry. Figures are bits per
dimension of the same images, held out of the training of both: the ELBO, with as many draws of z for both.
"""

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import backstory
from backstory.distributions.logistic import DiscretisedLogisticHead
from record import environment, place, write

ROOT = Path(__file__).parents[1]
SETS = {  # the data, and the epochs of a few minutes
    "sprites": ("images/sprites", 3),
    "cifar": ("images/cifar", 3),
    "frey": ("freyfaces/freyfaces.npy", 30),
}
HELD_OUT, DRAWS, BATCH = 300, 5, 64


class Plain(nn.Module):
    """A variational autoencoder of stride-2 convolutions for images (N, C, H, W)."""

    def __init__(
        self, shape: tuple[int, int, int], shift: float, scale: float, latent: int = 64, width: int = 32
    ):
        super().__init__()
        colours, *side = shape
        self.head = DiscretisedLogisticHead(shape, 256, shift, scale)
        self.shift, self.scale = shift, scale
        sides, counts = [tuple(side)], [colours]
        while min(sides[-1]) >= 8:
            sides.append((sides[-1][0] // 2, sides[-1][1] // 2))
            counts.append(width * min(2 ** (len(sides) - 2), 8))
        self.coarse = (counts[-1], *sides[-1])
        down: list[nn.Module] = []
        up: list[nn.Module] = []
        for stage in range(len(sides) - 1):
            before, after = counts[stage], counts[stage + 1]
            down += [nn.Conv2d(before, after, 4, 2, 1), nn.BatchNorm2d(after), nn.ReLU()]
            odd = (sides[stage][0] % 2, sides[stage][1] % 2)
            enlarged = nn.ConvTranspose2d(after, before if stage else 2 * colours, 4, 2, 1, odd)
            up = [enlarged, *([nn.BatchNorm2d(before), nn.ReLU()] if stage else []), *up]
        size = math.prod(self.coarse)
        self.encoder = nn.Sequential(*down, nn.Flatten(), nn.Linear(size, 2 * latent))
        self.first = nn.Linear(latent, size)
        self.decoder = nn.Sequential(nn.BatchNorm2d(counts[-1]), nn.ReLU(), *up)

    def elbo(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """The ELBO of each image with one draw of z, (N,)."""
        mean, log_std = self.encoder((x - self.shift) / self.scale).chunk(2, 1)
        noise = torch.randn(mean.shape, generator=generator)
        maps = self.decoder(self.first(mean + log_std.exp() * noise).unflatten(1, self.coarse))
        kl = (0.5 * (mean.square() + torch.exp(2 * log_std) - 1) - log_std).sum(1)
        return self.head(maps.unflatten(1, (2, -1))).log_prob(x) - kl


def planes(x: np.ndarray) -> Tensor:
    """Images as tensors with channels first."""
    values = torch.as_tensor(x)
    return values.unsqueeze(1) if values.dim() == 3 else values.movedim(-1, 1)


def train_plain(x: np.ndarray, seconds: float, seed: int) -> tuple[Plain, int]:
    """The plain network after so many seconds of processor time, and how many steps it took."""
    images, generator = planes(x), torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    model = Plain(tuple(images.shape[1:]), float(x.mean()), float(x.std()))
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    begun, steps = time.process_time(), 0
    while True:
        for rows in torch.randperm(len(images), generator=generator).split(BATCH):
            if time.process_time() - begun > seconds:
                return model.eval(), steps
            optimiser.zero_grad()
            (-model.elbo(images[rows].float(), generator).mean()).backward()
            optimiser.step()
            steps += 1


@torch.no_grad()
def elbo_of_plain(model: Plain, x: np.ndarray, seed: int) -> float:
    generator = torch.Generator().manual_seed(seed)
    parts = planes(x).split(BATCH)
    return (
        sum(float(model.elbo(p.float(), generator).sum()) for p in parts for _ in range(DRAWS))
        / len(x)
        / DRAWS
    )


def measure(name: str, source: Path, epochs: int, seed: int, runs: Path | None) -> dict[str, Any]:
    """Both models of one set of images."""
    data = backstory.load(source)
    x = data.values[:] if data.test_rows is None else data.values[data.training_rows]
    order = np.random.default_rng(seed).permutation(len(x))
    held_out, training = x[order[:HELD_OUT]], x[order[HELD_OUT:]]
    bits = math.log(2) * math.prod(x.shape[1:])
    begun = time.process_time()
    model = backstory.fit(training, epochs=epochs, validation=0, seed=seed, progress=False)
    seconds = time.process_time() - begun
    evaluation = model.evaluate(held_out, method="is", samples=DRAWS, seed=seed)
    if runs is not None:
        model.save(runs / name)
    plain, steps = train_plain(training, seconds, seed)
    return {
        "shape": list(x.shape[1:]),
        "training_rows": len(training),
        "held_out_rows": len(held_out),
        "processor_seconds": round(seconds, 1),
        "epochs": epochs,
        "seed": seed,
        "backstory": {
            "bits_per_dim": round(-evaluation.elbo / bits, 3),
            "kl": round(evaluation.kl, 1),
            "options": model.options.flat(),
        },
        "plain": {
            "bits_per_dim": round(-elbo_of_plain(plain, held_out, seed) / bits, 3),
            "steps": steps,
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("sets", nargs="+", choices=list(SETS))
    parser.add_argument("--folder", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--epochs", type=int, help="of Backstory; by default of a few minutes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=Path, help="a folder for the trained runs")
    parser.add_argument("--output", type=Path, default=ROOT / "bench" / "results" / "images.json")
    a = parser.parse_args()
    for name in a.sets:
        path, epochs = SETS[name]
        row = measure(name, a.folder / path, a.epochs or epochs, a.seed, a.runs)
        known = json.loads(a.output.read_text()) if a.output.exists() else {}
        write(a.output, {**known, name: {**environment(), **row}})
        print(name, json.dumps(row), flush=True)
    render(a.output)


def render(results: Path) -> None:
    """The table of docs/images.md."""
    lines = [
        "",
        "| bits per dimension, ELBO | Backstory | plain network | processor time of each | length of each |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, row in json.loads(results.read_text()).items():
        own, plain = row["backstory"], row["plain"]
        bits = f"{own['bits_per_dim']:.2f} | {plain['bits_per_dim']:.2f}"
        length = f"{row['epochs']} epochs, {plain['steps']} steps"
        first = f"| {name}, {row['training_rows']:,} images"
        lines.append(f"{first} | {bits} | {row['processor_seconds']:.0f} s | {length} |")
    lines += [
        "",
        "`OMP_NUM_THREADS=1 python bench/images.py SET`, one seed, 300 images held out of both, other work",
        "on two cores ([bench/results/images.json](../bench/results/images.json)). The plain network has",
        "convolutions with stride 2, BatchNorm, Adam with a rate of 0.001 and a discretised logistic.",
        "",
    ]
    place(ROOT / "docs" / "images.md", "images", lines)


if __name__ == "__main__":
    main()
