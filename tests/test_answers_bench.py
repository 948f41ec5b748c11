"""bench/answers.py: both checkouts take turns, and the record names no folder of this machine."""

import json
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[1] / "bench"


@pytest.fixture(autouse=True)
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))


def test_ratios_are_of_medians_in_turns(tmp_path, monkeypatch):
    import answers

    asked = []

    def answer(source: Path, question: dict) -> dict:
        asked.append((source, question["seed"]))
        mine = source != tmp_path.resolve()
        return {"cpu_seconds": (1.0 if mine else 4.0) * (1 + question["seed"]), "psnr": 20.0 + mine}

    monkeypatch.setattr(answers, "answer", answer)
    output = tmp_path / "answers.json"
    monkeypatch.setattr("sys.argv", ["answers.py", "--against", str(tmp_path)])
    options = ["--questions", "restore", "--repeats", "3", "--output", str(output)]
    answers.main(["--against", str(tmp_path), *options])
    assert [seed for _, seed in asked] == [0, 0, 1, 1, 2, 2]
    assert len({source for source, _ in asked}) == 2
    text = output.read_text()
    assert str(tmp_path) not in text
    record = json.loads(text)
    assert record["command"] == f"python bench/answers.py --against {tmp_path.name}"
    found = record["answers"]["restore"]
    assert (found["now"]["cpu_seconds"], found["before"]["cpu_seconds"]) == (2, 8)
    assert found["times_faster"] == 4
    assert (found["now"]["psnr"], found["before"]["psnr"]) == (21, 20)
