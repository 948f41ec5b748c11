"""Numbers with signs around and inside them: `$1,234.50`, `€ 1.234,50`, `45 %`, `(1 200)`, `007`."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

Negative = Literal["first", "inside", "last", "brackets"]

_CURRENCIES = (
    r"[A-Z]{0,3}[$€£¥₹₽₩₺₫₴₦₱฿₪¢]|USD|EUR|GBP|CHF|JPY|CNY|INR|BRL|CAD|AUD|SEK|NOK|DKK|PLN|CZK|HUF|ZAR|MXN"
    r"|kr\.?|zł|Kč|Ft|Fr\.|Rs\.?"
)
_SPACE = "[ \u00a0\u202f]"
_AMOUNT = re.compile(
    rf"(?P<bracket>\()?(?P<first>[-+−])?(?P<before>(?:{_CURRENCIES}){_SPACE}?)?(?P<inside>[-+−])?"
    rf"(?P<digits>[\d.,](?:[\d.,'’]|{_SPACE}(?=\d))*)"
    rf"(?P<after>{_SPACE}?(?:{_CURRENCIES}|%|‰))?(?P<last>[-−])?(?P<close>\))?"
)
_GROUPS, _POINTS = (",", ".", " ", "\u00a0", "\u202f", "'", "’"), (".", ",")
MOST_DECIMALS = 9


class Amount(BaseModel):
    """Numbers with the same signs around and inside them; without any, plain numbers.

    Attributes:
        before, after: around the digits, such as `$` or ` %`. A cell may lack them.
        thousands: between groups of three digits; empty for none. A cell may lack it.
        decimal: before the decimals.
        decimals: number of decimals of every cell; None if they differ, then as many as a number needs.
        width: number of digits of every cell, with zeros before the number; 0 if it has no such zeros.
        negative: where the minus is: before the first sign, before the digits, behind them, or brackets.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    way: Literal["amount"] = "amount"
    before: str = ""
    after: str = ""
    thousands: str = ""
    decimal: str = "."
    decimals: int | None = None
    width: int = 0
    negative: Negative = "first"

    seconds_of_one: ClassVar[None] = None  # no time: whole ones may be counts and levels
    duration: ClassVar[None] = None

    @property
    def whole(self) -> bool:
        """Whether whole numbers are written without decimals."""
        return not self.decimals

    @property
    def is_plain(self) -> bool:
        """Whether Python writes numbers in this way."""
        return self.model_copy(update={"decimals": None}) == Amount()

    @classmethod
    def recognised(cls, counts: Mapping[str, int], decimal: str | None = None) -> "Amount | None":
        """The way in which most of these texts are written; None if they are not numbers.

        Args:
            counts: number of cells by text.
            decimal: the sign before decimals, where it is known.

        >>> Amount.recognised({"$1,234.50": 1, "$9.99": 2}).thousands
        ','
        """
        matches = {text: match for text in counts if (match := _AMOUNT.fullmatch(text))}
        if not matches:
            return None
        before = _most({t: m["before"] or "" for t, m in matches.items()}, counts)
        after = _most({t: m["after"] or "" for t, m in matches.items()}, counts)
        own = {t: m for t, m in matches.items() if (m["before"] or "", m["after"] or "") == (before, after)}
        digits = {text: match["digits"] for text, match in own.items()}
        marks = _marks(digits, counts, decimal)
        if marks is None:
            return None
        thousands, point = marks
        return cls(
            before=before,
            after=after,
            thousands=thousands,
            decimal=point,
            decimals=_decimals(digits.values(), point),
            width=_width(digits.values()),
            negative=_negative(own.values()),
        )

    def numbers(self, texts: Iterable[str]) -> np.ndarray:
        """The numbers in texts, (n,); NaN where a text is not written in this way.

        >>> Amount(before="$", thousands=",").numbers(["$1,234.50", "-$2", "€3"])
        array([1234.5,   -2. ,    nan])
        """
        pattern = _pattern(self.thousands, self.decimal)
        return np.array([self._number(text, pattern) for text in texts], np.float64)

    def _number(self, text: str, pattern: re.Pattern[str]) -> float:
        match = _AMOUNT.fullmatch(text)
        if match is None or not pattern.fullmatch(match["digits"]):
            return _plain(text) if self.decimal == "." else math.nan
        if (match["before"] or self.before, match["after"] or self.after) != (self.before, self.after):
            return math.nan
        if bool(match["bracket"]) != bool(match["close"]):
            return math.nan
        digits = match["digits"]
        if self.thousands:
            digits = digits.replace(self.thousands, "")
        number = float(digits.replace(self.decimal, "."))
        minus = match["bracket"] or match["last"] or (match["first"] or match["inside"] or "+") != "+"
        return -number if minus else number

    def text(self, number: float) -> str:
        """A number as it would stand in a cell.

        >>> Amount(after=" €", thousands=".", decimal=",", decimals=2).text(-1234.5)
        '-1.234,50 €'
        """
        if not math.isfinite(number):
            return str(number)
        digits = _digits(abs(number), self.decimals)
        whole, _, rest = digits.partition(".")
        if self.width:
            whole = whole.rjust(self.width, "0")
        elif self.thousands:
            whole = f"{int(whole):,}".replace(",", self.thousands)
        body = whole + (self.decimal + rest if rest else "")
        if number >= 0 or not float(digits):
            return self.before + body + self.after
        signs = {
            "first": f"-{self.before}{body}{self.after}",
            "inside": f"{self.before}-{body}{self.after}",
            "last": f"{self.before}{body}{self.after}-",
            "brackets": f"({self.before}{body}{self.after})",
        }
        return signs[self.negative]

    def __str__(self) -> str:
        """How an example is written.

        >>> print(Amount(before="$", thousands=",", decimals=2))
        written as $1,234.50
        """
        return f"written as {self.text(7 if self.width else 45 if '%' in self.after else 1234.5)}"


