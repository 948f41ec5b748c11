"""p(x | c) from training to every question: closed forms, conditions of data, wrong conditions."""

import inspect
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import backstory
from backstory.cli.main import main
from backstory.data.conditions import encode_conditions
from backstory.data.load import load
from backstory.data.observation import Observation
from backstory.data.stored import StoredRows
from backstory.inference.linear_gaussian import LinearGaussian
from backstory.inference.scoring import log_evidence
from backstory.jobs.impute import impute
from backstory.jobs.output import Output
from backstory.jobs.reconstruct import reconstruct
from backstory.jobs.restore import RestorationSettings
from backstory.jobs.sample import Sampling, sample
from backstory.jobs.source import Source

RNG = np.random.default_rng(0)
N = 240
SEX, AGE = RNG.choice(["f", "m"], N), RNG.normal(40, 10, N).round(1)
HEIGHT = (165 + 12 * (SEX == "m") + RNG.normal(0, 5, N)).round(1)
WEIGHT = (60 + 0.5 * (AGE - 40) + 0.8 * (HEIGHT - 165) + RNG.normal(0, 4, N)).round(1)
FRAME = pd.DataFrame({"height": HEIGHT, "sex": SEX, "age": AGE, "weight": WEIGHT})
LINEAR = {"network": "linear", "likelihood": "gaussian", "latent": 1, "incomplete": True}


@pytest.fixture(scope="module")
def people():
    """A linear-Gaussian model of height and weight given sex and age."""
    return backstory.fit(FRAME, given=("sex", "age"), epochs=60, lr=1e-2, progress=False, **LINEAR)


@pytest.fixture(scope="module")
def plain():
    """A linear-Gaussian model of height and weight alone."""
    return backstory.fit(FRAME[["height", "weight"]], epochs=1, progress=False, **LINEAR)


@pytest.fixture(scope="module")
def digits():
    """A small model of digits given their label."""
    return backstory.fit("digits", given="label", epochs=30, hidden=(128,), latent=8, seed=0, progress=False)


@pytest.fixture(scope="module")
def pair(people):
    """An ensemble of two small models of digits given their label."""
    return backstory.fit(
        "digits", given="label", ensemble=2, epochs=1, hidden=(16,), latent=3, progress=False
    )


@pytest.fixture
def refusal():
    """The sentence of the InputError that a call raises."""

    def sentence(call, *args, **options) -> str:
        with pytest.raises(backstory.InputError) as error:
            call(*args, **options)
        return str(error.value)

    return sentence


def codes(model, values) -> torch.Tensor:
    return torch.from_numpy(encode_conditions(model.schema.conditions, values)).double()


def prepared(model, frame: pd.DataFrame) -> torch.Tensor:
    return model.schema.prepare(load(frame, schema=model.schema).values).double()


# -- closed forms -------------------------------------------------------------------------------------------


def test_the_evidence_is_that_of_the_closed_form(people) -> None:
    exact = people.exact()
    assert exact.effect.shape == (2, 3)
    given = codes(people, {"sex": FRAME["sex"], "age": FRAME["age"]})
    x = prepared(people, FRAME)
    here = exact.given(given)
    normal = torch.distributions.MultivariateNormal(exact.bias + given @ exact.effect.T, exact.covariance)
    torch.testing.assert_close(here.log_evidence(x), normal.log_prob(x))
    by_method = people.log_evidence(FRAME, method="exact").log_evidence
    torch.testing.assert_close(by_method, normal.log_prob(x), rtol=1e-4, atol=1e-4)
    estimated = people.log_evidence(FRAME, samples=2000).log_evidence
    torch.testing.assert_close(estimated.double(), normal.log_prob(x), rtol=0, atol=0.05)


def test_annealing_and_the_bracket_agree_with_the_closed_form(people) -> None:
    rows = FRAME.iloc[:8]
    exact = people.log_evidence(rows, method="exact").log_evidence
    annealed = people.log_evidence(rows, 32, method="ais", steps=50).log_evidence
    assert float((annealed - exact).abs().max()) < 0.1


