"""The kind of each column of a table, inferred from its cells.

The cells are counted part by part (`survey.Survey`), then the column is judged as a whole (`judge`):

    every cell empty, one value in all cells       left out: empty, constant
    True and False, two texts, two numbers         binary
    dates, and texts of one unmistakable format    date
    other texts                                    categorical; left out if nearly all differ
    row numbers named id, index, …                 left out: identifier
    other numbers                                  the likeliest of four kinds (`kinds`):
        whole numbers, all from a to b, 3 to 10    ordinal
        whole numbers from 0 or 1 to at most 1,000 count
        any numbers                                continuous
        few numbers, each in many rows             grid

Fewer than ten rows are too few to judge: no column is left out then, and numbers stay continuous.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backstory import console
from backstory.data.tables.clocks import HOUR
from backstory.data.tables.columns import (
    DURATION,
    Asked,
    Cells,
    Column,
    Kind,
    LeftOut,
    ReadAs,
    Reason,
    is_number,
    number_text,
)
from backstory.data.tables.dates import unpadded
from backstory.data.tables.decode import decoded
from backstory.data.tables.kinds import Numbers, best_kind, is_uneven
from backstory.data.tables.misfits import FEW_ROWS, not_a_number
from backstory.data.tables.survey import MOST_TEXTS, MOST_VALUES, Survey
from backstory.data.tables.writing import Amount, Clock, Span
from backstory.errors import InputError, counted

MOST_STEPS = 10  # levels of an ordinal column of whole numbers
ROWS_OF_STEP = 10  # rows for each of them, or for each of as few numbers of a grid, on average
HIGHEST_COUNT = 1000
ROWS_OF_VALUE = 25  # rows for each number of a grid of more numbers, on average: fewer impute badly
RAREST, RARE_SHARE = 10, 500  # a level is rare below 10 rows, in smaller tables below one row of 500
MOST_LEVELS = 1000  # of a categorical column; the others are rare
MOST_RARE = 1000  # rare texts that are kept, to be drawn
EVENING = 18 * HOUR
DISTINCT = 0.9  # share of different texts above which they name the rows

OTHER = "other"
USUAL = ("int64", "float64", "bool", "str")  # types that `Column.cells` tells


def judge(survey: Survey, place_in_file: int, asked: Asked | None, text_table: bool) -> Column | LeftOut:
    """What a column holds, or why it is left out.

    Args:
        survey: of all of its cells.
        place_in_file: its number among the columns of the file, from 0.
        asked: a person's description, which is followed.
        text_table: whether the cells were read from text, and have no types of their own.

    Raises:
        InputError: numbers or dates with a few other texts among them, or cells against the description.
    """
    if asked is not None and asked.kind == "ignore":
        return LeftOut(name=survey.name, reason="ignored", place=place_in_file)
    column = Column(
        name=survey.name,
        kind="continuous",
        decimals=survey.numbers.decimals if survey.numbers.cells else None,
        cells=_cells(survey),
        dtype=None if text_table else _dtype(survey),
        writing=_writing(survey),
        kept=survey.kept,
        note="" if _writing(survey) is None else str(survey.writing),
    )
    if asked is not None:
        return _as_asked(column, survey, asked, text_table)
    _refuse_words_among_numbers(column, survey)
    if survey.rows >= FEW_ROWS and (reason := _reason_to_leave_out(survey)):
        return _left_out(column, survey, reason, place_in_file)
    if survey.dates.typed:
        return column.model_copy(update={"kind": "date", "decimals": None})
    if survey.texts.words:
        return _of_texts(column, survey)
    if survey.dtype == "category":
        return _with_levels(column, survey, "categorical" if survey.ordered is None else "ordinal")
    also: tuple[ReadAs, ...] = (DURATION,) if _may_be_durations(survey) else ()
    return _of_numbers(column.model_copy(update={"close": also}), survey)


def _writing(survey: Survey) -> Amount | Clock | Span | None:
    """How the numbers of a column are written; None for plain ones."""
    return None if survey.writing is None or survey.writing.is_plain else survey.writing


def _dtype(survey: Survey) -> str | None:
    """The type of a column of a frame, if its cells do not tell it; texts may have the type of objects."""
    are_texts = survey.texts.words > 0 or _writing(survey) is not None
    return None if survey.dtype in USUAL or (survey.dtype == "object" and not are_texts) else survey.dtype


def _may_be_durations(survey: Survey) -> bool:
    """Whether times that are taken for times of day may as well be durations.

    If the longest ones took as long as to the evening, some would be longer than a day.
    """
    way = survey.writing
    if way is None or way.seconds_of_one is None or way.duration in (None, way):
        return False
    return survey.high * way.seconds_of_one < EVENING


def _cells(survey: Survey) -> Cells:
    if survey.dates.typed:
        return "date"
    if survey.texts.words:
        return "text"
    if survey.numbers.cells and survey.numbers.boolean:
        return "bool"
    return "whole" if survey.holds_integers else "number"


def _refuse_words_among_numbers(column: Column, survey: Survey) -> None:
    words, numbers = survey.texts.words, survey.numbers.cells
    if words and numbers and survey.rows < FEW_ROWS:
        assert survey.texts.first_word is not None
        row, text = survey.texts.first_word
        raise not_a_number(text, row, column, survey.source)


def _reason_to_leave_out(survey: Survey) -> Reason | None:
    if not survey.present:
        return "empty"
    if survey.numbers_rows:
        return "identifier"
    if not survey.texts.words:
        return "constant" if survey.low == survey.high else None
    different = math.inf if survey.texts.counts is None else len(survey.texts.counts)
    if different == 1:
        return "constant"
    return "identifier" if different > DISTINCT * survey.present and not survey.date_formats() else None


def _left_out(column: Column, survey: Survey, reason: Reason, place: int) -> LeftOut:
    cells = column.cells if column.writing is None else "text"
    if reason != "constant":
        return LeftOut(name=survey.name, reason=reason, place=place, cells=cells)
    text = _constant_text(survey)
    return LeftOut(
        name=survey.name,
        reason=reason,
        place=place,
        text=text,
        cells=cells,
        dtype=column.dtype,
        **_categories(survey, cells, (text,)),
    )


def _constant_text(survey: Survey) -> str:
    """The text of the cells of a constant column."""
    if survey.writing is not None and not survey.writing.is_plain:
        return survey.writing.text(survey.low)
    if survey.texts.words:
        return next(iter(survey.texts.counts or ()))
    if survey.dates.typed:
        date = Column(name=survey.name, kind="date", cells="date")
        return str(decoded(np.array([survey.low]), date)[0])
    return str(bool(survey.low)) if survey.numbers.boolean else number_text(survey.low)


# -- numbers ----------------------------------------------------------------------------------------------


def _of_numbers(column: Column, survey: Survey) -> Column:
    numbers, enough = survey.numbers, survey.rows >= FEW_ROWS
    few = sorted(numbers.few) if numbers.few is not None else None
    measured = survey.writing is not None and survey.writing.seconds_of_one is not None
    if column.cells == "bool":
        return column.model_copy(update={"kind": "binary", "levels": ("False", "True"), "decimals": None})
    if few is not None and not measured and (few == [0, 1] or (len(few) == 2 and enough)):
        return _levelled(column, "binary", few)
    found = Numbers.of(survey.thinned.numbers, numbers.decimals)
    if not enough or len(found.values) < 2:
        return column
    verdict = best_kind(_candidates(found, survey, measured), found.counts)
    column = column.model_copy(update={"kind": verdict.kind, "close": (*verdict.close, *column.close)})
    if verdict.kind == "ordinal":
        return _levelled(column, "ordinal", few or [])
    return column.model_copy(update={"values": tuple(few or ())}) if verdict.kind == "grid" else column


def _candidates(found: Numbers, survey: Survey, measured: bool) -> dict[str, np.ndarray]:
    """log P of each different number by the kinds that are possible, in the order of preference."""
    numbers, few = survey.numbers, sorted(survey.numbers.few or ())
    steps = not measured and _are_steps(few, survey) and not is_uneven(found)
    counts = not measured and numbers.whole and numbers.low in (0, 1) and numbers.high <= HIGHEST_COUNT
    rows = ROWS_OF_STEP if len(few) <= MOST_STEPS else ROWS_OF_VALUE
    levels = len(few) > 2 and np.isfinite(few).all() and survey.present >= rows * len(few)
    if not (steps or counts or levels):  # nothing to compare: quick for very many columns
        return {"continuous": np.zeros(len(found.values))}
    candidates = {"ordinal": found.levels} if steps else {}
    candidates |= {"count": found.count} if counts else {}
    candidates |= {"continuous": found.continuous}
    return candidates | ({"grid": found.levels} if levels and not steps else {})


def _are_steps(few: list[float], survey: Survey) -> bool:
    """Whether numbers are the whole ones from a to b, each in many rows."""
    if not (survey.numbers.whole and 3 <= len(few) <= MOST_STEPS):
        return False
    enough = survey.present >= ROWS_OF_STEP * len(few)
    return enough and few == list(range(int(few[0]), int(few[0]) + len(few)))


def _levelled(column: Column, kind: Kind, levels: list[float]) -> Column:
    return column.model_copy(
        update={"kind": kind, "levels": tuple(map(number_text, levels)), "decimals": None}
    )


# -- texts ------------------------------------------------------------------------------------------------


def _of_texts(column: Column, survey: Survey) -> Column:
    formats = survey.date_formats()
    if len(formats) == 1:
        return _of_dates(column, survey, formats[0])
    notes = ["numbers and texts"] if survey.numbers.cells else []
    kept = [repr(mark) for mark in survey.kept if mark in (survey.texts.counts or ())]
    notes += [f"{' and '.join(kept)} {'is a level' if len(kept) == 1 else 'are levels'}"] if kept else []
    if formats:
        console.warn(
            f"the dates in column {survey.name!r} of {survey.source} can be read as {' or '.join(formats)}, "
            "so the column is read as texts; give it the kind date:FORMAT"
        )
        notes.append("dates that can be read in several ways")
    kind: Kind = "categorical" if survey.ordered is None else "ordinal"
    if kind == "categorical" and len(survey.texts.counts or ()) == 2:
        kind = "binary"
    column = _with_levels(column, survey, kind)
    return column.model_copy(update={"note": "; ".join(filter(None, (*notes, column.note)))})


def _of_dates(column: Column, survey: Survey, form: str) -> Column:
    """A column of texts that are dates in one format."""
    return column.model_copy(update={"kind": "date", "decimals": None} | _written_dates(survey, form))


def _written_dates(survey: Survey, form: str) -> dict[str, Any]:
    """How dates are written, and a remark on time zones."""
    zones = sorted(survey.dates.zones) if "%z" in form else []
    note = f"{len(zones)} time zones, written in UTC" if len(zones) > 1 else ""
    zone = zones[0] if len(zones) == 1 else None
    return {"format": form, "unpadded": unpadded(form, survey.texts.first), "zone": zone, "note": note}


def _with_levels(column: Column, survey: Survey, kind: Kind) -> Column:
    """A binary, categorical or ordinal column with the levels in its cells."""
    levels = _levels(survey)
    if column.cells == "bool":
        levels = _Levels(("False", "True"))
    elif survey.ordered is not None:
        levels = _Levels(survey.ordered)
    elif _have_values(survey) and (kind != "categorical" or not levels.rare):
        levels = _Levels(tuple(sorted(survey.texts.counts or (), key=float)))
    changes: dict[str, Any] = {"kind": kind, "decimals": None} | vars(levels)
    if levels.rare and not survey.texts.words:  # the level of the rare ones is no number
        changes |= {"cells": "text", "dtype": None}
    column = column.model_copy(update=changes)
    return column.model_copy(update=_categories(survey, column.cells, column.levels or ()))


def _have_values(survey: Survey) -> bool:
    """Whether all cells are numbers, or categories that are texts of numbers, so that they have an order."""
    texts_of_numbers = survey.dtype == "category" and all(map(is_number, survey.texts.counts or ()))
    return not survey.texts.words or texts_of_numbers


def _categories(survey: Survey, cells: Cells, levels: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The categories that are no levels, and the order of all; 2 and 2.0 are the same number."""
    value: Callable[[str], object] = float if cells in ("number", "whole") else str
    known, whole = set(map(value, levels)), survey.categories
    unused = tuple(text for text in whole if value(text) not in known)
    usual = [*map(value, (*levels, *unused))] == [*map(value, whole)]
    return {"unused": unused, "order": () if usual else whole}


