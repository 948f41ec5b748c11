"""Tables as people bring them: the text of each, what is told of it, and what it must be read as."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

ROWS = 24


@dataclass(frozen=True)
class Case:
    """A table and what must be read.

    Attributes:
        name: of the case.
        text: of the file, or its bytes.
        kinds: the kind of each column, or why it is left out.
        first: the stored values of the first row, by column; levels as their texts, None for an empty cell.
        said: what `info` must print.
        told: options of `load`; `info` gets them as options of the command line.
        ending: of the file's name.
    """

    name: str
    text: str | bytes
    kinds: Mapping[str, str]
    first: Mapping[str, Any] = field(default_factory=dict)
    said: tuple[str, ...] = ()
    told: Mapping[str, Any] = field(default_factory=dict)
    ending: str = "csv"


def column(cell: Callable[[int], str], name: str = "a", rows: int = ROWS) -> str:
    """A table of one column beside a column of numbers x = i + 0.25."""
    return f"{name};x\n" + "".join(f"{cell(i)};{i}.25\n" for i in range(rows))


def one(name: str, cells: Callable[[int], str], kind: str, first: Any, *said: str, **told: Any) -> Case:
    """A case of one column `a`, beside numbers."""
    return Case(name, column(cells), {"a": kind, "x": "continuous"}, {"a": first}, said, told)


def comma(head: str, row: Callable[[int], str], rows: int = ROWS) -> str:
    return head + "\n" + "".join(row(i) + "\n" for i in range(rows))


NUMBERS = [
    one("dollars", lambda i: f"${1000.5 + 7.25 * i:,.2f}", "continuous", 1000.5, "written as $1,234.50"),
    one("euros", lambda i: f"€ {i + 1}.050,{i:02}", "continuous", 1050, "written as € 1.234,50"),
    one("euros behind", lambda i: f"{2 * i},50 €", "continuous", 0.5, "written as 1234,50 €"),
    one("debts", lambda i: f"(${i + 1}.25)" if i % 2 else f"${i}.00", "continuous", 0, "written as $1234.50"),
    one("minus behind the sign", lambda i: f"$-{i}.25", "continuous", -0.25, "$-23.25 to $-0.25"),
    one("percent", lambda i: f"{i}.5%", "continuous", 0.5, "written as 45.0%"),
    one("whole percent", lambda i: f"{i} %", "count", 0, "0 % to 23 %"),
    one("thousands", lambda i: f"{i + 1},000,{100 + i}", "continuous", 1000100, "written as 1,234"),
    one("thousands of Switzerland", lambda i: f"{i + 1}'{100 + i}", "continuous", 1100, "written as 1'234"),
    one("thousands with spaces", lambda i: f"{i + 1} {100 + i}", "continuous", 1100, "written as 1 234"),
    one("decimal commas", lambda i: f"{i},{i % 7}", "continuous", 0, "written as 1234,5"),
    one("decimal commas told", lambda i: f"{i},125", "continuous", 0.125, "1234,500", decimal=","),
    one("one comma before three digits", lambda i: f"{i + 1},{100 + i}", "continuous", 1100, "1,234"),
    Case(
        "points are of thousands where commas are of decimals",
        comma("a;b", lambda i: f"{i + 1}.{100 + i};{i},5"),
        {"a": "continuous", "b": "continuous"},
        {"a": 1100, "b": 0.5},
        ("written as 1.234",),
    ),
    one(
        "a few typing errors", lambda i: "ask" if i == 4 else f"${i}.50", "continuous", 0.5, "'ask' in row 5"
    ),
    one("a word among numbers", lambda i: "oak" if i == 4 else f"{i}.5", "continuous", 0.5, "'oak' in row 5"),
    one("two currencies", lambda i: f"{'$€'[i % 2]}{i % 3}", "categorical", "$0"),
    one("prices as levels", lambda i: f"${i % 3}.00", "categorical", "$0.00", columns={"a": "categorical"}),
    one("zeros before numbers", lambda i: f"{i % 3:03}", "categorical", "000", "3: 000, 001, 002"),
    one("zeros once", lambda i: "007" if i == 20 else str(1 + i % 3), "categorical", "1", "1, 2, 3"),
    one("zeros as counts", lambda i: f"{i:03}", "count", 0, "000 to 023", columns={"a": "count"}),
    one("row names with zeros", lambda i: f"{i:05}", "identifier", None, "left out"),
    one("one price everywhere", lambda i: "$1,005.00", "constant", None, "$1,005.00"),
    one("versions", lambda i: f"1.{i % 3}.0", "categorical", "1.0.0"),
    one("phones", lambda i: f"555-01{i % 4}", "categorical", "555-010"),
]


LAYOUTS = [
    Case(
        "semicolons",
        column(lambda i: f"t{i % 3}"),
        {"a": "categorical"},
        {"a": "t0"},
        ("separated by semicolons",),
    ),
    Case("tabs", comma("a\tx", lambda i: f"t{i % 3}\t{i}.5"), {"a": "categorical"}, {"a": "t0"}, ("tabs",)),
    Case(
        "bars",
        comma("a|x", lambda i: f"t{i % 3}|{i}.5"),
        {"a": "categorical"},
        {"x": 0.5},
        ("vertical bars",),
    ),
    Case(
        "commas in .tsv",
        comma("a,x", lambda i: f"t{i % 3},{i}.5"),
        {"x": "continuous"},
        {},
        ("commas",),
        {},
        "tsv",
    ),
    Case(
        "a separator that is told",
        comma("a:x", lambda i: f"t{i % 3}:{i}.5"),
        {"a": "categorical", "x": "continuous"},
        {"x": 0.5},
        ("':'",),
        {"separator": ":"},
    ),
    Case(
        "commas inside cells",
        comma("a;x", lambda i: f"Bonn, Rhein {i % 2};{i}.5"),
        {"a": "binary"},
        {"a": "Bonn, Rhein 0"},
    ),
    Case(
        "cp1252",
        comma("größe,stadt", lambda i: f"{i}.5,{('Köln', 'Zürich', 'Münster')[i % 3]}").encode("cp1252"),
        {"größe": "continuous", "stadt": "categorical"},
        {"stadt": "Köln"},
        ("read as cp1252",),
    ),
    Case(
        "cp1251",
        comma("город,x", lambda i: f"{('Москва', 'Казань', 'Самара')[i % 3]},{i}.5").encode("cp1251"),
        {"город": "categorical"},
        {"город": "Москва"},
        ("read as cp1251",),
    ),
    Case(
        "Shift JIS",
        comma("都市,x", lambda i: f"{('東京', '大阪', '横浜')[i % 3]},{i}.5").encode("cp932"),
        {"都市": "categorical"},
        {"都市": "東京"},
        ("read as cp932",),
    ),
    Case(
        "UTF-16",
        comma("a,x", lambda i: f"ü{i % 3},{i}.5").encode("utf-16"),
        {"a": "categorical"},
        {"a": "ü0"},
    ),
    Case(
        "UTF-16 without a mark",
        comma("a,x", lambda i: f"t{i % 3},{i}.5").encode("utf-16-le"),
        {"a": "categorical"},
    ),
    Case(
        "a byte order mark",
        comma("\ufeffa,x", lambda i: f"t{i % 3},{i}.5"),
        {"a": "categorical"},
        {"a": "t0"},
    ),
    Case(
        "an encoding that is told",
        comma("a,x", lambda i: f"Łódź{i % 3},{i}.5").encode("cp1250"),
        {"a": "categorical"},
        {"a": "Łódź0"},
        (),
        {"encoding": "cp1250"},
    ),
    Case(
        "no header, numbers and texts",
        "".join(f"{20 + i % 9},Private,{i}.5,{'<=' if i % 2 else '>'}50K\n" for i in range(ROWS)),
        {"column_1": "continuous", "column_2": "constant", "column_4": "binary"},
        {"column_1": 20, "column_3": 0.5},
        ("the first row holds data",),
    ),
    Case(
        "no header, texts alone",
        "".join(f"{'px'[i % 2]},{'abc'[i % 3]}\n" for i in range(ROWS)),
        {"column_1": "binary", "column_2": "categorical"},
        {"column_1": "p"},
        ("the first row holds data",),
    ),
    Case(
        "years as names", comma("land,2019,2020", lambda i: f"l{i % 3},{i}.5,{i}.25"), {"2019": "continuous"}
    ),
    Case(
        "a header of words",
        comma("a,b", lambda i: f"{'px'[i % 2]},{'abc'[i % 3]}"),
        {"a": "binary"},
        {"a": "p"},
    ),
    Case(
        "no header told",
        comma("p,a", lambda i: f"{'pxy'[i % 3]},{'abc'[i % 3]}"),
        {"column_1": "categorical"},
        {"column_1": "p"},
        (),
        {"header": False},
    ),
    Case(
        "a header told",
        comma("1,2", lambda i: f"{i}.5,{i}.25"),
        {"1": "continuous"},
        {"1": 0.5},
        (),
        {"header": True},
    ),
    Case(
        "pandas' index",
        comma(",a", lambda i: f"{i},{i}.5"),
        {"Unnamed: 0": "index", "a": "continuous"},
        {"a": 0.5},
        ("Unnamed: 0", "index"),
    ),
    Case("an index of few rows", comma(",a", lambda i: f"{i},{i}.5", 5), {"Unnamed: 0": "index"}, {"a": 0.5}),
    Case(
        "an index that is told",
        comma("who,a", lambda i: f"{100 - i},{i}.5"),
        {"who": "index", "a": "continuous"},
        {"a": 0.5},
        ("who", "index"),
        {"index": "who"},
    ),
    Case(
        "comment lines",
        "# made by hand\n# units: m\n"
        + comma("a,b", lambda i: f"{i}.5,t{i % 3}" + "\n# note, here" * (i == 5)),
        {"a": "continuous", "b": "categorical"},
        {"a": 0.5},
        ("# are comments",),
    ),
    Case("a header that begins with #", comma("#a,b", lambda i: f"{i}.5,t{i % 3}"), {"#a": "continuous"}),
    Case(
        "names that come twice",
        comma("a,b,a", lambda i: f"{i}.5,t{i % 3},{i}.25"),
        {"a": "continuous", "a.1": "continuous"},
        {"a": 0.5, "a.1": 0.25},
        ("'a' is 'a.1'",),
    ),
    Case(
        "a separator at the end of each line",
        comma("a,b,", lambda i: f"{i}.5,t{i % 3},"),
        {"Unnamed: 2": "empty"},
    ),
]

GAPS = [
    Case(
        "numbers and words that mean nothing",
        comma("a,b", lambda i: f"{-200 if i == 3 else i + 0.5},{'unknown' if i == 3 else f't{i % 3}'}"),
        {"a": "continuous", "b": "categorical"},
        {"a": 0.5},
        ("0.5 to 23.5", "4.2 %", "3: t0, t1, t2"),
        {"missing": ("-200", ".", "unknown")},
    ),
    Case(
        "points",
        comma("a,b", lambda i: f"{'.' if i % 2 else i + 0.5},t{i % 3}"),
        {"a": "continuous"},
        {"a": 0.5},
        ("50.0 %",),
        {"missing": (".",)},
    ),
    Case(
        "None is a level beside texts",
        comma("a,b", lambda i: f"{i}.5,{('None', 'Brick', 'NA')[i % 3]}"),
        {"b": "binary"},
        {"b": "None"},
        ("'None' is a level", "33.3 %"),
    ),
    Case(
        "NA in most cells of a column of texts is a level",
        comma("a,b", lambda i: f"{i}.5,{('Ex', 'Gd')[i % 2] if i > 17 else 'NA'}"),
        {"b": "categorical"},
        {"b": "NA"},
        ("'NA' is a level",),
    ),
    Case(
        "NA in some cells is missing",
        comma("a,b", lambda i: f"{i}.5,{('Ex', 'Gd', 'NA', 'Fa')[i % 4]}"),
        {"b": "categorical"},
        {"b": "Ex"},
        ("3: Ex, Fa, Gd", "25.0 %"),
    ),
    Case(
        "NA in some cells is a level where a person keeps it",
        comma("a,b", lambda i: f"{i}.5,{('NA', 'Gd', 'Ex', '')[i % 4]}"),
        {"b": "categorical"},
        {"b": "NA"},
        ("3: Ex, Gd, NA",),
        {"keep_missing_as_level": ("b",)},
    ),
    Case(
        "NA in most cells is missing where a person says so",
        comma("a,b", lambda i: f"{i}.5,{('Ex', 'Gd')[i % 2] if i > 17 else 'NA'}"),
        {"b": "binary"},
        {"b": None},
        ("75.0 %",),
        {"missing": ("NA",)},
    ),
    Case(
        "None among numbers",
        comma("a,b", lambda i: f"{i + 0.5 if i % 3 else 'None'},t{i % 3}"),
        {"a": "continuous"},
        {"a": None},
    ),
]

TIMES = [
    one(
        "times of day",
        lambda i: f"{i:02}:30",
        "continuous",
        30,
        "times of day, written as 20:30",
        "00:30 to 23:30",
    ),
    one(
        "times that may be durations",
        lambda i: f"{i % 17}:30:00",
        "continuous",
        1800,
        "times of day, written as 20:30:00; in steps of 1 hour; close to duration",
        "give the option column, such as a=duration",
    ),
    one(
        "durations that a person states",
        lambda i: f"{i % 17}:30:00",
        "continuous",
        1800,
        "durations, written as 20:30:00",
        columns={"a": "duration"},
    ),
    one("times with seconds", lambda i: f"{i:02}:30:15", "continuous", 1815, "00:30:15 to 23:30:15"),
    one("AM and PM", lambda i: f"{i % 12 + 1}:15 {'AP'[i % 2]}M", "continuous", 75, "written as 8:30 PM"),
    one("durations", lambda i: f"{i + 20}:15", "continuous", 1215, "durations, written as 20:30"),
    one("durations of days", lambda i: f"{i} days 01:00:00", "continuous", 3600, "durations"),
    one("durations in words", lambda i: f"{i + 1}h {i}m", "continuous", 60, "durations, written as 1h 30m"),
    one("durations of ISO 8601", lambda i: f"PT{i + 1}H30M", "continuous", 90, "PT1H30M"),
    one(
        "dates and times of AM and PM",
        lambda i: f"2024-01-{i + 1:02} 1:30 PM",
        "date",
        19723 + 13.5 / 24,
        "2024-01-24",
    ),
    one("names of months", lambda i: f"{i + 1} March 2024", "date", 19783, "2024-03-01 to 2024-03-24"),
    one("short names of months", lambda i: f"Mar {i + 1}, 2024", "date", 19783, "2024-03-01"),
    one("months", lambda i: f"{('Jan', 'Feb', 'Mar')[i % 3]} {2000 + i}", "date", 10957, "2000-01-01"),
    one("years of two digits", lambda i: f"{i + 1:02}/03/24", "date", 19783, "2024-03-24"),
    one(
        "one format with a few typing errors",
        lambda i: "2024-02-31" if i == 7 else f"2024-03-{i + 1:02}",
        "date",
        19783,
        "'2024-02-31' in row 8",
    ),
    one(
        "the end of time",
        lambda i: "9999-12-31" if i % 3 else f"2024-03-{i + 1:02}",
        "date",
        19783,
        "2024-03-01 to 9999-12-31",
    ),
    one("long ago", lambda i: f"{1066 + i}-10-14", "date", -329893, "1066-10-14 to 1089-10-14"),
    one("zones that differ", lambda i: f"2024-03-01T{i:02}:00:00+0{i % 3}:00", "date", 19783, "3 time zones"),
    one("Greenwich", lambda i: f"2024-03-01T{i:02}:00:00Z", "date", 19783, "2024-03-01"),
]

CASES = [*NUMBERS, *LAYOUTS, *GAPS, *TIMES]