def _plain(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _digits(number: float, decimals: int | None) -> str:
    if decimals is None:
        return np.format_float_positional(round(float(number), MOST_DECIMALS), trim="-")
    return f"{number:.{decimals}f}"


def _most(values: Mapping[str, str], counts: Mapping[str, int]) -> str:
    """The value of the most cells."""
    totals: dict[str, int] = {}
    for text, value in values.items():
        totals[value] = totals.get(value, 0) + counts[text]
    return max(totals, key=totals.__getitem__)


def _pattern(thousands: str, decimal: str) -> re.Pattern[str]:
    """What digits with these signs look like; digits may also have no sign between groups of three."""
    groups = rf"[1-9]\d{{0,2}}(?:{re.escape(thousands)}\d{{3}})+|" if thousands else ""
    return re.compile(rf"(?:{groups}\d+)(?:{re.escape(decimal)}\d*)?|{re.escape(decimal)}\d+")


def _marks(
    digits: Mapping[str, str], counts: Mapping[str, int], decimal: str | None
) -> tuple[str, str] | None:
    """The signs between thousands and before decimals that read the most cells; of equal ones the first."""
    used = set("".join(digits.values()))
    points = _POINTS if decimal is None else (decimal,)
    groups = ("", *(sign for sign in _GROUPS if sign in used))
    # one comma before three digits is more often that of thousands, and one point that of decimals
    pairs = [(group, point) for point in points for group in groups if group != point]
    best, most = None, 0
    for group, point in pairs:
        pattern = _pattern(group, point)
        cells = sum(counts[text] for text, body in digits.items() if pattern.fullmatch(body))
        if cells > most:
            best, most = (group, point), cells
    return best


def _decimals(digits: Iterable[str], decimal: str) -> int | None:
    """The number of decimals, if it is the same everywhere."""
    numbers = {len(body.partition(decimal)[2]) for body in digits}
    return numbers.pop() if len(numbers) == 1 else None


def _width(digits: Iterable[str]) -> int:
    """The most digits of whole numbers with zeros before them; 0 if there are none."""
    padded = [len(body) for body in digits if is_padded(body)]
    return max(padded, default=0)


def is_padded(text: str) -> bool:
    """Whether a text is a whole number with zeros before it.

    >>> [is_padded(text) for text in ("010", "10", "0", "0.5")]
    [True, False, False, False]
    """
    return len(text) > 1 and text[0] == "0" and text.isdecimal() and text.isascii()


def _negative(matches: Iterable[re.Match[str]]) -> Negative:
    """Where the first minus is."""
    places: Sequence[tuple[str, Negative]] = (
        ("bracket", "brackets"),
        ("last", "last"),
        ("inside", "inside"),
    )
    for match in matches:
        for group, place in places:
            if (match[group] or "+") != "+" and not (group == "inside" and not match["before"]):
                return place
    return "first"
