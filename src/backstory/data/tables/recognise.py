"""What the cells of each column are, after as many looks at a table as its columns need.

The first look takes plain numbers for numbers and other texts for texts. Columns are looked at again whose
texts were lost with that (zeros before numbers, texts after many numbers), whose numbers are written in a way
of their own (`writing`), or in which texts that mostly stand for empty cells may be levels (NA, None).
"""

from collections.abc import Collection, Mapping

from backstory.data.tables.columns import DURATION, LEVELLED, Asked
from backstory.data.tables.parts import KEPT, PartedTable, kept_of
from backstory.data.tables.survey import Survey
from backstory.data.tables.writing import recognised

MOST = 0.5  # share of the cells from which NA is taken for a level


def surveyed(table: PartedTable, asked: Mapping[str, Asked]) -> list[Survey]:
    """What the cells of each column are, in the order of the columns.

    Args:
        table: the table.
        asked: a person's descriptions of columns, which are followed.
    """
    return _Looks(table, asked).surveys()


class _Looks:
    """Several looks at the columns of a table."""

    def __init__(self, table: PartedTable, asked: Mapping[str, Asked]):
        self.table, self.asked = table, asked
        self.kept = kept_of(table.told, table.names)
        as_texts = [name for name, a in asked.items() if a.kind == "date" or _holds_texts(a)]
        self.texts = [*as_texts, *(name for name in self.kept if name not in as_texts)]
        self.levelled = {name for name, description in asked.items() if description.kind in LEVELLED}

    def surveys(self) -> list[Survey]:
        """The surveys by which the columns are judged."""
        surveys = self._look([self._empty(name) for name in self.table.names])
        lost = [name for name, survey in surveys.items() if self._is_lost(survey)]
        surveys |= self._again(lost)
        decimal = self.table.told.decimal or _decimal(surveys.values())
        if decimal == ",":  # 1.234 may be a number of thousands
            lost = [name for name, survey in surveys.items() if self.table.is_text and survey.parsed]
            surveys |= self._again([name for name in lost if name not in self.texts])
        others = [self._otherwise(survey, decimal) for survey in surveys.values()]
        for name, survey in self._look([survey for survey in others if survey is not None]).items():
            surveys[name] = _better(surveys[name], survey, self.asked.get(name))
        return list((surveys | self._with_levels(surveys)).values())

    def _look(self, surveys: Collection[Survey]) -> dict[str, Survey]:
        """These surveys, by the names of their columns, after all cells."""
        return self.table.survey({survey.name: survey for survey in surveys}, self.texts, self.kept)

    def _again(self, names: Collection[str]) -> dict[str, Survey]:
        """Another look at these columns, as texts."""
        self.texts += [name for name in names if name not in self.texts]
        return self._look([self._empty(name) for name in names])

    def _empty(self, name: str) -> Survey:
        return Survey(
            name,
            self.table.source,
            count_numbers=name in self.levelled,
            as_words=name in self.kept,
            kept=self.kept.get(name, ()),
        )

    def _is_lost(self, survey: Survey) -> bool:
        """Whether numbers were parsed whose texts may matter."""
        marks = self.table.marks
        if marks is None or not survey.parsed:
            return False
        return survey.texts.words > 0 or (
            marks.padded and survey.numbers.whole and not survey.numbers.boolean
        )

    def _otherwise(self, survey: Survey, decimal: str | None) -> Survey | None:
        """An empty survey that reads the cells in another way; None where the first one suffices."""
        asked, texts = self.asked.get(survey.name), survey.texts
        if not texts.first or survey.kept or (asked is not None and _holds_no_numbers(asked)):
            return None
        if survey.dtype == "category" and asked is None:  # the categories are the levels
            return None
        if texts.padded and asked is None:
            return Survey(survey.name, survey.source, as_words=True) if survey.numbers.cells else None
        writing = recognised(texts.first, decimal)
        if writing is None or (writing.is_plain and not texts.words):
            return None
        if asked is not None and asked.kind == DURATION:
            writing = writing.duration or writing
        return Survey(survey.name, survey.source, survey.count_numbers, writing=writing)

    def _with_levels(self, surveys: Mapping[str, Survey]) -> dict[str, Survey]:
        """The columns of texts in which NA or None is a level."""
        marks = self.table.marks
        if marks is None or not marks.kept:
            return {}
        names = [s.name for s in surveys.values() if s.name not in self.asked and _may_keep(s)]
        told, before = self.table.told.missing, dict(self.kept)
        self.kept |= {name: tuple(mark for mark in KEPT if mark not in told) for name in names}
        kept = {name: _levels_among(survey) for name, survey in self._again(names).items()}
        self.kept = before | {name: words for name, words in kept.items() if words}
        return self._again([name for name, words in kept.items() if words])


def _holds_texts(asked: Asked) -> bool:
    return asked.kind in LEVELLED and asked.cells in (None, "text")


def _holds_no_numbers(asked: Asked) -> bool:
    return _holds_texts(asked) or asked.cells == "bool" or asked.kind in ("date", "ignore")


def _decimal(surveys: Collection[Survey]) -> str | None:
    """The comma, if it comes before decimals in a column; else None."""
    ways = [recognised(s.texts.first) for s in surveys if s.texts.words]
    return "," if any(way is not None and way.decimal == "," for way in ways) else None


def _better(first: Survey, second: Survey, asked: Asked | None) -> Survey:
    """The survey to judge by: the second one, if it reads all cells but a few or a person asks for it."""
    present = second.present + second.misfits.count
    return second if asked is not None or second.misfits.are_few(present, second.rows) else first


def _may_keep(survey: Survey) -> bool:
    """Whether a column holds texts with empty cells between them."""
    return bool(survey.texts.words and survey.empty and not survey.kept and not survey.date_formats())


def _levels_among(survey: Survey) -> tuple[str, ...]:
    """The texts among NA and None that are levels: None, and NA in most cells or beside other empty ones."""
    counts: Mapping[str, int] = survey.texts.counts or {}
    often = counts.get("NA", 0) > MOST * survey.rows or survey.empty > 0
    return tuple(mark for mark in KEPT if counts.get(mark) and (mark == "None" or often))