def test_terms_are_those_of_the_closed_form(people) -> None:
    given = codes(people, {"sex": FRAME["sex"], "age": FRAME["age"]})
    here, terms = people.exact().given(given), people.terms(FRAME, samples=5)
    mean = here.bias + terms.z.double() @ here.weight.T
    normal = torch.distributions.Normal(mean, here.variance.sqrt())
    expected = normal.log_prob(prepared(people, FRAME)).sum(-1)
    torch.testing.assert_close(terms.log_likelihood.double(), expected, rtol=1e-4, atol=1e-4)


def test_the_posterior_is_near_the_closed_form(people) -> None:
    given = codes(people, {"sex": FRAME["sex"], "age": FRAME["age"]})
    exact = people.exact().given(given).posterior(prepared(people, FRAME)).mean
    mean = people.encode(FRAME).mean.double()
    assert float((mean - exact).abs().mean()) < 0.2


def test_missing_cells_are_restored_as_in_the_closed_form(people) -> None:
    rows = FRAME.iloc[:6].assign(weight=np.nan)
    given = codes(people, {"sex": rows["sex"], "age": rows["age"]})
    x = prepared(people, rows)
    exact = people.exact().given(given).restored(x[:, :1], torch.tensor([[1.0, 0.0]]).double())
    found = people.restore(rows, draws=1, proposals=4000)
    expected = people.schema.means(exact.mean.float())[:, 1]
    np.testing.assert_allclose(found.mean[:, 1], expected, atol=0.3)
    np.testing.assert_allclose(found.mean[:, 0], rows["height"], rtol=1e-6)
    std = exact.covariance[:, 1, 1].sqrt().numpy()
    np.testing.assert_allclose(found.std[:, 1], std, rtol=0.1)


def test_draws_follow_the_closed_form_within_the_ranges_of_training(people) -> None:
    exact = people.exact().given(codes(people, {"sex": ["m"], "age": [50]}))
    drawn = torch.from_numpy(people.sample(4000, given={"sex": "m", "age": 50}, seed=0, frame=False)).double()
    closed = torch.distributions.MultivariateNormal(exact.bias[0], exact.covariance)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        x = closed.sample((400_000,)).numpy()
    inside = np.all(
        [kind.covers(cells) for kind, cells in zip(people.schema.kinds, x.T, strict=True)], axis=0
    )
    assert 0.9 < inside.mean() < 1
    mean, std = (torch.from_numpy(part) for part in (x[inside].mean(0), x[inside].std(0)))
    assert float(((drawn.mean(0) - mean) / std).abs().max()) < 4 / 4000**0.5
    assert float((drawn.std(0) / std - 1).abs().max()) < 0.06


def test_a_model_of_x_alone_has_no_effect(plain, refusal) -> None:
    exact = LinearGaussian.of(plain.vae)
    assert exact.effect is None
    assert exact.given(None) is exact
    assert "expected no conditions" in refusal(exact.given, torch.zeros(1, 2))


def test_the_closed_form_asks_for_conditions(people, refusal) -> None:
    assert "given(c)" in refusal(people.exact().log_evidence, prepared(people, FRAME))
    assert "3 conditions" in refusal(people.exact().given, None)


# -- where conditions come from -----------------------------------------------------------------------------


def test_conditions_come_with_the_data_or_are_chosen(people, tmp_path) -> None:
    FRAME.to_csv(tmp_path / "a.csv", index=False)
    given = {"sex": FRAME["sex"], "age": FRAME["age"]}
    alone = FRAME[["height", "weight"]]
    conditioned = load(FRAME).conditioned_on("age", "sex")
    expected = people.log_evidence(FRAME, samples=5).log_evidence
    for x, chosen in (
        (tmp_path / "a.csv", None),
        (load(FRAME), None),
        (conditioned, None),
        (FRAME[["age", "weight", "sex", "height"]], None),
        (alone, given),
        (alone.to_numpy(), given),
        (FRAME, given),
        (load(FRAME), given),
    ):
        found = people.log_evidence(x, samples=5, given=chosen).log_evidence
        torch.testing.assert_close(found, expected)
    other = people.log_evidence(FRAME, samples=5, given={"sex": "m", "age": 40}).log_evidence
    assert not torch.allclose(other, expected)


