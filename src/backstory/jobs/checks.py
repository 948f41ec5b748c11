"""Checks of the numbers that jobs are given."""

from backstory.errors import InputError


def at_least_one(name: str, value: int | None) -> None:
    """Raise InputError for a value below 1; None is no value."""
    if value is not None and value < 1:
        raise InputError(f"`{name}` has to be at least 1, got {value}")
