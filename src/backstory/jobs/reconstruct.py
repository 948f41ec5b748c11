"""Reconstructions: what remains of observations after x → z → x."""

from dataclasses import dataclass

from backstory.data.rows import mapped
from backstory.jobs.line_sheet import write_line_sheet
from backstory.jobs.output import Outcome, Output, write_observations
from backstory.jobs.source import Source, read_rows
from backstory.trained import Trained

SHEET_ROWS = 30  # of a picture, unless the source has a limit


@dataclass(frozen=True)
class Reconstructed(Outcome):
    """Reconstructions that were written; `sheet` if they are a picture with the originals above them."""

    sheet: bool = False


def reconstruct(
    model: Trained, source: Source, output: Output, mean: bool = True, seed: int = 0
) -> Reconstructed:
    """Write the reconstructions of the rows in the data's own type; a `.png` is a sheet with the originals.

    Args:
        model: the model.
        source: the rows; a sheet has the first 30 unless they are limited otherwise.
        output: where to write.
        mean: write E[x|z] at the posterior mean of z; otherwise draws of z and x.
        seed: of the draws, and of data that is presented at random.
    """
    output.check()
    sheet = output.path.suffix.lower() == ".png"
    read = read_rows(model, source.first(SHEET_ROWS) if sheet else source)
    rows, units = read.data, read.units
    x = model.reconstruct(rows, mean=mean, seed=seed)
    if sheet:
        write_line_sheet(output, {"original": rows.values, "E[x|z]" if mean else "draw": x}, model.schema)
    else:
        x = x if units.are_same else mapped(units.from_model, x)
        schema = units.schema if model.schema.kind == "images" else model.schema
        write_observations(output, x, schema, rows.names, rows.stated)
    return Reconstructed((output.path,), len(x), model.count_trained_on(rows.values), sheet)