def test_data_with_other_levels_is_matched_by_their_names(people, refusal) -> None:
    men = FRAME[FRAME["sex"] == "m"].assign(sex="m")
    data = load(men.assign(other=np.arange(len(men)) % 3 - 0.5), columns={"sex": "categorical"})
    assert "load(…, schema=model.schema)" in refusal(people.encode, data)


@pytest.mark.parametrize(
    ("x", "given", "sentence"),
    [
        (FRAME[["height", "weight"]].to_numpy(), None, "p(x | sex, age)"),
        (FRAME.drop(columns="sex"), None, "none called 'sex'"),
        (FRAME.assign(sex="x"), None, "levels f, m"),
        (FRAME.assign(age=np.nan), None, "must be observed"),
        (FRAME, {"sex": "m"}, "add age"),
        (FRAME, {"sex": "m", "age": 1, "size": 1}, "leave out size"),
        (FRAME, {"sex": "m", "age": "old"}, "'old'"),
        (FRAME, {"sex": ["m", "f"], "age": 40}, "one for each of 240"),
        (FRAME, "m", "by name"),
    ],
)
def test_wrong_conditions_are_refused(people, x, given, sentence, refusal) -> None:
    for question in (people.encode, people.reconstruct, people.log_evidence, people.evaluate, people.score):
        assert sentence in refusal(question, x, given=given)


def test_a_model_of_x_alone_refuses_conditions(plain, refusal) -> None:
    model = plain
    x = model.sample(3, seed=0)
    assert "model of p(x)" in refusal(model.encode, x, given={"label": 3})
    assert "model of p(x)" in refusal(model.sample, 3, given={"label": 3})
    assert "model of p(x)" in refusal(model.encode, StoredRows(x, np.ones((3, 1), np.float32)))


def test_an_array_of_labels_is_given(tmp_path) -> None:
    data = load("digits")
    options = {"epochs": 1, "hidden": (8,), "latent": 2, "progress": False}
    model = backstory.fit(data.values, tmp_path / "run", given=data.labels, **options)
    assert model.sample(2, given={"class": 7}, seed=0).shape == (2, 8, 8)
    again = backstory.fit(data.values, tmp_path / "run", given=data.labels, resume=True, progress=False)
    assert again.schema.conditions == model.schema.conditions


def test_names_of_conditions_in_fit(refusal) -> None:
    assert "sex, age" in refusal(backstory.fit, FRAME, given="label", progress=False)
    assert "left for x" in refusal(backstory.fit, FRAME, given=list(FRAME), progress=False)


# -- labels -------------------------------------------------------------------------------------------------


def test_drawn_digits_are_of_their_class(digits) -> None:
    from sklearn.linear_model import LogisticRegression

    data = load("digits")
    judge = LogisticRegression(max_iter=200).fit(data.values.reshape(len(data), -1) / 16, data.labels)
    labels = np.arange(500) % 10
    drawn = digits.sample(500, given={"label": labels}, seed=0)
    share = (judge.predict(drawn.reshape(500, -1) / 16) == labels).mean()
    assert share > 0.6


def test_the_label_is_told_by_the_evidence(digits) -> None:
    data = load("digits").subset(digits.rows(load("digits"), "test")[:50])
    each = [digits.log_evidence(data, samples=20, given={"label": k}).log_evidence for k in range(10)]
    assert float(np.mean(np.stack(each, 1).argmax(1) == data.labels)) > 0.6


def test_one_row_is_as_in_company(digits) -> None:
    data = load("digits")
    one = digits.score(data.subset(np.array([5])), data.subset(np.arange(30))).log_evidence
    some = digits.score(data.subset(np.arange(9)), data.subset(np.arange(30))).log_evidence
    np.testing.assert_allclose(one[0], some[5], rtol=1e-5)
    assert digits.encode(data.values[5:6], given={"label": 5}).mean.shape == (1, 8)
    restored = digits.restore(np.where(np.arange(8) < 4, np.nan, data.values[5:6]), given={"label": 5})
    assert restored.mean.shape == (1, 8, 8)


