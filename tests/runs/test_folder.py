"""Headers of tensors, read as the library reads them."""

import json

import pytest
import torch
from safetensors.torch import save_file

from backstory.errors import InputError
from backstory.runs.folder import tensor_entries


def file(path, header: bytes, data: bytes = b""):
    path.write_bytes(len(header).to_bytes(8, "little") + header + data)
    return path


def shapes(path):
    return {name: entry.shape for name, entry in tensor_entries(path).items()}


def test_shapes(tmp_path):
    tensors = {"a": torch.zeros(2, 3), "scalar": torch.tensor(1.0), "empty": torch.zeros(0, 4)}
    save_file(tensors, tmp_path / "t", {"config": "{}"})
    assert shapes(tmp_path / "t") == {name: tuple(value.shape) for name, value in tensors.items()}
    save_file({}, tmp_path / "none")
    assert shapes(tmp_path / "none") == {}


def entry(**changes) -> bytes:
    whole = {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]}
    return json.dumps({"a": {key: v for key, v in {**whole, **changes}.items() if v is not None}}).encode()


@pytest.mark.parametrize(
    "header",
    [b"", b"[]", b"null", b"\xff", b"{", b'{"a": 3}', entry(shape=None), entry(shape="two")],
)
def test_damaged_headers(tmp_path, header):
    with pytest.raises(InputError, match=r"t is damaged or truncated; train the model again"):
        tensor_entries(file(tmp_path / "t", header, b"xy"))


@pytest.mark.parametrize("offsets", [None, [0], [0, 1], [0, 3], ["a", "b"]])
def test_offsets_that_do_not_fit_the_file(tmp_path, offsets):
    with pytest.raises(InputError, match=r"t is damaged or truncated"):
        tensor_entries(file(tmp_path / "t", entry(data_offsets=offsets), b"xy"))


def test_a_length_beyond_the_file_is_not_read(tmp_path):
    (tmp_path / "t").write_bytes(b"\xff" * 8 + entry())
    with pytest.raises(InputError, match=r"t is damaged or truncated"):
        tensor_entries(tmp_path / "t")
    with pytest.raises(InputError, match=r"is not a run: nothing is missing"):
        tensor_entries(tmp_path / "nothing")
