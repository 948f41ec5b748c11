"""What people see while they wait: everything goes to standard error, so that output can be piped."""

import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, Protocol

logger = logging.getLogger("backstory")
_REFRESHES = 4  # of a progress bar, each second
_COLUMNS_SHOWN = 40


class Bar(Protocol):
    """A progress bar that was started with a total."""

    def advance(self, amount: float = 1) -> None: ...

    def describe(self, text: str) -> None: ...


class _Silent:
    def advance(self, amount: float = 1) -> None:
        pass

    def describe(self, text: str) -> None:
        pass


def hush() -> None:
    """From now on this process says nothing: another speaks for it."""
    logger.disabled = True


def hushed() -> bool:
    """Whether another process speaks for this one."""
    return logger.disabled


@contextmanager
def progress(title: str, total: float, show: bool = True) -> Iterator[Bar]:
    """A progress bar on standard error; silent where `show` is false or nobody looks at a terminal."""
    if hushed() or not (show and sys.stderr.isatty()):
        yield _Silent()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.fields[title]}"),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.description}"),
    )
    with Progress(
        *columns, console=Console(stderr=True), transient=True, refresh_per_second=_REFRESHES
    ) as display:
        task = display.add_task("", total=total, title=title)

        class Live:
            waiting, shown = 0.0, 0.0  # steps may come faster than anybody could see

            def advance(self, amount: float = 1) -> None:
                self.waiting += amount
                if time.monotonic() - self.shown >= 1 / _REFRESHES:
                    display.advance(task, self.waiting)
                    self.waiting, self.shown = 0.0, time.monotonic()

            def describe(self, text: str) -> None:
                display.update(task, description=text)

        yield Live()


def say(text: str, show: bool = True) -> None:
    """A line for people; goes to the log alone where `show` is false."""
    logger.info(text)
    if show and not hushed():
        from rich.console import Console

        Console(stderr=True, highlight=False, soft_wrap=True).print(text, markup=False)


def say_columns(schema: Any, show: bool = True) -> None:
    """A table for people of what the columns of a table hold, from its schema."""
    if not schema.kinds or not show or hushed():
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for title in ("column", "kind", "values", "empty", "note"):
        table.add_column(title, justify="right" if title == "empty" else "left", overflow="fold")
    for column in schema.kinds[:_COLUMNS_SHOWN]:
        table.add_row(
            column.name,
            column.kind,
            _values_of_column(column),
            f"{100 * column.missing:.1f} %" if column.missing else "",
            column.note,
        )
    for column in schema.left_out[:_COLUMNS_SHOWN]:
        table.add_row(column.name, "left out", column.text or "", "", column.reason)
    console = Console(stderr=True, highlight=False, markup=False)
    console.print(table)
    more = max(0, len(schema.kinds) - _COLUMNS_SHOWN) + max(0, len(schema.left_out) - _COLUMNS_SHOWN)
    if more:
        console.print(f"and {more} more columns")


def _values_of_column(column: Any) -> str:
    if column.levels is not None:
        shown = ", ".join(column.levels[:4])
        return f"{len(column.levels)}: {shown}" + (", …" if len(column.levels) > 4 else "")
    if column.low is None:
        return ""
    if column.kind == "date":
        days = (datetime(1970, 1, 1) + timedelta(days=value) for value in (column.low, column.high))
        return " to ".join(f"{day:%Y-%m-%d}" for day in days)
    return f"{column.low:.6g} to {column.high:.6g}"


def warn(text: str) -> None:
    """A warning for people, through the log, whose default handler prints on standard error."""
    logger.warning(text)


@contextmanager
def patient_interrupt() -> Iterator[Callable[[], bool]]:
    """Ctrl-C becomes a question, answered where it does no harm; a second one interrupts at once.

    Yields:
        Whether Ctrl-C was pressed.
    """
    pressed = False

    def note(number: int, frame: object) -> None:
        nonlocal pressed
        if pressed:
            raise KeyboardInterrupt
        pressed = True

    before = signal.getsignal(signal.SIGINT)
    # Only the main thread may handle signals, and what others do with Ctrl-C stays theirs
    ours = threading.current_thread() is threading.main_thread() and before is signal.default_int_handler
    if ours:
        signal.signal(signal.SIGINT, note)
    try:
        yield lambda: pressed
    finally:
        if ours:
            signal.signal(signal.SIGINT, before)