def test_chunks_change_nothing(digits) -> None:
    data = load("digits").subset(np.arange(7))
    whole, cut = (digits.log_evidence(data, 20, chunk=chunk).log_evidence for chunk in (None, 13))
    torch.testing.assert_close(whole, cut)
    observation = Observation(
        digits.schema.prepare(data.values), torch.from_numpy(np.eye(10, dtype=np.float32)[data.labels])
    )
    whole = log_evidence(digits.vae, observation)
    parts = [log_evidence(digits.vae, part) for part in observation.split(3)]
    torch.testing.assert_close(whole, torch.cat(parts), rtol=1e-5, atol=1e-4)


def test_a_run_is_reopened_with_its_conditions(digits, people, pair, tmp_path) -> None:
    for number, model in enumerate((digits, people, pair)):
        again = backstory.open(model.save(tmp_path / str(number)))
        assert again.schema.conditions == model.schema.conditions
        data = FRAME if model is people else load("digits").subset(np.arange(20))
        before, after = (m.evaluate(data, samples=7) for m in (model, again))
        assert before == after


def test_an_ensemble_is_told_the_conditions(pair, refusal) -> None:
    data = load("digits").subset(np.arange(5))
    assert pair.log_evidence(data, 10).log_evidence.shape == (5,)
    assert pair.encode(data).sample(3).shape == (3, 5, 6)
    assert pair.reconstruct(data.values, given={"label": data.labels}).shape == (5, 8, 8)
    assert "p(x | label)" in refusal(pair.log_evidence, data.values)
    drawn = pair.sample(5, mean=True, seed=0, given={"label": [0, 1, 2, 3, 4]})
    first = pair.members[0].sample(3, mean=True, seed=0, given={"label": [0, 2, 4]})
    np.testing.assert_array_equal(drawn[::2], first)


def test_rows_are_drawn_at_each_level(people, refusal) -> None:
    drawn = people.sample(30, each="sex", given={"age": 40}, seed=0)
    assert drawn["sex"].tolist() == ["f"] * 30 + ["m"] * 30
    assert drawn["height"][30:].mean() - drawn["height"][:30].mean() == pytest.approx(12, abs=4)
    one_by_one = people.sample(60, given={"sex": ["f"] * 30 + ["m"] * 30, "age": 40}, seed=0)
    pd.testing.assert_frame_equal(drawn, one_by_one)


def test_only_a_condition_with_levels_is_drawn_at_each(people, plain, refusal) -> None:
    assert "which are sex, got age; choose one with `each`" in refusal(people.sample, 3, each="age")
    assert "got a model of p(x)" in refusal(plain.sample, 3, each="sex")
    both = refusal(people.sample, 3, each="sex", given={"sex": "f", "age": 40})
    assert "got both; leave it out of `given`" in both
    assert "got sex; add age" in refusal(people.sample, 3, each="sex")
    assert "leave `each` out" in refusal(people.sample, 3, each="sex", where={"height": 170})


def test_files_of_draws_at_each_level(digits, tmp_path, capsys) -> None:
    run = digits.save(tmp_path / "run")
    line = ["sample", str(run), "--each", "class", "--seed", "0"]
    assert main([*line, "-n", "3", "-o", str(tmp_path / "sheet.png")]) == 0
    assert "30 draws of x, 3 of each class: 0, 1, 2" in capsys.readouterr().err
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.height == 20 * 66 + 2  # of each class a line of means and one of draws
        assert sheet.width > 3 * 66 + 2  # with their labels
    near = ["-n", "3", "--nearest", "digits", "-o", str(tmp_path / "near.png")]
    assert main([*line, *near]) == 0
    assert "of each class" in capsys.readouterr().err
    with Image.open(tmp_path / "near.png") as sheet:
        assert sheet.height == 40 * 66 + 2  # of each class a line of draws and three of images
    assert main([*line, "-o", str(tmp_path / "usual.png")]) == 0
    assert "80 draws of x, 8 of each class: 0, 1, 2" in capsys.readouterr().err
    assert main([*line, "-n", "3", "-o", str(tmp_path / "folder")]) == 0
    again = load(tmp_path / "folder")
    assert again.labels.tolist() == np.arange(10).repeat(3).astype(str).tolist()
    assert main([*line, "-n", "3", "-o", str(tmp_path / "x.npy")]) == 0
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), digits.sample(3, each="label", seed=0))


