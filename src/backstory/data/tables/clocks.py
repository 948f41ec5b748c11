"""Times of day and durations: `08:30`, `8:30 PM`, `2 days 03:00:00`, `1h 30m`, `PT90M`."""

import math
import re
from collections.abc import Iterable, Mapping
from typing import ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

MINUTE, HOUR, DAY = 60, 3600, 86400  # seconds
_CLOCK = re.compile(
    r"(?P<minus>-)?(?:(?P<days>\d+)(?P<word> days? |d |\.))?"
    r"(?P<hours>\d{1,4}):(?P<minutes>[0-5]\d)"
    r"(?::(?P<seconds>[0-5]\d)(?:\.(?P<fraction>\d{1,9}))?)?(?P<half>\s?[AaPp]\.?[Mm]\.?)?"
)


class _Time(BaseModel):
    """A way of writing measured times, which are not plain numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    is_plain: ClassVar[bool] = False
    whole: ClassVar[bool] = False
    decimal: ClassVar[str] = "."


class Clock(_Time):
    """Hours, minutes and perhaps seconds with colons between them; the number is minutes, or seconds.

    Attributes:
        seconds: whether cells have seconds, so that the number is in seconds.
        fraction: digits of parts of seconds.
        digits: fewest digits of the hours, 2 if 8 is written as 08.
        half: what stands after times in the afternoon, such as ` PM`; empty for hours from 0 to 23.
        days: what stands between the number of days and the hours, such as ` days `; empty without days.
        day: the same after one day.
        long: whether these are durations, not times of day: some last a day or longer.
    """

    way: Literal["clock"] = "clock"
    seconds: bool = False
    fraction: int = 0
    digits: int = 2
    half: str = ""
    days: str = ""
    day: str = ""
    long: bool = False

    @classmethod
    def recognised(cls, counts: Mapping[str, int], decimal: str | None = None) -> "Clock | None":
        """The way in which most of these texts are written, see `Amount.recognised`.

        >>> print(Clock.recognised({"8:30 PM": 3, "11:05 AM": 1}))
        times of day, written as 8:30 PM
        """
        matches = [match for text in counts if (match := _CLOCK.fullmatch(text))]
        if not matches:
            return None
        halves = [match["half"] for match in matches if match["half"]]
        days = [match["word"] for match in matches if match["word"]]
        hours = [match["hours"] for match in matches]
        return cls(
            seconds=any(match["seconds"] for match in matches),
            fraction=max(len(match["fraction"] or "") for match in matches),
            digits=1 if any(len(h) == 1 for h in hours) else 2,
            half=re.sub("[Aa](?=.?[Mm])", lambda a: "P" if a[0] == "A" else "p", halves[0]) if halves else "",
            days=max(days, key=len) if days else "",
            day=min(days, key=len) if days else "",
            long=bool(days) or any(int(h) >= 24 for h in hours) or any(match["minus"] for match in matches),
        )

    @property
    def seconds_of_one(self) -> float:
        """Seconds for which the number 1 stands."""
        return 1.0 if self.seconds else float(MINUTE)

    @property
    def duration(self) -> "Clock | None":
        """The same way for durations; None for hours before and after noon, which no duration has."""
        return None if self.half else self.model_copy(update={"long": True})

    def numbers(self, texts: Iterable[str]) -> np.ndarray:
        """The numbers for texts, (n,); NaN where a text is not written in this way.

        >>> Clock(half=" PM").numbers(["12:05 AM", "8:30 PM", "noon"])
        array([   5., 1230.,   nan])
        """
        return np.array([self._number(text) for text in texts], np.float64)

    def _number(self, text: str) -> float:
        match = _CLOCK.fullmatch(text)
        if match is None or bool(match["half"]) != bool(self.half):
            return math.nan
        hours = int(match["hours"])
        if self.half:
            if not 1 <= hours <= 12:
                return math.nan
            hours = hours % 12 + 12 * ("p" in match["half"].lower())
        if (hours >= 24 or match["minus"]) and not self.long:
            return math.nan
        seconds = int(match["minutes"]) * MINUTE + hours * HOUR + int(match["days"] or 0) * DAY
        seconds += int(match["seconds"] or 0)
        number = seconds / self.seconds_of_one + float(f"0.{match['fraction'] or 0}") / self.seconds_of_one
        return -number if match["minus"] else number

    def text(self, number: float) -> str:
        """A number as it would stand in a cell.

        >>> Clock(seconds=True, days=" days ", day=" day ", long=True).text(2 * 86400 + 3661)
        '2 days 01:01:01'
        """
        if not math.isfinite(number):
            return str(number)
        exact = round(abs(number) * self.seconds_of_one, self.fraction)
        exact = exact if self.seconds else MINUTE * round(exact / MINUTE)
        if not self.long:
            exact = min(exact, DAY - (10.0**-self.fraction if self.seconds else MINUTE))
        days, rest = divmod(exact, DAY) if self.days else (0, exact)
        hours, rest = divmod(rest, HOUR)
        minutes, seconds = divmod(rest, MINUTE)
        shown = hours if not self.half else hours % 12 or 12
        text = f"{int(shown):0{self.digits}d}:{int(minutes):02d}"
        if self.seconds:
            text += f":{seconds:0{3 + self.fraction if self.fraction else 2}.{self.fraction}f}"
        if self.half:
            text += self.half if hours >= 12 else self.half.replace("P", "A").replace("p", "a")
        if self.days:
            word = self.day if days == 1 else self.days
            text = f"{int(days)}{word}{text}"
        return ("-" if number < 0 and exact else "") + text

    def __str__(self) -> str:
        """What the numbers are, with an example."""
        example = DAY * bool(self.days) + 20 * HOUR + 30 * MINUTE
        shown = self.text(example / self.seconds_of_one)
        return f"{'durations' if self.long else 'times of day'}, written as {shown}"


_UNITS = {
    **dict.fromkeys(("w", "week", "weeks"), 7 * DAY),
    **dict.fromkeys(("d", "day", "days"), DAY),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), HOUR),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), MINUTE),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1),
}
_PART = re.compile(r"(?P<number>\d+(?:\.\d+)?)(?P<gap>\s?)(?P<unit>[A-Za-z]+)(?P<joint>,? ?)")
_ISO = re.compile(r"P(?:\d+W)?(?:\d+D)?(?:T(?:\d+H)?(?:\d+M)?(?:\d+(?:\.\d+)?S)?)?")


class Span(_Time):
    """Durations as numbers with units; the number is in the smallest of the units.

    Attributes:
        units: the units from the largest, each as one, as many, and its seconds.
        gap: between a number and its unit.
        joint: between the parts.
        zeros: whether parts of zero are written.
        iso: whether this is the notation of ISO 8601, such as PT1H30M.
    """

    way: Literal["span"] = "span"
    units: tuple[tuple[str, str, int], ...]
    gap: str = ""
    joint: str = " "
    zeros: bool = False
    iso: bool = False

    @classmethod
    def recognised(cls, counts: Mapping[str, int], decimal: str | None = None) -> "Span | None":
        """The way in which most of these texts are written, see `Amount.recognised`.

        >>> print(Span.recognised({"1h 30m": 1, "45m": 2}))
        durations, written as 1h 30m
        """
        parsed = {text: parts for text in counts if (parts := _parts(text))}
        if not parsed:
            return None
        parts = [part for some in parsed.values() for part in some]
        words: dict[int, list[str]] = {}
        for part in parts:
            one = float(part["number"]) == 1
            unit = words.setdefault(_UNITS[part["unit"].lower()], ["", ""])
            unit[0 if one else 1] = part["unit"]
        units = tuple(
            (one or many.removesuffix("s") or many, many or _plural(one), seconds)
            for seconds, (one, many) in sorted(words.items(), reverse=True)
        )
        joints = [part["joint"] for part in parts if part["joint"]]
        return cls(
            units=units,
            gap=parts[0]["gap"],
            joint=joints[0] if joints else "" if any(len(some) > 1 for some in parsed.values()) else " ",
            zeros=any(
                len(some) > 1 and any(float(p["number"]) == 0 for p in some) for some in parsed.values()
            ),
            iso=any(text.startswith("P") for text in parsed),
        )

    @property
    def seconds_of_one(self) -> float:
        """Seconds for which the number 1 stands."""
        return float(self.units[-1][2])

    @property
    def duration(self) -> "Span":
        """The same way, which is of durations."""
        return self

    def numbers(self, texts: Iterable[str]) -> np.ndarray:
        """The numbers for texts, (n,); NaN where a text is not written in this way.

        >>> Span(units=(("h", "h", 3600), ("m", "m", 60))).numbers(["1h 30m", "2h", "long"])
        array([ 90., 120.,  nan])
        """
        return np.array([self._number(text) for text in texts], np.float64)

    def _number(self, text: str) -> float:
        parts = _parts(text)
        if not parts:
            return math.nan
        seconds = sum(float(part["number"]) * _UNITS[part["unit"].lower()] for part in parts)
        return seconds / self.seconds_of_one

    def text(self, number: float) -> str:
        """A number as it would stand in a cell.

        >>> Span(units=(("h", "h", 3600), ("m", "m", 60))).text(90)
        '1h 30m'
        """
        if not math.isfinite(number):
            return str(number)
        parts: list[tuple[str, int]] = []
        rest, smallest = max(number, 0.0) * self.seconds_of_one, self.units[-1]
        for unit in self.units:
            count, rest = (rest / unit[2], 0.0) if unit is smallest else divmod(rest, unit[2])
            if count or (unit is smallest and not parts) or (self.zeros and parts):
                digits = np.format_float_positional(round(count, 6), trim="-")
                parts.append((f"{digits}{self.gap}{unit[0 if count == 1 else 1]}", unit[2]))
        if not self.iso:
            return self.joint.join(text for text, _ in parts)
        days = "".join(text for text, seconds in parts if seconds >= DAY)
        times = "".join(text for text, seconds in parts if seconds < DAY)
        return f"P{days}{'T' * bool(times)}{times}"

    def __str__(self) -> str:
        """What the numbers are, with an example."""
        example = sum(seconds for *_, seconds in self.units[:-1]) + 30 * self.units[-1][2]
        return f"durations, written as {self.text(example / self.seconds_of_one)}"


def _parts(text: str) -> list[re.Match[str]] | None:
    """The parts of a duration; None for another text."""
    body = text
    if text.startswith("P"):
        if not _ISO.fullmatch(text) or len(text) < 3:
            return None
        body = text[1:].replace("T", "")
    parts: list[re.Match[str]] = []
    at = 0
    while at < len(body) and (match := _PART.match(body, at)):
        parts.append(match)
        at = match.end()
    known = at == len(body) and all(part["unit"].lower() in _UNITS for part in parts)
    seconds = [_UNITS[part["unit"].lower()] for part in parts] if known else []
    return parts if seconds and seconds == sorted(set(seconds), reverse=True) else None


def _plural(word: str) -> str:
    return word + "s" if len(word) > 1 and not word.isupper() else word
