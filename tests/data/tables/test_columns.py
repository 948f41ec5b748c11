import numpy as np
import torch

from backstory.data.schema import Schema
from backstory.data.tables.columns import Column


def test_draws_are_settled_by_the_kind_of_their_column() -> None:
    kinds = (
        Column(name="city", kind="categorical", levels=("a", "b", "c"), cells="text"),
        Column(name="visits", kind="count"),
        Column(name="price", kind="continuous", decimals=2),
        Column(name="weight", kind="continuous"),
    )
    schema = Schema(
        kind="table", shape=(4,), dtype="float64", columns=tuple(c.name for c in kinds), kinds=kinds
    )
    x = torch.tensor([[1.4, 2.6, 3.14159, 3.14159], [7.0, -3.0, -0.001, -0.001], [torch.nan] * 4])
    expected = [[1, 3, 3.14, 3.14159], [2, 0, 0, -0.001], [np.nan] * 4]
    np.testing.assert_allclose(schema.restore(x), expected, rtol=1e-6)
    assert Schema.model_validate_json(schema.model_dump_json()) == schema
