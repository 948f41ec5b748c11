"""The columns of a file matched with those of a schema, and checks of their names."""

from collections import Counter
from collections.abc import Collection, Sequence

from backstory import console
from backstory.data.checks import listed
from backstory.data.schema import Schema
from backstory.data.tables.columns import LeftOut
from backstory.errors import InputError, counted

MOST_COLUMNS = 20_000  # each is judged by itself, which takes about half a millisecond


def matched(schema: Schema, names: Sequence[str], header: bool, source: str) -> list[int]:
    """For each column of a schema, its number among the columns of a file.

    Columns without names are matched by their order; the columns that the model leaves out may be there or
    not. Warns of other columns.

    Args:
        schema: of the table that a model was trained on.
        names: of the file's columns.
        header: whether the file names them.
        source: where they came from, for messages.

    Raises:
        InputError: a column is missing.
    """
    mine = list(schema.columns or ())
    left_out = {column.name: column.place for column in schema.left_out}
    if not (header and schema.header):
        return _matched_by_order(len(mine), list(left_out.values()), len(names), source)
    place = {name: j for j, name in enumerate(names)}
    absent = [name for name in mine if name not in place]
    if absent:
        raise InputError(
            f"expected the columns that the model was trained on in {source}, got none called "
            f"{listed(absent)}; add the missing columns, and leave cells empty if their values are not known"
        )
    known = set(mine) | set(left_out)
    unknown = [name for name in names if name not in known]
    if unknown:
        several = len(unknown) > 1
        console.warn(
            f"the column{'s' * several} {listed(unknown)} of {source} {'were' if several else 'was'} not in "
            "the training table; the model leaves such columns out"
        )
    return [place[name] for name in mine]


def constants(schema: Schema, names: Sequence[str], header: bool) -> list[tuple[LeftOut, int]]:
    """The constant and the empty columns of a schema that a file has, each with its number in the file.

    Arguments are those of `matched`.
    """
    return _left_out(("constant", "empty"), schema, names, header)


def determined(schema: Schema, names: Sequence[str], header: bool) -> list[tuple[LeftOut, int]]:
    """The columns whose cells others give, likewise, in the order of `Schema.cell_kinds`."""
    own = {
        column.name: (column, place) for column, place in _left_out(("determined",), schema, names, header)
    }
    return [own[name] for name in schema.related.without_density if name in own]


def _left_out(
    reasons: Collection[str], schema: Schema, names: Sequence[str], header: bool
) -> list[tuple[LeftOut, int]]:
    known = [column for column in schema.left_out if column.reason in reasons]
    if header and schema.header:
        place = {name: j for j, name in enumerate(names)}
        return [(column, place[column.name]) for column in known if column.name in place]
    whole = len(names) == len(schema.columns or ()) + len(schema.left_out)
    return [(column, column.place) for column in known if whole]


def _matched_by_order(mine: int, left_out: Sequence[int], theirs: int, source: str) -> list[int]:
    if theirs == mine:
        return list(range(mine))
    if theirs == mine + len(left_out):
        places = set(left_out)
        return [j for j in range(theirs) if j not in places]
    raise InputError(
        f"expected {counted(mine, 'column')} in {source}, as the model was trained on, got {theirs}; "
        "give the same columns"
    )


def check_names(names: Sequence[str], source: str) -> None:
    """Raise InputError for columns that share a name or have none, and for very many."""
    if len(names) > MOST_COLUMNS:
        raise InputError(
            f"expected at most {MOST_COLUMNS:,} columns in {source}, got {len(names):,}; save their numbers "
            "as .npy, which needs no description of each column"
        )
    empty = [j for j, name in enumerate(names) if not name]
    if empty:
        raise InputError(
            f"expected a name for every column of {source}, got none for column {empty[0] + 1}; "
            "name it, or leave it out if it only numbers the rows (pandas: to_csv(index=False))"
        )
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise InputError(
            f"expected column names that differ in {source}, got {listed(twice)} more than once; "
            "rename the columns"
        )
