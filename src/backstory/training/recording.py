"""The operations of a function of tensors, recorded once and replayed.

Much of the time of a small step goes into modules, autograd and Python code, which call the same operations
on tensors each time. A recording calls these operations alone, one after the other, those of the backward
pass included. Its results are the same to the bit.

Tensors with the same memory, shape and strides are one value to a recording, so views that change nothing are
left out. A tensor that is neither an input nor a result, such as a parameter, is taken as it is at a replay.
"""

from collections.abc import Callable, Sequence
from operator import getitem
from types import BuiltinFunctionType, MethodDescriptorType
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor
from torch.fx import Graph, Node
from torch.utils._pytree import tree_leaves, tree_map

from backstory.dispatch import DispatchMode

T = TypeVar("T")
Recording: TypeAlias = Callable[..., Any]
Value: TypeAlias = tuple[Any, ...]

ENDS = ("placeholder", "output")
CONSTANTS = (bool, int, float, type(None), torch.dtype, torch.device, torch.layout, torch.memory_format)


class Recorded:
    """A function of tensors that is recorded by its first call, and replayed from the third on.

    The second call computes the function in both ways; the recording is kept only if they agree to the bit. A
    function is not recorded if it draws, if its operations depend on the values of tensors, or if it changes
    a tensor that is not its own.
    """

    def __init__(self) -> None:
        self.recording: Recording | None = None
        self.calls = 0

    def __call__(self, inputs: Sequence[Tensor], function: Callable[[], T]) -> T:
        """The results of the function: tensors without gradients, in tuples.

        Args:
            inputs: what differs from one call to the next; of the same shapes at each call.
            function: computes the results from the inputs.
        """
        self.calls += 1
        if self.recording is not None and self.calls > 2:
            replayed: T = self.recording(*inputs)
            return replayed
        if self.calls == 1:
            with Recorder(inputs) as recorder:
                results = function()
            self.recording = recorder.recording(results)
            return results
        results = function()
        if self.recording is not None and not _is_same(self.recording, inputs, results):
            self.recording = None
        return results


def _is_same(recording: Recording, inputs: Sequence[Tensor], results: Any) -> bool:
    try:
        return all(map(torch.equal, tree_leaves(recording(*inputs)), tree_leaves(results)))
    except (RuntimeError, TypeError):
        return False


