"""Rows and data sets are recognised, and the record comes back from its tensors."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import backstory
from backstory import InputError
from backstory.data.splits import row_hashes, split
from backstory.options import TrainOptions
from backstory.runs.provenance import Provenance, fingerprint, parts_from

DATA = backstory.load(np.random.default_rng(0).normal(size=(20, 3)))
SPLITS, HASHES = split(DATA, 0.25), row_hashes(DATA.values)
RECORD = Provenance("array", fingerprint(HASHES), 0.25, SPLITS, HASHES[SPLITS.train], TrainOptions())


def test_data_and_rows_are_recognised():
    assert np.array_equal(RECORD.parts(DATA).train, SPLITS.train)
    assert RECORD.count_trained_on(DATA.values) == 15
    assert RECORD.sizes() == {"train": 15, "validation": 5, "test": 0}
    assert np.array_equal(RECORD.rows(DATA, "validation"), SPLITS.validation)
    turned = backstory.load(DATA.values[::-1])
    assert RECORD.parts(turned) is None
    assert RECORD.count_trained_on(turned.values) == 15
    with pytest.raises(InputError, match="with a validation part"):
        RECORD.rows(turned, "validation")


def test_it_comes_back_from_its_tensors():
    splits, hashes, weightless = parts_from(RECORD.tensors(), RECORD.sizes())
    assert np.array_equal(splits.train, SPLITS.train)
    assert np.array_equal(hashes, RECORD.row_hashes)
    assert len(weightless) == 0
    tensors = RECORD.tensors()
    del tensors["train_row_hashes"]
    with pytest.raises(KeyError, match="train_row_hashes"):
        parts_from(tensors, RECORD.sizes())


def test_rows_of_weight_zero_stand_between_those_of_the_run():
    left = np.array([0, 7, 21])
    whole = np.insert(DATA.values, left - np.arange(3), 9.0, axis=0)
    record = replace(RECORD, weightless=left)
    assert (whole[left] == 9).all()
    parts = record.parts(backstory.load(whole))
    for name in ("train", "validation"):
        np.testing.assert_array_equal(whole[getattr(parts, name)], DATA.values[getattr(SPLITS, name)])
    assert record.parts(DATA) is None
    tensors = record.tensors()
    np.testing.assert_array_equal(parts_from(tensors, record.sizes())[2], left)
    for wrong in (left[::-1], left + 2):
        tensors["weightless"] = torch.tensor(wrong.copy())
        with pytest.raises(ValueError, match="rising row numbers"):
            parts_from(tensors, record.sizes())
