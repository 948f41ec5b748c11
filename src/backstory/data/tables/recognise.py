"""Columns to look at again: numbers in a way of writing of their own, and texts of digits."""

from backstory.data.tables.columns import LEVELLED, Asked
from backstory.data.tables.survey import Survey
from backstory.data.tables.writing import recognised


def another_look(survey: Survey, asked: Asked | None, decimal: str | None = None) -> Survey | None:
    """An empty survey that reads the cells in another way; None where the first one suffices.

    Args:
        survey: of all cells, which took plain numbers for numbers and other texts for texts.
        asked: a person's description, which is followed.
        decimal: the sign before decimals, where it is known.
    """
    if not survey.texts.first or (asked is not None and _holds_no_numbers(asked)):
        return None
    if survey.texts.padded and asked is None:
        return Survey(survey.name, survey.source, as_words=True) if survey.numbers.cells else None
    if not survey.texts.words and not survey.texts.padded:
        return None
    writing = recognised(survey.texts.first, decimal)
    if writing is None:
        return None
    return Survey(survey.name, survey.source, survey.count_numbers, writing=writing)


def _holds_no_numbers(asked: Asked) -> bool:
    levels = asked.kind in LEVELLED and asked.cells in (None, "text", "bool")
    return levels or asked.kind in ("date", "ignore")


def better(first: Survey, second: Survey, asked: Asked | None) -> Survey:
    """The survey to judge by: the second one, if it reads all cells but a few or a person asks for it."""
    present = second.present + second.misfits.count
    return second if asked is not None or second.misfits.are_few(present, second.rows) else first
