"""Dates as numbers of days since 1970-01-01 (UTC), and back, from the year 1 to the year 9999."""

import os
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import numpy as np
import pandas as pd

from backstory.errors import InputError

MICROSECONDS = 86_400_000_000  # of a day
_UNPADDED = "#" if os.name == "nt" else "-"
FIRST_DAY, LAST_DAY = -719_162, 2_932_896  # 0001-01-01 and 9999-12-31


def days(dates: pd.Series, form: str | None = None) -> np.ndarray:
    """Days since 1970-01-01 (UTC), (n,), NaN where a cell is empty or no date.

    Args:
        dates: of a type of dates, or objects, or texts in a format.
        form: strftime format of texts.
    """
    parsed = dates
    if not pd.api.types.is_datetime64_any_dtype(dates):
        parsed = pd.to_datetime(dates, format=form, errors="coerce", utc=True)
    if getattr(parsed.dt, "tz", None) is not None:
        parsed = parsed.dt.tz_convert(None)
    stored = parsed.to_numpy(dtype="datetime64[us]").astype(np.int64) / MICROSECONDS
    stored[parsed.isna().to_numpy()] = np.nan
    # types of nanoseconds end in 1677 and in 2262
    late = np.flatnonzero(np.isnan(stored) & dates.notna().to_numpy())
    if len(late):
        stored[late] = _one_by_one(dates.iloc[late], form)
    stored[(stored < FIRST_DAY) | (stored >= LAST_DAY + 1)] = np.nan
    return stored


def _zone(offset: str | None, dtype: str | None) -> Any:
    """The time zone of an offset such as +02:00, or of a pandas type; UTC without."""
    if dtype is not None and "," in dtype:
        zoned: Any = pd.DatetimeTZDtype.construct_from_string(dtype)
        return zoned.tz
    return datetime.strptime(offset, "%z").tzinfo if offset else UTC


def midnight(day: str, offset: str | None = None, dtype: str | None = None) -> float:
    """Days since 1970-01-01 (UTC) of the beginning of a day such as 2024-01-05, see `local_day`.

    InputError for a day that does not exist.
    """
    try:
        moment = datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=_zone(offset, dtype))
    except ValueError:
        raise InputError(f"expected a day such as 2024-01-31, got {day!r}; correct it") from None
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() / 86400


def local_day(value: float, offset: str | None = None, dtype: str | None = None) -> str:
    """The day of a number of days since 1970-01-01 (UTC), in an offset or in the zone of a pandas type.

    >>> local_day(0.99, "+02:00"), local_day(0.99), local_day(0.99, dtype="datetime64[ns, Asia/Tokyo]")
    ('1970-01-02', '1970-01-01', '1970-01-02')
    """
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=round(value * MICROSECONDS))
    with suppress(OverflowError):  # at the ends of the calendar
        moment = moment.astimezone(_zone(offset, dtype))
    return moment.date().isoformat()


def reads(words: pd.Series, form: str) -> np.ndarray:
    """Whether each text is a date in a format, (n,) of bool."""
    return ~np.isnan(days(words, form))


def any_reads(words: Iterable[str], form: str) -> bool:
    """Whether one of a few texts is a date in a format."""
    return any(_parsed(word, form) is not None for word in words)


def _one_by_one(cells: Iterable[Any], form: str | None) -> np.ndarray:
    different = {cell: _day(cell, form) for cell in set(cells)}
    return np.array([different[cell] for cell in cells])


def _day(cell: Any, form: str | None) -> float:
    try:
        moment = datetime.strptime(cell, form) if form is not None else cell
        if isinstance(moment, date) and not isinstance(moment, datetime):
            moment = datetime.combine(moment, time())
        offset = moment.utcoffset()
        moment = moment.replace(tzinfo=UTC)
        seconds = (moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()
        return (seconds - (offset.total_seconds() if offset is not None else 0)) / 86400
    except (ValueError, TypeError, AttributeError, OverflowError):
        return np.nan


def unpadded(form: str, texts: Iterable[str]) -> str:
    """The letters of directives in a format whose numbers have no zeros before them in these texts.

    >>> unpadded("%d.%m.%Y", ["1.12.2024", "31.1.2024"])
    'dm'
    """
    dates = {text: date for text in texts if (date := _parsed(text, form)) is not None}

    def alike(letters: str) -> int:
        own = shaped(form, letters)
        return sum(date.strftime(own) == text for text, date in dates.items())

    return max(("", "dm", "IH", "dmIH"), key=alike)


def _parsed(text: str, form: str) -> datetime | None:
    try:
        return datetime.strptime(text, form)
    except ValueError:
        return None


def shaped(form: str, letters: str) -> str:
    """A format in which these directives write no zeros before numbers."""
    for letter in letters:
        form = form.replace(f"%{letter}", f"%{_UNPADDED}{letter}")
    return form


def example(form: str) -> str:
    """A date in a format.

    >>> example("%d.%m.%Y")
    '31.12.2024'
    """
    return pd.Timestamp("2024-12-31 15:30:00", tz="UTC" if "%z" in form else None).strftime(form)
