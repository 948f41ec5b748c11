"""Progress without a terminal: a line from time to time."""

import pytest

from backstory import console


class Clock:
    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(console, "time", clock)
    return clock


def lines(capsys):
    return capsys.readouterr().err.splitlines()


def test_a_line_every_half_minute(capsys, clock):
    with console.progress("fit", 100) as bar:
        for _ in range(100):
            clock.now += 1
            bar.advance()
            bar.describe("epoch 3 of 9")
    assert lines(capsys) == [
        "fit 30%, 1 min left  epoch 3 of 9",
        "fit 60%, 40 s left  epoch 3 of 9",
        "fit 90%, 10 s left  epoch 3 of 9",
    ]


def test_the_rest_is_estimated_from_this_process_alone(capsys, clock):
    with console.progress("fit", 1.0, done=0.9) as bar:
        clock.now += 40
        bar.advance(0.01)
    assert lines(capsys) == ["fit 91%, 6 min left"]


@pytest.mark.parametrize("show", [True, False])
def test_short_work_and_hidden_work_are_silent(capsys, clock, show):
    with console.progress("fit", 10, show) as bar:
        clock.now += 20 if show else 1000
        bar.advance(10)
    assert lines(capsys) == []
