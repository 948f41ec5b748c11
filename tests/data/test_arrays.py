import time
import tracemalloc

import numpy as np
import pytest
import torch

from backstory.data.arrays import from_array
from backstory.data.load import load

RNG = np.random.default_rng(0)


def integers(top: int, shape: tuple[int, ...] = (50, 6, 5), dtype: type = np.uint8) -> np.ndarray:
    values = RNG.integers(0, top + 1, shape).astype(dtype)
    values.flat[:2] = 0, top
    values.flat[2] = min(1, top)
    return values


# values, kind, levels, maximum
CASES = {
    "bytes": (integers(250), "images", 256, 255),
    "few grey levels": (integers(16), "images", 17, 16),
    "colour": (integers(255, (4, 5, 6, 3)), "images", 256, 255),
    "one channel": (integers(255, (4, 5, 6, 1)), "images", 256, 255),
    "transparency": (integers(255, (4, 5, 6, 4)), "images", 256, 255),
    "two channels": (integers(255, (4, 5, 6, 2)), "array", 256, 255),
    "channels first": (integers(255, (4, 3, 5, 6)), "array", 256, 255),
    "1 x 1": (integers(255, (9, 1, 1)), "images", 256, 255),
    "16 bits": (integers(60000, dtype=np.uint16), "images", 65536, 65535),
    "12 bits": (integers(4095, dtype=np.uint16), "images", 4096, 4095),
    "long integers": (integers(238, dtype=np.int64), "images", 239, 238),
    "booleans": (RNG.random((5, 3, 3)) > 0.5, "images", 2, 1),
    "black and white": (np.where(RNG.random((9, 4, 4)) > 0.5, 255, 0).astype(np.uint8), "images", 2, 255),
    "all black": (np.zeros((3, 2, 2), np.uint8), "images", 2, 1),
    "all white": (np.full((3, 2, 2), 255, np.uint8), "images", 256, 255),
    "negative": (integers(9, dtype=np.int32) - 3, "array", None, None),
    "beyond 16 bits": (integers(70000, dtype=np.int64), "array", None, None),
    "counts": (integers(10, (20, 9)), "array", 11, 10),
    "fractions": (RNG.random((5, 4, 3)).astype(np.float32), "images", None, 1.0),
    "real numbers": (RNG.normal(size=(5, 4, 3)), "array", None, None),
    "whole floats": (integers(16).astype(np.float64), "images", 17, 16),
    "whole negative floats": (integers(16).astype(np.float64) - 1, "array", None, None),
    "binary floats": ((RNG.random((5, 4, 3)) > 0.5).astype(np.float32), "images", 2, 1),
    "binary columns": ((RNG.random((5, 4)) > 0.5).astype(np.float64), "array", 2, 1),
    "whole columns": (integers(7, (20, 3)).astype(np.float64), "array", None, None),
    "columns of fractions": (RNG.random((5, 4)), "array", None, None),
    "half precision": (RNG.random((5, 4, 3)).astype(np.float16), "images", None, 1.0),
}


@pytest.mark.parametrize("case", CASES)
def test_meaning_of_an_array(case: str) -> None:
    values, kind, levels, maximum = CASES[case]
    dataset = load(values)
    schema = dataset.schema
    assert (schema.kind, schema.levels, schema.maximum) == (kind, levels, maximum)
    assert schema.shape == values.shape[1:]
    assert np.dtype(schema.dtype) == values.dtype == dataset.values.dtype
    np.testing.assert_array_equal(dataset.values, values)
    assert not dataset.incomplete
    schema.check(dataset.values)


@pytest.mark.parametrize("case", CASES)
def test_model_values_restore_to_the_stored_ones(case: str) -> None:
    values = CASES[case][0]
    dataset = load(values)
    x = dataset.schema.prepare(dataset.values)
    assert x.dtype == torch.float32
    restored = dataset.schema.restore(x)
    assert restored.dtype == values.dtype
    np.testing.assert_allclose(restored.astype(float), values.astype(float), rtol=1e-6)
    if values.dtype.kind != "f":
        np.testing.assert_array_equal(restored, values)