@dataclass(frozen=True)
class _Levels:
    """Levels in order, whether the last one stands for rare ones, and a remark; fields as in `Column`."""

    levels: tuple[str, ...]
    rare: bool = False
    note: str = ""
    rare_share: float = 0.0
    rare_levels: tuple[tuple[str, int], ...] = ()


def _levels(survey: Survey) -> _Levels:
    """The levels of a column of texts."""
    counts = survey.texts.counts
    if counts is None:
        raise InputError(
            f"expected at most {MOST_TEXTS:,} different texts in column {survey.name!r} of {survey.source}, "
            "got more; leave it out"
        )
    least = max(2, min(RAREST, survey.present // RARE_SHARE))
    frequent = {text for text, count in counts.most_common(MOST_LEVELS) if count >= least}
    rare = [text for text in counts if text not in frequent]
    if len(rare) < 2 or survey.rows < FEW_ROWS:
        return _Levels(tuple(sorted(counts)))
    other = OTHER
    while other in frequent:
        other = f"({other})"
    rows = sum(counts[text] for text in rare)
    note = f"{len(rare)} rare levels, in {counted(rows, 'row')}, are {other!r}"
    return _Levels(
        (*sorted(frequent), other), True, note, rows / survey.present, _most_frequent(counts, rare)
    )


def _most_frequent(counts: Mapping[str, int], rare: Sequence[str]) -> tuple[tuple[str, int], ...]:
    """The most frequent of rare texts with their numbers of cells; equal ones in the order of letters."""
    return tuple(sorted(((text, counts[text]) for text in rare), key=lambda t: (-t[1], t[0]))[:MOST_RARE])


# -- as a person describes it -----------------------------------------------------------------------------


def _as_asked(column: Column, survey: Survey, asked: Asked, text_table: bool) -> Column:
    """A column of the kind that a person gives it."""
    if asked.kind == DURATION:
        _refuse_no_durations(column, survey)
        return _of_numbers(column, survey)
    if asked.kind in ("continuous", "grid", "count"):
        changes: dict[str, Any] = {"kind": asked.kind}
        changes["cells"] = "whole" if survey.holds_integers else "number"
        changes |= {"values": _values_of_grid(survey)} if asked.kind == "grid" else {}
        decimals = column.decimals if asked.decimals is None else asked.decimals
        return column.model_copy(update=changes | {"decimals": decimals})
    if asked.kind == "date":
        return column.model_copy(update={"kind": "date", "decimals": None} | _date_as_asked(survey, asked))
    if text_table:  # 007 and 7 are two texts
        column = column.model_copy(update={"cells": "text"})
    if asked.cells is not None:
        column = column.model_copy(update={"cells": asked.cells})
    return _levels_as_asked(column, survey, asked)


def _levels_as_asked(column: Column, survey: Survey, asked: Asked) -> Column:
    if asked.levels is not None:
        changes: dict[str, Any] = {
            "kind": asked.kind,
            "levels": asked.levels,
            "rare": asked.rare,
            "decimals": None,
        }
        if asked.rare:
            counts: Mapping[str, int] = survey.texts.counts or {}
            rare = [text for text in counts if text not in asked.levels[:-1]]
            changes["rare_share"] = sum(counts[text] for text in rare) / max(1, survey.present)
            changes["rare_levels"] = _most_frequent(counts, rare)
        return column.model_copy(update=changes)
    if not _have_values(survey) and asked.kind == "ordinal" and survey.ordered is None:
        raise InputError(
            f"expected the order of the levels of column {survey.name!r}, which holds texts, got none; "
            f"say {survey.name}=ordinal:{','.join(sorted(survey.texts.counts or ())[:3])} and so on"
        )
    column = _with_levels(column, survey, asked.kind)  # type: ignore[arg-type]
    if asked.kind == "binary" and len(column.levels or ()) != 2:
        raise InputError(
            f"expected two levels in column {survey.name!r} of {survey.source}, as it is to be binary, got "
            f"{len(column.levels or ())}; give it the kind categorical"
        )
    return column


def _refuse_no_durations(column: Column, survey: Survey) -> None:
    """Raise InputError unless the cells can be durations."""
    way = survey.writing
    if column.seconds is None or (way is not None and way.duration is None):
        got = "texts" if survey.texts.words else "numbers" if way is None or way.is_plain else str(way)
        raise InputError(
            f"expected durations such as 1:30:00, 1h 30m or PT90M in column {survey.name!r} of "
            f"{survey.source}, got {got}; give it the kind continuous, or leave its kind out"
        )


def _values_of_grid(survey: Survey) -> tuple[float, ...]:
    few, words = survey.numbers.few, survey.texts.words
    if words or few is None or len(few) < 2 or not np.isfinite(list(few)).all():
        got = f"more than {MOST_VALUES}" if few is None else "texts" if words else str(len(few))
        raise InputError(
            f"expected 2 to {MOST_VALUES} different numbers in column {survey.name!r} of {survey.source}, "
            f"as it is to be a grid, got {got}; give it the kind continuous"
        )
    return tuple(sorted(few))


def _date_as_asked(survey: Survey, asked: Asked) -> dict[str, Any]:
    if survey.dates.typed:
        return {"cells": "date"}
    formats = [asked.format] if asked.format is not None else survey.date_formats()
    if len(formats) != 1:
        raise InputError(
            f"expected dates that can be read in one way in column {survey.name!r} of {survey.source}, got "
            f"{'several: ' + ' or '.join(formats) if formats else 'no known format'}; "
            f"say {survey.name}=date:FORMAT, such as date:%d/%m/%Y"
        )
    return {"cells": "text"} | _written_dates(survey, formats[0])