# -- training -----------------------------------------------------------------------------------------------


def test_a_run_goes_on_with_its_conditions(tmp_path, refusal) -> None:
    options = {"epochs": 2, "hidden": (8,), "latent": 2, "progress": False}
    whole = backstory.fit("digits", tmp_path / "whole", given="label", **options)
    again = backstory.fit("digits", tmp_path / "whole", resume=True, progress=False)
    assert again.schema == whole.schema
    shuffled = load("digits")
    other = backstory.fit(shuffled, given="label", **options)
    assert other.provenance.fingerprint == whole.provenance.fingerprint
    assert whole.trained_on(shuffled)
    plain = backstory.fit("digits", **options)
    assert plain.provenance.fingerprint != whole.provenance.fingerprint


@pytest.mark.parametrize("network", ["mlp", "residual", "plain", "linear", "conv", "resnet"])
def test_each_network_learns_from_conditions(network) -> None:
    given = np.arange(200) % 2
    images = (given[:, None, None] * 200 + RNG.integers(0, 50, (200, 8, 8))).astype(np.uint8)
    from backstory.data.arrays import from_array

    data = from_array(images, labels=given).conditioned_on("label")
    epochs, lr = (100, 1e-2) if network == "linear" else (20, 3e-3)
    model = backstory.fit(data, network=network, latent=1, epochs=epochs, lr=lr, progress=False)
    dark, bright = (model.sample(20, mean=True, given={"label": k}, seed=0).mean() for k in (0, 1))
    assert bright - dark > 40


def test_the_command_line(tmp_path, capsys) -> None:
    data, run = tmp_path / "a.csv", tmp_path / "run"
    gaps = FRAME.assign(weight=FRAME["weight"].where(FRAME.index % 3 > 0))
    gaps.to_csv(data, index=False)
    fit = ["fit", str(data), "-o", str(run), "--given", "sex,age", "--epochs", "1"]
    assert main([*fit, "--hidden", "8", "--latent", "1"]) == 0
    drawn = tmp_path / "s.csv"
    assert (
        main(["sample", str(run), "-o", str(drawn), "-n", "3", "--given", "sex=m", "--given", "age=40"]) == 0
    )
    assert len(pd.read_csv(drawn)) == 3
    assert main(["impute", str(run), str(data), "-o", str(tmp_path / "i.csv")]) == 0
    filled = pd.read_csv(tmp_path / "i.csv")
    assert list(filled) == list(FRAME)
    pd.testing.assert_frame_equal(filled.drop(columns="weight"), FRAME.drop(columns="weight"))
    assert filled["weight"].notna().all()
    for command in (["evaluate"], ["score", "-o", str(tmp_path / "c.csv")]):
        assert main([command[0], str(run), str(data), *command[1:]]) == 0
        assert f"given sex, age: read from {data}\n" in capsys.readouterr().err
    given = ["--given", "sex=m", "--given", "age=40"]
    assert main(["evaluate", str(run), str(data), *given]) == 0
    assert "read from" not in capsys.readouterr().err
    assert main(["classify", str(run), str(data), "-o", str(tmp_path / "p.csv")]) == 0
    assert f"given age: read from {data}\n" in capsys.readouterr().err
    assert main(["sample", str(run), "-o", str(tmp_path / "no.csv")]) == 2
    assert "--given" in capsys.readouterr().err


# -- files --------------------------------------------------------------------------------------------------

GIVEN = {"sex": "m", "age": "123456.7"}