class Recorder(DispatchMode):
    """A context that records all operations on tensors.

    Args:
        inputs: tensors that differ from one replay to the next.

    Attributes:
        nodes: the node of each value.
        fixed: tensors that are taken as they are, views of them, and other arguments.
        kept: all tensors, so that none gets the memory of an earlier one.
        changing: the nodes of operations that change a tensor.
        last: the last argument of the recording.
    """

    def __init__(self, inputs: Sequence[Tensor]):
        super().__init__()
        self.graph, self.possible = Graph(), True
        self.nodes: dict[Value, Node] = {}
        self.fixed: list[Any] = []
        self.kept: list[Tensor] = []
        self.fixed_memory: set[int] = set()
        self.changing: set[Node] = set()
        self.last: Node | None = None
        for tensor in inputs:
            self._name(tensor, self._argument())
        self.input_memory = set(map(_memory, inputs))

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        results = func(*args, **(kwargs or {}))
        try:
            self.possible = self.possible and self._records(func, args, kwargs or {}, results)
        except (RuntimeError, NotImplementedError):  # a tensor without memory of its own
            self.possible = False
        return results

    def recording(self, results: Any) -> Recording | None:
        """The function from the inputs to these results; None if its operations cannot be recorded."""
        if not self.possible:
            return None
        self.graph.output(tree_map(self._node, results))
        self.graph.eliminate_dead_code(lambda node: node.op in ENDS or node in self.changing)
        code, fixed = self.graph.python_code("self"), self.fixed
        names: dict[str, Any] = dict(code.globals)
        exec(code.src, names)  # not as a GraphModule, whose source would stay in memory for good
        forward = names["forward"]

        @torch.inference_mode()
        def recording(*inputs: Tensor) -> Any:
            return forward(None, *inputs, *fixed)

        return recording

    def _records(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], results: Any) -> bool:
        """Record one operation; returns whether that is possible."""
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if _is_undetermined(func, inputs):
            return False
        nodes, named = tree_map(self._node, (args, kwargs))
        if any(_memory(t) in self.fixed_memory | self.input_memory for t in _written(func, args, kwargs)):
            return False
        outputs = [leaf for leaf in tree_leaves(results) if isinstance(leaf, Tensor)]
        fresh = [t for t in outputs if _value(t) not in self.nodes]
        if fresh and all(_memory(t) in self.fixed_memory for t in fresh):
            for tensor in fresh:
                self._node(tensor)
        elif fresh or func._schema.is_mutable:
            node = self.graph.call_function(_binding(func), nodes, named)
            if func._schema.is_mutable:
                self.changing.add(node)
            for i, tensor in enumerate(outputs):
                if _value(tensor) not in self.nodes:
                    single = isinstance(results, Tensor)
                    self._name(tensor, node if single else self.graph.call_function(getitem, (node, i)))
        return True

    def _node(self, value: Any) -> Any:
        """The node of a value, which is a fixed one if it is new; constants as they are."""
        if isinstance(value, CONSTANTS):
            return value
        if not isinstance(value, Tensor):
            self.fixed.append(value)
            return self._argument()
        if _value(value) not in self.nodes:
            self.fixed.append(value)
            self.fixed_memory.add(_memory(value))
            self._name(value, self._argument())
        return self.nodes[_value(value)]

    def _name(self, tensor: Tensor, node: Node) -> None:
        self.kept.append(tensor)
        self.nodes[_value(tensor)] = node

    def _argument(self) -> Node:
        """One more argument of the recording, after the others."""
        with self.graph.inserting_after(self.last):
            self.last = self.graph.placeholder(f"a{len(self.graph.nodes)}")
        return self.last


def _memory(tensor: Tensor) -> int:
    address: int = tensor.untyped_storage()._cdata
    return address


def _value(tensor: Tensor) -> Value:
    """What two tensors have in common that always have the same entries."""
    shape = tuple(tensor.shape), tensor.stride(), tensor.storage_offset()
    return _memory(tensor), *shape, tensor.dtype


def _is_undetermined(func: Any, inputs: list[Tensor]) -> bool:
    """Whether the result of an operation is more than a function of its inputs with a shape that is known."""
    if torch.Tag.data_dependent_output in func.tags or torch.Tag.nondeterministic_seeded in func.tags:
        return True
    by_numbers = func is torch.ops.aten.index.Tensor and not any(t.dtype is torch.bool for t in inputs)
    return torch.Tag.dynamic_output_shape in func.tags and not by_numbers


def _written(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:
    """The tensors that an operation changes."""
    given = {**dict(zip((a.name for a in func._schema.arguments), args, strict=False)), **kwargs}
    written = [a.name for a in func._schema.arguments if a.alias_info is not None and a.alias_info.is_write]
    return [leaf for name in written for leaf in tree_leaves(given.get(name)) if isinstance(leaf, Tensor)]


def _binding(func: Any) -> Callable[..., Any]:
    """The quickest call of an operation: a method of tensors, a function, or the operation itself."""
    name, first = func._schema.name.removeprefix("aten::"), next(iter(func._schema.arguments), None)
    method, function = getattr(Tensor, name, None), getattr(torch, name, None)
    of_tensors = first is not None and first.name == "self" and str(first.type) == "Tensor"
    if of_tensors and isinstance(method, MethodDescriptorType):
        return method
    quick: Callable[..., Any] = function if isinstance(function, BuiltinFunctionType) else func
    return quick
