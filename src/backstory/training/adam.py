"""Adam (Kingma & Ba 2015, "Adam: a method for stochastic optimization") by PyTorch's function for it.

`torch.optim.Adam` has the same results. It is not used because it loads PyTorch's compiler, which takes
longer than a fit of few rows, and because the way to its kernel costs small networks a tenth of an update.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam

BETAS, EPS = (0.9, 0.999), 1e-8
STEP, MEAN, SQUARE = "step", "exp_avg", "exp_avg_sq"  # the names that `torch.optim.Adam` has for its state


class Adam:
    """Adam on some parameters; a parameter without a gradient stays as it is.

    Args:
        parameters: changed in place.
        lr: the learning rate; it may be changed from one update to the next.
        fused: whether one kernel updates all parameters; None for PyTorch's choice.

    Attributes:
        state: number of updates, mean gradient and mean square of it, by the number of the parameter.
    """

    def __init__(self, parameters: Iterable[Tensor], lr: float = 1e-3, fused: bool | None = None):
        self.parameters, self.lr, self.fused = list(parameters), lr, fused
        self.state: dict[int, dict[str, Tensor]] = {}

    @torch.no_grad()
    def update(self, skipped: Tensor | None = None) -> None:
        """Change the parameters that have a gradient.

        Args:
            skipped: 1.0 on the device to change nothing; only if `fused`.
        """
        moved = [(i, p, p.grad) for i, p in enumerate(self.parameters) if p.grad is not None]
        state = [self.state.get(i) or self._begun(i) for i, *_ in moved]
        adam(
            [p for _, p, _ in moved],
            [gradient for *_, gradient in moved],
            [of_one[MEAN] for of_one in state],
            [of_one[SQUARE] for of_one in state],
            max_exp_avg_sqs=[],
            state_steps=[of_one[STEP] for of_one in state],
            fused=self.fused,
            found_inf=skipped,
            lr=self.lr,
            beta1=BETAS[0],
            beta2=BETAS[1],
            eps=EPS,
            weight_decay=0.0,
            amsgrad=False,
            maximize=False,
        )

    def tensors(self) -> dict[str, Tensor]:
        """The state, named `number.name`; the tensors are the live ones."""
        return {f"{i}.{name}": value for i, values in self.state.items() for name, value in values.items()}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Take up what `tensors` gave for the same parameters.

        Moments get the order in memory of their parameter, which a fused kernel takes to be the same.
        """
        for name, value in tensors.items():
            number, _, key = name.partition(".")
            begun = self.state.get(int(number)) or self._begun(int(number))
            begun[key].copy_(value)

    def _begun(self, number: int) -> dict[str, Tensor]:
        """The state of a parameter before its first update."""
        p = self.parameters[number]
        where: Any = p.device if self.fused else "cpu"
        self.state[number] = {
            STEP: torch.zeros((), dtype=torch.float32, device=where),
            MEAN: torch.zeros_like(p, memory_format=torch.preserve_format),
            SQUARE: torch.zeros_like(p, memory_format=torch.preserve_format),
        }
        return self.state[number]
