"""Rows of a table together with the columns of their conditions."""

import numpy as np

from backstory.data.rows import Rows
from backstory.data.schema import Schema


def beside_conditions(x: Rows, schema: Schema, stated: np.ndarray | None) -> tuple[Rows, Schema]:
    """Rows of a table, (…, N, C), with the columns of their conditions in their places, and their schema.

    Other data, and rows without stored numbers of conditions, (N, K), stay as they are.
    """
    if stated is None or all(condition.place is None for condition in schema.conditions):
        return x, schema
    columns = {condition.name: stated[:, j] for j, condition in enumerate(schema.conditions)}
    whole, own = schema.unconditioned, np.asarray(x, np.float64)
    names = list(schema.columns or ())
    parts = [
        np.broadcast_to(columns[name], own.shape[:-1]) if name in columns else own[..., names.index(name)]
        for name in whole.columns or ()
    ]
    return np.stack(parts, axis=-1), whole
