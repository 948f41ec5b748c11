"""bench/gpu.py: its parts run on a processor with tiny sizes."""

import json
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[1] / "bench"
SIZES = {"rows": 300, "batches": 64, "seconds": 0.01, "repeats": 1, "questions": 2}
TINY = ["--device", "cpu", *(word for name, size in SIZES.items() for word in (f"--{name}", str(size)))]


@pytest.fixture(autouse=True)
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))


def test_a_device_has_the_numbers_of_itself():
    import gpu

    record = gpu.numbers(gpu.parse(TINY))
    assert len(record) == sum(map(len, gpu.LIKELIHOODS.values()))
    for differences in record.values():
        assert {"codes", "log p(x|z)", "gradient", "evidence, in standard errors"} == set(differences)
        assert all(value < 1e-5 for value in differences.values())


def test_speeds_of_training_and_answers(monkeypatch):
    import gpu

    made = gpu.contenders(gpu.pick_device("cpu"))
    assert set(made) == {"backstory eager", "backstory --compile", "tuned eager", "reduce-overhead"}
    slow = ("backstory --compile", "reduce-overhead")  # to begin with
    monkeypatch.setattr(gpu, "contenders", lambda device: {n: m for n, m in made.items() if n not in slow})
    record = gpu.training(gpu.parse(TINY))
    assert set(record) == {"W1", "W3", "W1, batch 64"}
    assert all(speed > 0 for speeds in record.values() for speed in speeds.values())
    assert all(rate > 0 for rate in gpu.answers(gpu.parse(TINY))["rows per second"].values())


def test_a_part_that_fails_or_takes_too_long_leaves_a_record(tmp_path):
    import gpu

    output = tmp_path / "gpu.json"
    gpu.main([*TINY, "--parts", "numbers", "--limit", "1e-4", "--output", str(output)])
    assert json.loads(output.read_text())["numbers"] == {"failed": "took longer than 0.012 s"}
