"""How unusual observations are, compared with rows that were held out of training."""

from backstory.data.write import write_table
from backstory.jobs.identifiers import identified
from backstory.jobs.output import Outcome, Output
from backstory.jobs.source import Source, read_rows
from backstory.trained import Trained


def score(
    model: Trained, source: Source, output: Output, reference: Source | None = None, seed: int = 0
) -> Outcome:
    """Write the identifiers of each row, its log p(x) in nats, score, p-value and most surprising columns.

    Args:
        model: the model.
        source: the rows.
        output: a `.csv`, `.parquet`, `.npy` or `.npz` file.
        reference: rows held out of training, to compare with; by default those that the run kept.
        seed: of data that is presented at random.

    Raises:
        InputError: there is nothing to compare with; see also `read_rows`.
    """
    output.check()
    read = read_rows(model, source)
    rows = read.data
    held_out = None if reference is None else read_rows(model, reference).data
    scores = model.score(rows, held_out, seed)
    columns = identified(scores.columns(model.schema), output, source, read.chosen)
    write_table(output.path, columns, output.force)
    return Outcome((output.path,), len(scores.p_value), model.count_trained_on(rows.values))
