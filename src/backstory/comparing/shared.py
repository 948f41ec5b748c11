"""The columns that all tables of a comparison have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from backstory.data.checks import listed
from backstory.data.schema import Schema
from backstory.data.tables.columns import Column, LeftOut
from backstory.errors import InputError

Names = Sequence[str] | None  # of the columns of a table; None where it does not name them


@dataclass(frozen=True)
class Shared:
    """The columns that all tables have, and why the others are not compared.

    Attributes:
        schema: of these columns.
        left_out: the reasons, by the names of the other columns.
        unknown: columns of the tables that the schema did not have.
        places: of these columns among the columns that the schema had.
        are_all: whether these are all columns that the schema had.
    """

    schema: Schema
    left_out: Mapping[str, str]
    unknown: tuple[LeftOut, ...]
    places: tuple[int, ...]
    are_all: bool

    @classmethod
    def of(cls, schema: Schema, tables: Mapping[str, Names], owner: str) -> "Shared":
        """The columns of a schema that these tables have, too.

        Args:
            schema: of the table or the run that says how columns are read.
            tables: the names of the columns of each table, by what it is called.
            owner: what the owner of the schema is called.

        Raises:
            InputError: there are none.
        """
        named = {table: names for table, names in tables.items() if names is not None and schema.header}
        absent = {
            column.name: f"not in {table}"
            for table, names in named.items()
            for column in schema.kinds
            if column.name not in names
        }
        known = {c.name for c in schema.unconditioned.kinds} | {c.name for c in schema.left_out}
        unknown = {
            name: LeftOut(name=name, reason="ignored", place=place)
            for names in named.values()
            for place, name in enumerate(names)
            if name not in known
        }
        places = tuple(j for j, column in enumerate(schema.kinds) if column.name not in absent)
        if not places:
            table, names = next((t, n) for t, n in named.items() if not {*n} & {*(schema.columns or ())})
            raise InputError(
                f"expected tables that share columns, got {listed(names)} in {table}, and "
                f"{listed(schema.columns or ())} in {owner}; give the columns the same names"
            )
        reasons = {c.name: str(c.reason) for c in schema.left_out if c.reason != "condition"}
        reasons |= absent | dict.fromkeys(unknown, f"not in {owner}")
        ignored = [LeftOut(name=name, reason="ignored", place=0) for name in absent]
        left_out = (*schema.left_out, *ignored, *unknown.values())
        kinds = [schema.kinds[j] for j in places]
        return cls(_of_columns(schema, kinds, left_out), reasons, (*unknown.values(),), places, not absent)

    def among(self, rows: np.ndarray) -> np.ndarray:
        """The values of the shared columns in rows of all columns that the schema had, (N, C)."""
        return rows[:, list(self.places)]


def _of_columns(schema: Schema, kinds: Sequence[Column], left_out: Sequence[LeftOut]) -> Schema:
    """The schema with some of its columns, and with its conditions at their places among these."""
    stay = {column.name for column in kinds} | {condition.name for condition in schema.conditions}
    order = [column.name for column in schema.unconditioned.kinds if column.name in stay]
    conditions = [
        condition
        if condition.place is None
        else condition.model_copy(update={"place": order.index(condition.name)})
        for condition in schema.conditions
    ]
    return schema.model_copy(
        update={
            "kinds": tuple(kinds),
            "columns": tuple(column.name for column in kinds),
            "shape": (len(kinds),),
            "left_out": tuple(left_out),
            "conditions": tuple(conditions),
        }
    )
