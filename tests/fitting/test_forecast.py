"""What people are told of how long a training takes."""

import pytest

from backstory.fitting import progress


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 0.0

    monkeypatch.setattr(progress.time, "monotonic", lambda: Clock.now)
    return Clock


@pytest.mark.parametrize(("step", "told"), [(0.5, "about 9 minutes"), (0.05, "")])
def test_a_long_training_is_told_of_once_by_its_first_steps(clock, step, told):
    lines: list[str] = []
    forecast = progress.Forecast(1.0, lines.append)
    clock.now = 30.0  # compiling the first step does not count
    for _ in range(200):
        forecast.advance(0.001)
        clock.now += step
    assert len(lines) == bool(told)
    assert told in "".join(lines)


def test_a_training_with_a_limit_of_time_needs_no_forecast():
    progress.Forecast(1.0, None).advance(0.1)
