"""Rows and data sets are recognised, and the record comes back from its tensors."""

import numpy as np
import pytest

import backstory
from backstory import InputError
from backstory.data.splits import row_hashes, split
from backstory.options import TrainOptions
from backstory.runs.provenance import Provenance, fingerprint, parts_from

DATA = backstory.load(np.random.default_rng(0).normal(size=(20, 3)))
SPLITS, HASHES = split(DATA, 0.25), row_hashes(DATA.values)
RECORD = Provenance("array", fingerprint(HASHES), 0.25, SPLITS, HASHES[SPLITS.train], TrainOptions())


def test_data_and_rows_are_recognised():
    assert RECORD.is_of(DATA)
    assert RECORD.count_trained_on(DATA.values) == 15
    assert RECORD.sizes() == {"train": 15, "validation": 5, "test": 0}
    assert np.array_equal(RECORD.rows(DATA, "validation"), SPLITS.validation)
    turned = backstory.load(DATA.values[::-1])
    assert not RECORD.is_of(turned)
    assert RECORD.count_trained_on(turned.values) == 15
    with pytest.raises(InputError, match="with a validation part"):
        RECORD.rows(turned, "validation")


def test_it_comes_back_from_its_tensors():
    splits, hashes = parts_from(RECORD.tensors(), RECORD.sizes())
    assert np.array_equal(splits.train, SPLITS.train)
    assert np.array_equal(hashes, RECORD.row_hashes)
    tensors = RECORD.tensors()
    del tensors["train_row_hashes"]
    with pytest.raises(KeyError, match="train_row_hashes"):
        parts_from(tensors, RECORD.sizes())