def test_known_maximum_is_not_guessed() -> None:
    assert from_array(integers(9), maximum=255).schema.levels == 256
    assert from_array(np.array([[[0, 255]]], np.uint8), maximum=255).schema.levels == 2
    assert from_array(np.array([[[0, 1]]], np.uint8), maximum=255).schema.levels == 256


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.uint8, torch.bool])
def test_tensors(dtype: torch.dtype) -> None:
    tensor = torch.tensor([[0, 1], [1, 1]]).to(dtype)
    np.testing.assert_array_equal(load(tensor).values, [[0, 1], [1, 1]])


def test_tensor_with_gradient() -> None:
    tensor = torch.tensor([[0.5, 2.0]], requires_grad=True)
    np.testing.assert_array_equal(load(tensor).values, [[0.5, 2.0]])


@pytest.mark.parametrize("change", [lambda a: a.astype(">i4"), lambda a: a.T, lambda a: a[::2]])
def test_foreign_memory_becomes_plain(change) -> None:
    values = change(np.arange(24, dtype=np.int32).reshape(6, 4))
    values.flags.writeable = False
    stored = load(values).values
    np.testing.assert_array_equal(stored, values)
    assert stored.dtype.isnative
    torch.as_tensor(stored)  # warns, and so fails, where the memory is not writable


def test_nan_is_missing() -> None:
    values = RNG.random((4, 3, 2))
    values[1, 2, 0] = np.nan
    dataset = load(values)
    assert dataset.schema.maximum == 1.0
    assert dataset.incomplete
    assert np.argwhere(np.isnan(dataset.values)).tolist() == [[1, 2, 0]]
    whole = np.array([[[0.0, 5.0], [np.nan, 3.0]]])
    assert load(whole).schema.levels == 6


def test_all_missing_is_still_described() -> None:
    dataset = load(np.full((2, 3), np.nan))
    assert dataset.schema.levels is None
    assert dataset.incomplete
    assert np.isnan(dataset.values).all()


@pytest.mark.parametrize("sign", [1, -1])
def test_infinity(refusal, sign: int) -> None:
    values = np.zeros((5, 4))
    values[3, 1] = sign * np.inf
    values[0, 0] = np.nan
    sentence = refusal(load, values)
    assert "row 4, column 2" in sentence
    assert "inf" in sentence
    assert "replace" in sentence
    assert "observation 2, entry (1, 3)" in refusal(load, np.array([[[0, 0, 0]], [[0, 0, sign * np.inf]]]))


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        (np.zeros(5), ["(5,)", "reshape(-1, 1)", "reshape(1, -1)"]),
        (np.array(3.0), ["()", "reshape"]),
        (np.zeros((0, 3)), ["at least one observation", "(0, 3)"]),
        (np.zeros((3, 0)), ["empty array", "(3, 0)"]),
        (np.array([["a", "b"]]), ["expected numbers", "<U1", "convert"]),
        (np.array([[None, 1]]), ["expected numbers", "object"]),
        (np.ones((2, 2), complex), ["expected numbers", "complex128"]),
        (np.array([["2020-01-01"]], "datetime64[D]"), ["expected numbers", "datetime64"]),
    ],
)
def test_refused_arrays(refusal, values: np.ndarray, parts: list[str]) -> None:
    sentence = refusal(load, values)
    assert all(part in sentence for part in parts)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_large_arrays_are_quick_and_small(dtype: type) -> None:
    values = np.zeros(
        (60000, 784), dtype
    )  # all of them are looked at before it is known that they are binary
    tracemalloc.start()
    began = time.process_time()
    assert load(values).schema.levels == 2
    took = time.process_time() - began
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert took < 3
    assert peak < 32e6
