"""Scores as tables: log p(x), the p-value, and the columns that make a row unusual."""

from typing import Any

import numpy as np

from backstory.data.schema import Schema
from backstory.data.write import write_table
from backstory.inference.scoring import Scores
from backstory.jobs.output import Output


def write_scores(output: Output, scores: Scores, schema: Schema) -> None:
    """Write a row for each observation: `log_evidence`, `p_value` and, for rows of columns, `strange`.

    `strange` has the values that training did not have, as `column=value`, before the names of other columns.
    """
    columns: dict[str, Any] = {"log_evidence": scores.log_evidence, "p_value": scores.p_value}
    if scores.surprise.size or schema.left_out:
        names = schema.columns or [f"column {j + 1}" for j in range(schema.numel)]
        strange = [
            [f"{name}={value}" for name, value in scores.new_values.get(n, {}).items()]
            + [names[j] for j in row]
            for n, row in enumerate(scores.strange())
        ]
        columns["strange"] = np.array(list(map("; ".join, strange)), dtype=object)
    write_table(output.path, columns, output.force)
