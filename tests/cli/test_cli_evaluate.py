"""The command evaluate: the evidence of whole data."""

import json
from dataclasses import replace

import pytest
from commands import run, table

from backstory.inference import evaluate


def test_evaluate_prints_one_object_or_a_table(home, capfd):
    command = ["evaluate", home / "prices", home / "table.csv", "--samples", "50", "--split", "validation"]
    assert run(*command, "--json") == 0
    result = json.loads(capfd.readouterr().out)
    names = "elbo reconstruction kl log_evidence standard_error ess bits_per_dim kl_per_level active_units n"
    names += " samples method methods pareto_k acceptance psnr ssim"
    assert list(result) == names.split()
    assert result["n"] == 6
    assert result["samples"] == 50
    assert result["bits_per_dim"] is None
    assert result["elbo"] == pytest.approx(result["reconstruction"] - result["kl"], abs=1e-3)
    assert run(*command) == 0
    out = capfd.readouterr().out
    lines = {line.split()[0] for line in out.splitlines() if line[0] != " "}
    assert lines == {name for name, value in result.items() if value not in (None, {})}
    assert f"{result['log_evidence']:.2f}" in out


def test_evaluate_gives_the_same_numbers_in_chunks(home, capfd):
    results = []
    for chunk in ([], ["--chunk", "7"]):
        command = ["evaluate", home / "bars", home / "images.npy", "--samples", "20", "--limit", "5"]
        assert run(*command, "--json", *chunk) == 0
        results.append(json.loads(capfd.readouterr().out))
    assert [result.pop("methods") for result in results] == [{"is": 5}] * 2
    assert results[0] == pytest.approx(results[1])
    assert results[0]["n"] == 5


def test_annealing_can_be_interrupted_and_refuses_a_plain_autoencoder(
    home, tmp_path, capfd, refuse, short_burn_in
):
    command = ["evaluate", home / "bars", home / "images.npy", "--method", "ais", "--samples", "4", "--json"]
    command += ["--steps", "5", "--leapfrog", "2", "--start", "prior", "--schedule", "linear"]
    results = []
    for options in ([], ["--resume", tmp_path / "rows"], ["--resume", tmp_path / "rows"]):
        assert run(*command, "--limit", "6", *options) == 0
        results.append(json.loads(capfd.readouterr().out))
    assert results[0] == results[1] == results[2]
    assert results[0]["method"] == "ais"
    assert 0 < results[0]["acceptance"] <= 1
    refuse(*command, "--resume", tmp_path / "rows", "--steps", "6", says="steps 5, now it is 6")
    refuse("evaluate", home / "plain", home / "images.npy", "--method", "ais", says="plain autoencoder")


def test_rows_seen_in_training_are_reported(home, tmp_path, capfd):
    command = ["evaluate", home / "prices", home / "table.csv", "--samples", "5", "--json"]
    expected = {
        "all": "warning: 54 of 60 rows are among",
        "validation": "",
        "train": "rows that the model was",
    }
    for part, words in expected.items():
        assert run(*command, "--split", part) == 0
        err = capfd.readouterr().err.strip()
        assert words in err
        assert err.count("\n") == 0
        assert words or not err
    table(seed=1).to_csv(tmp_path / "new.csv", index=False)
    assert run("evaluate", home / "prices", tmp_path / "new.csv", "--samples", "5", "--json") == 0
    assert capfd.readouterr().err.strip() == ""


def test_a_model_without_numbers_is_refused(home, refuse, monkeypatch):
    averages = evaluate.average

    def overflown(*arguments):
        return replace(averages(*arguments), elbo=float("nan"), reconstruction=float("nan"))

    monkeypatch.setattr(evaluate, "average", overflown)
    command = ["evaluate", home / "prices", home / "table.csv", "--samples", "5", "--json"]
    refuse(*command, says="expected numbers, got NaN for elbo, reconstruction; look for values")
