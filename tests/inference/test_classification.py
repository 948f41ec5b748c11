"""p(c | x) by Bayes' rule: the closed form of a linear-Gaussian model, its figures, and wrong questions."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

import backstory
from backstory.cli.main import main
from backstory.data.conditions import encode_conditions
from backstory.data.load import load
from backstory.inference.classification import Classification, calibration_error

RNG = np.random.default_rng(0)
SEX = RNG.choice(["f", "m"], 300, p=[0.7, 0.3])
HEIGHT = 165 + 12 * (SEX == "m") + RNG.normal(0, 6, 300)
FRAME = pd.DataFrame({"height": HEIGHT, "sex": SEX, "weight": HEIGHT / 2 - 20 + RNG.normal(0, 5, 300)})
LINEAR = {"network": "linear", "likelihood": "gaussian", "latent": 1, "progress": False}


@pytest.fixture(scope="module")
def people():
    """A linear-Gaussian model of height and weight given sex."""
    return backstory.fit(FRAME, given="sex", epochs=40, lr=1e-2, **LINEAR)


@pytest.fixture(scope="module")
def pair():
    """An ensemble of two such models."""
    return backstory.fit(FRAME, given="sex", epochs=5, lr=1e-2, ensemble=2, **LINEAR)


def exact_probabilities(model) -> np.ndarray:
    """p(c | x) of all rows from the normal densities p(x|c)."""
    exact, x = model.exact(), model.schema.prepare(load(FRAME, schema=model.schema).values).double()
    codes = encode_conditions(model.schema.conditions, {"sex": ["f", "m"]})
    means = exact.bias + torch.from_numpy(codes).double() @ exact.effect.T
    joint = torch.stack(
        [torch.distributions.MultivariateNormal(mean, exact.covariance).log_prob(x) for mean in means], 1
    )
    counts = np.bincount((SEX == "m").astype(int)) + 1
    return torch.softmax(joint + torch.from_numpy(counts / counts.sum()).log(), 1).numpy()


def test_probabilities_are_those_of_the_closed_form(people) -> None:
    found = people.classify(FRAME, samples=500)
    assert found.levels == ("f", "m")
    np.testing.assert_allclose(found.probabilities.sum(1), 1)
    np.testing.assert_allclose(found.probabilities, exact_probabilities(people), atol=0.03)


def test_the_level_of_the_row_itself_is_not_used(people) -> None:
    expected = people.classify(FRAME).probabilities
    for x in (FRAME.assign(sex="f"), FRAME[["height", "weight"]].to_numpy()):
        np.testing.assert_array_equal(people.classify(x).probabilities, expected)


def test_an_ensemble_is_asked_as_one(pair) -> None:
    found = pair.classify(FRAME[:20], samples=1000)
    each = [member.classify(FRAME[:20], samples=1000).log_evidence for member in pair.members]
    assert found.log_evidence.shape == each[0].shape
    mixed = np.logaddexp(*each) - np.log(2)
    np.testing.assert_allclose(found.log_evidence, mixed, atol=0.1)


def test_figures_of_known_levels() -> None:
    p = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.5, 0.5]])
    found = Classification("c", ("a", "b"), p, np.log(p), np.array([0.5, 0.5]))
    assert found.most_probable.tolist() == ["a", "b", "a", "a"]
    quality = found.quality(np.array([0, 1, 1, np.nan]))
    assert (quality.n, quality.accuracy, quality.majority) == (3, pytest.approx(2 / 3), pytest.approx(2 / 3))
    assert quality.log_loss == pytest.approx(-np.log([0.9, 0.8, 0.4]).mean())
    assert quality.calibration_error == pytest.approx((0.1 + 0.2 + 0.6) / 3)
    assert found.quality(np.full(4, np.nan)) is None
    assert calibration_error(np.ones(3), np.ones(3, bool)) == 0


def test_wrong_questions_are_refused(people) -> None:
    with pytest.raises(backstory.InputError, match="which are sex, got age"):
        people.classify(FRAME, "age")
    plain = backstory.fit(FRAME[["height", "weight"]], epochs=1, **LINEAR)
    with pytest.raises(backstory.InputError, match="model of p"):
        plain.classify(FRAME[["height", "weight"]])


def test_the_command(people, tmp_path, capsys) -> None:
    run, data, out = people.save(tmp_path / "run"), tmp_path / "a.csv", tmp_path / "c.csv"
    FRAME.assign(sex=FRAME["sex"].where(FRAME.index > 9)).to_csv(data, index=False)
    assert main(["classify", str(run), str(data), "-o", str(out), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["rows"], figures["n"]) == (300, 290)
    assert figures["accuracy"] > figures["majority"] - 0.05
    written = pd.read_csv(out)
    assert list(written) == ["sex", "p_f", "p_m"]
    np.testing.assert_allclose(written["p_m"], people.classify(FRAME).probabilities[:, 1], rtol=1e-5)
    FRAME.drop(columns="sex").to_csv(data, index=False)
    assert main(["classify", str(run), str(data), "-o", str(out), "--force"]) == 0
    assert pd.read_csv(out).equals(written)
    assert main(["classify", str(run), str(data), "--condition", "age"]) == 2
    assert "--condition" in capsys.readouterr().err
