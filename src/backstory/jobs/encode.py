"""Codes of observations: the mean of q(z|x), and its standard deviation and draws."""

from functools import partial

from backstory.errors import InputError
from backstory.inference.moments import posterior_moments
from backstory.jobs.checks import at_least_one
from backstory.jobs.code_files import write_code_draws, write_codes
from backstory.jobs.identifiers import identified
from backstory.jobs.output import Outcome, Output, together
from backstory.jobs.source import Source, read_rows
from backstory.trained import Trained


def encode(
    model: Trained,
    source: Source,
    output: Output,
    std: bool = False,
    draws: int | None = None,
    seed: int = 0,
) -> Outcome:
    """Write the posterior means of the rows, (N, D), as `.csv`, `.parquet`, `.npy` or `.npz`.

    Args:
        model: the model.
        source: the rows.
        output: where to write.
        std: also write the standard deviations, to the file with `.std` before the ending.
        draws: also write so many draws of z for each row, to the file with `.draws` before the ending.
        seed: of the draws, and of data that is presented at random.

    Raises:
        InputError: a plain autoencoder is asked for deviations or draws; see also `read_rows`.
    """
    at_least_one("draws", draws)
    files = {"mean": output}
    files |= {"std": output.beside("std")} if std else {}
    files |= {"draws": output.beside("draws")} if draws is not None else {}
    for file in files.values():
        file.check()
    if len(files) > 1 and model.is_autoencoder:
        raise InputError("a plain autoencoder has codes without a spread; leave `std` and `draws` out")
    read = read_rows(model, source)
    rows = read.data
    q = model.encode(rows, seed)
    named = partial(identified, output=output, source=source, chosen=read.chosen)
    with together(files) as own:
        write_codes(own["mean"], posterior_moments(q).mean, named)
        if std:
            write_codes(own["std"], posterior_moments(q).std, named)
        if draws is not None:
            write_code_draws(own["draws"], q, draws, seed)
    return Outcome(
        tuple(file.path for file in files.values()), len(q.centre), model.count_trained_on(rows.values)
    )
