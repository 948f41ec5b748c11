"""A context that meets every operation on tensors, without PyTorch's compiler."""

from torch.utils._python_dispatch import TorchDispatchMode


class DispatchMode(TorchDispatchMode):
    """A context in which `__torch_dispatch__` is called in place of each operation on tensors.

    PyTorch keeps its compiler away from the method `__torch_dispatch__` of other modes. For that it loads
    the compiler, which takes longer than all else that a short command does. Nothing is compiled inside here.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False