@pytest.fixture(scope="module")
def gaps(tmp_path_factory) -> Path:
    """The table with the columns in another order, a constant column, and empty cells of weight."""
    path = tmp_path_factory.mktemp("gaps") / "gaps.csv"
    frame = FRAME.iloc[:12].assign(weight=FRAME["weight"].where(FRAME.index % 3 > 0))
    frame[["weight", "age", "sex", "height"]].to_csv(path, index=False)
    return path


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
@pytest.mark.parametrize("draws", [None, 2])
def test_imputed_rows_hold_the_conditions_that_they_were_imputed_under(
    people, gaps, tmp_path, ending, draws
) -> None:
    if ending == ".parquet":
        pytest.importorskip("pyarrow", reason="Parquet needs the extra 'parquet'")
    read = pd.read_csv if ending == ".csv" else pd.read_parquet
    output = Output(tmp_path / f"filled{ending}")
    impute(people, Source(gaps, given=GIVEN), output, RestorationSettings(draws=draws, method="encoder"))
    files = [output.path] if draws is None else [output.path, output.beside("draws").path]
    for path in files:
        filled = read(path)
        assert (filled["sex"] == "m").all()
        assert (filled["age"] == 123456.7).all()
        assert filled["weight"].notna().all()
    before = pd.read_csv(gaps)
    filled = read(output.path)
    assert list(filled) == list(before)
    np.testing.assert_array_equal(filled["height"], before["height"])


def test_a_table_without_the_columns_of_conditions_is_imputed_without_them(people, gaps, tmp_path) -> None:
    frame = pd.read_csv(gaps).drop(columns="sex")
    frame.to_csv(tmp_path / "a.csv", index=False)
    impute(people, Source(tmp_path / "a.csv", given=GIVEN), Output(tmp_path / "b.csv"))
    filled = pd.read_csv(tmp_path / "b.csv")
    assert list(filled) == list(frame)
    assert (filled["age"] == 123456.7).all()


@pytest.mark.parametrize("ending", [".csv", ".npy"])
def test_samples_and_reconstructions_have_the_conditions_in_their_places(
    people, gaps, tmp_path, ending
) -> None:
    sample(people, Output(tmp_path / f"s{ending}"), Sampling(3, conditions=GIVEN, seed=0))
    reconstruct(people, Source(gaps), Output(tmp_path / f"r{ending}"))
    if ending == ".npy":
        drawn, again = (np.load(tmp_path / f"{name}.npy") for name in "sr")
        np.testing.assert_array_equal(drawn[:, 1:3], [[1, 123456.7]] * 3)
        np.testing.assert_array_equal(again[:, 2], FRAME["age"][:12])
        return
    drawn, again = (pd.read_csv(tmp_path / f"{name}.csv") for name in "sr")
    assert list(drawn) == list(again) == list(FRAME)
    assert drawn["sex"].tolist() == ["m"] * 3
    assert drawn["age"].tolist() == [123456.7] * 3
    assert again["sex"].tolist() == FRAME["sex"][:12].tolist()
    assert again["age"].tolist() == FRAME["age"][:12].tolist()


def test_cells_of_x_and_conditions_are_given_apart(people, refusal) -> None:
    given = {"sex": "m", "age": 40}
    drawn = people.sample(4, where={"height": "170.5"}, given=given, seed=0)
    assert (drawn["height"] == 170.5).all()
    row = FRAME[["height", "weight"]].iloc[[3]].assign(weight=np.nan)
    for where in (row, row.iloc[0]):
        drawn = people.sample(2, where=where, given=given)
        assert drawn["height"].tolist() == [row.iloc[0, 0]] * 2
    assert "`given`" in refusal(people.sample, 4, where={"sex": "m"}, given=given)
    assert "one row" in refusal(people.sample, 4, where=FRAME[["height"]], given=given)


def test_evaluate_takes_its_arguments_in_the_order_of_log_evidence(people) -> None:
    signatures = [list(inspect.signature(m).parameters) for m in (people.evaluate, people.log_evidence)]
    assert signatures[0] == signatures[1]
    result = people.evaluate(FRAME.iloc[:5], 10, 0, "is", False, {"sex": "m", "age": 40})
    assert result == people.evaluate(FRAME.iloc[:5].assign(sex="m", age=40), 10)


def test_info_tells_the_conditions(people, tmp_path, capsys) -> None:
    people.save(tmp_path / "run")
    assert main(["info", str(tmp_path / "run")]) == 0
    words = " ".join(capsys.readouterr().out.split())
    assert f"sex (binary: f, m); age (continuous: {AGE.min():g} to {AGE.max():g})" in words
