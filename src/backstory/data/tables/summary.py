"""The columns of a table, as a printed table and as the records of a schema file."""

from typing import Any

from backstory import console
from backstory.data.schema import Schema
from backstory.data.tables.clocks import DAY, Clock
from backstory.data.tables.columns import DURATION, Column
from backstory.errors import counted, printable

SHOWN, LEFT_OUT_SHOWN, RELATIONS_SHOWN = 40, 20, 30
MOST_ATOMS = 3  # that are shown of a column
MOST_SIGNS = 60  # of a name or a level


def show(schema: Schema, stderr: bool = True) -> None:
    """Prints the columns of a table in the order of the schema, then those that are left out."""
    if not schema.kinds or console.hushed():
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for title in ("column", "kind", "values", "empty", "note"):
        table.add_column(title, justify="right" if title == "empty" else "left", overflow="fold")
    for column, stored in list(zip(schema.cell_kinds, schema.kinds, strict=False))[:SHOWN]:
        empty = f"{100 * column.missing:.1f} %" if column.missing else ""
        notes = (column.note, stored.note, _lattice_of(column), _close_to(stored))
        note = "; ".join(map(_shown, dict.fromkeys(filter(None, notes))))
        table.add_row(_shown(column.name), column.kind, _values_of(column), empty, note)
    for left in schema.left_out[:LEFT_OUT_SHOWN]:
        table.add_row(_shown(left.name), "left out", _shown(left.text or ""), "", left.reason)
    printer = Console(stderr=stderr, highlight=False, markup=False)
    printer.print(table)
    close = next((column for column in schema.kinds if column.close), None)
    if close is not None:
        printer.print(
            "close to: another kind fits about as well; to overrule the choice, give the option column, "
            f"such as {_shown(close.name)}={close.close[0]}",
            soft_wrap=True,
        )
    _print_relations(printer, schema)
    more = max(0, len(schema.kinds) - SHOWN) + max(0, len(schema.left_out) - LEFT_OUT_SHOWN)
    if more:
        printer.print(f"and {counted(more, 'more column')}")


def _print_relations(printer: Any, schema: Schema) -> None:
    """Prints the relations of columns, each with the number of rows that it holds in."""
    relations = schema.related.all
    for relation in relations[:RELATIONS_SHOWN]:
        where = "told, " if relation.told else ""
        rows = "1 row" if relation.rows == 1 else f"{relation.rows:,} rows"
        printer.print(f"kept: {printable(relation.text)} ({where}{rows})")
    if len(relations) > RELATIONS_SHOWN:
        printer.print(f"and {counted(len(relations) - RELATIONS_SHOWN, 'more relation')}")


def _shown(text: str) -> str:
    """The text of a file as a terminal may show it: short, and without control characters."""
    return printable(text if len(text) <= MOST_SIGNS else text[:MOST_SIGNS] + "…")


def _close_to(column: Column) -> str:
    return f"close to {' and '.join(column.close)}" if column.close else ""


def _lattice_of(column: Column) -> str:
    if column.lattice is None:
        return ""
    return column.lattice.text(DAY if column.kind == "date" else column.seconds)


def _values_of(column: Column) -> str:
    if column.levels is not None:
        written = column.writing is not None
        levels = [column.cell(float(level)) if written else level for level in column.levels[:4]]
        shown = ", ".join(map(_shown, levels))
        return f"{len(column.levels)}: {shown}" + (", …" if len(column.levels) > 4 else "")
    if column.low is None or column.high is None:
        return ""
    many = f"{len(column.values)} numbers from " if column.values is not None else ""
    atoms = [f"{column.shown(value)} in {100 * share:.3g} %" for value, share in column.atoms[:MOST_ATOMS]]
    more = [f"{len(column.atoms) - MOST_ATOMS} more"] if len(column.atoms) > MOST_ATOMS else []
    return f"{many}{column.shown(column.low)} to {column.shown(column.high)}" + "".join(
        f", {part}" for part in (*atoms, *more)
    )


def records(schema: Schema) -> dict[str, dict[str, Any]]:
    """The records of a schema file by column, so that a table is read in the same way again.

    Constant columns and relations are not among them; they are inferred again.
    """
    records = {column.name: _record(column) for column in schema.cell_kinds}
    inferred = ("constant", "determined")
    ignored = {c.name: {"kind": "ignore"} for c in schema.left_out if c.reason not in inferred}
    return records | ignored


def _record(column: Column) -> dict[str, Any]:
    if column.levels is not None:
        rare = {"rare": True} if column.rare else {}
        return {"kind": column.kind, "levels": list(column.levels), "cells": column.cells} | rare
    if isinstance(column.writing, Clock) and column.writing.long:
        return {"kind": DURATION}
    more = {
        "format": column.format,
        "decimals": column.decimals if column.kind in ("continuous", "grid") else None,
    }
    return {"kind": column.kind} | {name: value for name, value in more.items() if value is not None}
