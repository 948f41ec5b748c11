"""The bare matrix products of a step, one after another, into memory that is there already."""

import torch
from torch import Tensor

from workers.serve import Segment, serve, timed
from workers.workload import Affine, Job, Workload, affine_maps

STEPS = 10  # that count as an epoch


class Products:
    """One affine map: its product forward and those backward."""

    def __init__(self, shape: Affine, generator: torch.Generator):
        def normal(rows: int, columns: int) -> Tensor:
            return torch.randn(rows, columns, generator=generator)

        self.inner = shape.inner
        self.x = normal(shape.rows, shape.inputs)
        self.gradient = normal(shape.rows, shape.outputs)
        self.weight = normal(shape.outputs, shape.inputs)
        outputs = (self.gradient, self.weight, self.x)
        self.y, self.weight_gradient, self.x_gradient = (torch.empty_like(o) for o in outputs)

    def forward(self) -> None:
        torch.mm(self.x, self.weight.T, out=self.y)

    def backward(self) -> None:
        torch.mm(self.gradient.T, self.x, out=self.weight_gradient)
        if self.inner:
            torch.mm(self.gradient, self.weight, out=self.x_gradient)


def bare_step(w: Workload, seed: int = 0) -> list[Products]:
    generator = torch.Generator().manual_seed(seed)
    return [Products(shape, generator) for shape in affine_maps(w)]


def run(maps: list[Products]) -> None:
    for products in maps:
        products.forward()
    for products in reversed(maps):
        products.backward()


def make(job: Job) -> Segment:
    torch.set_num_threads(job.threads)
    maps = bare_step(job.workload, job.seed)

    def epoch() -> None:
        for _ in range(STEPS):
            run(maps)

    return timed(epoch, STEPS * job.workload.batch)


if __name__ == "__main__":
    serve(make, {"torch": torch.__version__})
