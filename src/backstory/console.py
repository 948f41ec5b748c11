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


def hush() -> None:
    """Silence this process, because another one prints for it."""
    logger.disabled = True


def hushed() -> bool:
    """Whether this process is silent."""
    return logger.disabled


@contextmanager
def progress(title: str, total: float, show: bool = True) -> Iterator[Bar]:
    """A progress bar on standard error; silent if `show` is false or standard error is no terminal."""
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
