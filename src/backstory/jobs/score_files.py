"""Scores as tables: log p(x), the p-value, and the columns that make a row unusual."""

from backstory.data.schema import Schema
from backstory.data.write import write_table
from backstory.inference.scoring import Scores
from backstory.jobs.output import Output


def write_scores(output: Output, scores: Scores, schema: Schema) -> None:
    """Write a row for each observation, see `Scores.columns`."""
    write_table(output.path, scores.columns(schema), output.force)
