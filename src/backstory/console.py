"""Progress bars, lines and warnings for people, on standard error, so that output can be piped."""

import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from backstory.errors import printable

logger = logging.getLogger("backstory")
_REFRESHES = 4  # of a progress bar, per second
_LINES = 30.0  # seconds between two lines where there is no terminal for a bar
_DEFAULTS = {  # handlers of signals that the package may replace
    signal.SIGINT: (signal.default_int_handler,),
    signal.SIGTERM: (signal.SIG_DFL, signal.default_int_handler),
}


class Bar(Protocol):
    """A progress bar with a total."""

    def advance(self, amount: float = 1) -> None: ...

    def describe(self, text: str) -> None: ...


class _Silent:
    def advance(self, amount: float = 1) -> None:
        pass

    def describe(self, text: str) -> None:
        pass


class _Lines:
    """Progress as a line from time to time, for a file or a pipe."""

    def __init__(self, title: str, total: float, done: float):
        self.title, self.total = title, total
        self.before, self.done, self.text = done, done, ""
        self.started = self.shown = time.monotonic()

    def advance(self, amount: float = 1) -> None:
        self.done += amount
        now = time.monotonic()
        if now - self.shown >= _LINES:
            self.shown = now
            say(f"{self.title} {self._share(now)}{self.text and '  ' + self.text}")

    def describe(self, text: str) -> None:
        self.text = text

    def _share(self, now: float) -> str:
        """How much is done, and how long the rest may take."""
        here, left = self.done - self.before, max(self.total - self.done, 0.0)
        rest = f", {_duration(left / here * (now - self.started))} left" if here > 0.01 * self.total else ""
        return f"{min(self.done / self.total, 1):.0%}{rest}" if self.total else f"{self.done:g}"


def _duration(seconds: float) -> str:
    """A time in words that are as exact as people need.

    >>> [_duration(seconds) for seconds in (8, 100, 5000, 200_000)]
    ['10 s', '2 min', '1.4 h', '55.6 h']
    """
    if seconds < 60:
        return f"{max(10, round(seconds, -1)):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def hush() -> None:
    """Silence this process, because another one prints for it."""
    logger.disabled = True


def hushed() -> bool:
    """Whether this process is silent."""
    return logger.disabled


@contextmanager
def progress(title: str, total: float, show: bool = True, done: float = 0.0) -> Iterator[Bar]:
    """A progress bar on standard error, or a line every half minute where that is no terminal.

    Args:
        title: what is done.
        total: the amount of work.
        show: whether to show anything.
        done: the part of the work that an earlier process did.
    """
    if hushed() or not show:
        yield _Silent()
        return
    if not sys.stderr.isatty():
        yield _Lines(title, total, done)
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
        display.advance(task, done)

        class Live:
            waiting, shown = 0.0, 0.0  # steps may come faster than the bar is drawn

            def advance(self, amount: float = 1) -> None:
                self.waiting += amount
                if time.monotonic() - self.shown >= 1 / _REFRESHES:
                    display.advance(task, self.waiting)
                    self.waiting, self.shown = 0.0, time.monotonic()

            def describe(self, text: str) -> None:
                display.update(task, description=text)

        yield Live()


def say(text: str, show: bool = True) -> None:
    """Print a line for people; with `show` false it goes to the log alone."""
    text = printable(text)
    logger.info(text)
    if show and not hushed():
        from rich.console import Console

        Console(stderr=True, highlight=False, soft_wrap=True).print(text, markup=False)


def warn(text: str) -> None:
    """Warn people through the log; its default handler prints on standard error."""
    logger.warning(printable(text))


@contextmanager
def patient_interrupt() -> Iterator[Callable[[], bool]]:
    """A context in which Ctrl-C and SIGTERM are recorded and not raised; a second one interrupts at once.

    SIGTERM is what SLURM and containers send before they kill a process.

    Yields:
        A function that returns whether an interrupt came, to be asked where it does no harm.
    """
    came = False

    def note(number: int, frame: object) -> None:
        nonlocal came
        if came:
            raise KeyboardInterrupt
        came = True

    with _handled(note, signal.SIGINT, signal.SIGTERM):
        yield lambda: came


@contextmanager
def terminable() -> Iterator[None]:
    """A context in which SIGTERM raises KeyboardInterrupt, as Ctrl-C does."""
    with _handled(signal.default_int_handler, signal.SIGTERM):
        yield


@contextmanager
def _handled(handler: Callable[[int, Any], Any], *signals: signal.Signals) -> Iterator[None]:
    """A context with a handler of signals, but for those that code outside the package handles."""
    before = {number: signal.getsignal(number) for number in signals}
    # Only the main thread may handle signals
    main = threading.current_thread() is threading.main_thread()
    ours = [number for number in signals if main and before[number] in _DEFAULTS[number]]
    for number in ours:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, before[number])
