"""Labels and columns as conditions: to numbers and back, one row, unknown levels, missing values."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from backstory.cli.text import _condition
from backstory.data.conditions import (
    Condition,
    chosen_conditions,
    decode_conditions,
    encode_conditions,
    of_column,
    with_levels,
)
from backstory.data.dataset import Dataset
from backstory.data.load import load
from backstory.data.rows import FileRows
from backstory.data.schema import Schema
from backstory.data.splits import split
from backstory.data.stated_values import names_and_values, with_values
from backstory.data.tables.columns import Column

RNG = np.random.default_rng(0)
ROWS = 60
FRAME = pd.DataFrame(
    {
        "sex": RNG.choice(["f", "m"], ROWS),
        "age": RNG.normal(40, 10, ROWS).round(1),
        "city": RNG.choice(["Bonn", "Jena", "Ulm"], ROWS),
        "income": RNG.normal(3, 1, ROWS),
        "member": RNG.random(ROWS) < 0.5,
        "since": pd.date_range("2020-01-01", periods=ROWS, freq="D"),
    }
)


def one_hot(texts: list[str], levels: list[str]) -> np.ndarray:
    return np.array([[text == level for level in levels] for text in texts], np.float32)


def test_levels_and_numbers_come_back() -> None:
    sex, age = Condition(name="sex", levels=("f", "m")), Condition(name="age", location=40.0, scale=10.0)
    given = encode_conditions([sex, age], {"age": [35, 50.5], "sex": ["m", "f"]})
    np.testing.assert_array_equal(given, np.float32([[0, 1, -0.5], [1, 0, 1.05]]))
    assert given.dtype == np.float32
    back = decode_conditions([sex, age], given)
    assert back["sex"].tolist() == ["m", "f"]
    np.testing.assert_allclose(back["age"], [35, 50.5], rtol=1e-6)


def test_one_value() -> None:
    digit = Condition(name="label", levels=tuple("0123456789"))
    for three in (3, 3.0, "3", " 3 ", np.uint8(3)):
        np.testing.assert_array_equal(digit.encode([three]), np.eye(10, dtype=np.float32)[[3]])
    assert digit.width == 10


@pytest.mark.parametrize("values", [{}, {"sex": ["f"]}, {"sex": ["f"], "age": [1], "city": ["Bonn"]}])
def test_values_of_other_conditions_are_refused(values, refusal) -> None:
    conditions = [Condition(name="sex", levels=("f", "m")), Condition(name="age")]
    assert "conditions sex, age" in refusal(encode_conditions, conditions, values)


def test_an_unknown_level_is_refused_with_the_known_ones(refusal) -> None:
    sentence = refusal(Condition(name="sex", levels=("f", "m")).encode, ["f", "x"])
    assert "levels f, m" in sentence
    assert "'x'" in sentence
    assert "number" in refusal(Condition(name="age").encode, ["old"])


@pytest.mark.parametrize("missing", [None, np.nan, "", " ", pd.NA, pd.NaT])
@pytest.mark.parametrize("condition", [Condition(name="a", levels=("f", "m")), Condition(name="a")])
def test_conditions_must_be_observed(missing, condition, refusal) -> None:
    known = "f" if condition.levels else 1
    sentence = refusal(condition.encode, [known, missing])
    assert "conditions must be observed" in sentence
    assert "row 2" in sentence


def test_labels_become_a_condition() -> None:
    digits = load("digits")
    data = digits.conditioned_on("label")
    (condition,) = data.schema.conditions
    counts = np.bincount(digits.labels[data.training_rows], minlength=10)
    np.testing.assert_allclose(condition.shares, (counts + 1) / (counts.sum() + 10))
    assert (condition.name, condition.levels, condition.known) == ("label", tuple("0123456789"), 1.0)
    np.testing.assert_array_equal(data.given, np.eye(10, dtype=np.float32)[digits.labels])
    assert data.values is digits.values
    assert data.schema.model_copy(update={"conditions": ()}) == digits.schema
    assert data.schema.condition_width == 10


def test_labels_with_fractions_are_a_number_without_the_test_rows() -> None:
    labels = np.array([1.5, 2.0, 2.5, 99.0])
    data = Dataset(RNG.normal(size=(4, 2)), load(np.eye(2)).schema, labels=labels, test_rows=np.array([3]))
    condition = data.conditioned_on("label").schema.conditions[0]
    assert (condition.location, condition.scale) == (2.0, pytest.approx(labels[:3].std()))


def test_folders_of_images_are_levels(tmp_path, refusal) -> None:
    for name in ("cat/1.png", "cat/2.png", "dog/1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(RNG.integers(0, 256, (4, 4)).astype(np.uint8)).save(tmp_path / name)
    data = load(tmp_path).conditioned_on("label")
    np.testing.assert_array_equal(data.given, one_hot(["cat", "cat", "dog"], ["cat", "dog"]))
    again = load(tmp_path, schema=data.schema)
    np.testing.assert_array_equal(again.given, data.given)
    (tmp_path / "dog").rename(tmp_path / "wolf")
    assert "levels cat, dog" in refusal(load, tmp_path, schema=data.schema)
    (tmp_path / "wolf" / "1.png").rename(tmp_path / "1.png")
    outside = load(tmp_path).conditioned_on("label")  # an image outside of the folders has no class
    assert np.isnan(outside.given).all(axis=1).tolist() == [name == "1.png" for name in outside.names]
    assert outside.schema.conditions[0].known == pytest.approx(2 / 3)


def test_columns_leave_x() -> None:
    whole = load(FRAME)
    data = whole.conditioned_on("sex", "age", "since")
    assert data.schema.columns == ("city", "income", "member")
    assert data.schema.shape == (3,)
    assert data.schema.integer_columns == ("member",)
    assert data.places == (2, 3, 4)
    np.testing.assert_array_equal(data.values, whole.values[:, 2:5])
    np.testing.assert_array_equal(data.given[:, :2], one_hot(FRAME["sex"].tolist(), ["f", "m"]))
    standardised = (FRAME["age"] - FRAME["age"].mean()) / FRAME["age"].std(ddof=0)
    np.testing.assert_allclose(data.given[:, 2], standardised, rtol=1e-5)
    cells = {"sex": FRAME["sex"], "age": FRAME["age"], "since": FRAME["since"].dt.strftime("%Y-%m-%d")}
    np.testing.assert_allclose(encode_conditions(data.schema.conditions, cells), data.given, atol=1e-6)
    assert Schema.model_validate_json(data.schema.model_dump_json()) == data.schema
    assert data.schema.unconditioned == whole.schema


def test_one_after_another_is_both_at_once() -> None:
    both, whole = load(FRAME).conditioned_on("sex", "age"), load(FRAME)
    one = whole.conditioned_on("sex").conditioned_on("age")
    assert one.schema == both.schema
    np.testing.assert_array_equal(one.given, both.given)
    np.testing.assert_array_equal(one.values, both.values)


@pytest.mark.parametrize("ending", [".csv", ".csv headless", ".parquet"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_table_is_read_with_the_conditions_of_a_model(tmp_path, ending: str, stream: bool) -> None:
    frame = FRAME[["age", "income"]].assign(more=RNG.normal(size=ROWS))
    path = tmp_path / f"a{ending.split()[0]}"
    if ending == ".parquet":
        pytest.importorskip("pyarrow", reason="Parquet needs the extra 'parquet'")
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, header=ending == ".csv")
    names = ("column_1", "column_3") if ending == ".csv headless" else ("age", "more")
    data = load(path, stream=stream).conditioned_on(*names)
    assert isinstance(data.values, FileRows) == stream
    again = load(path, schema=data.schema)
    assert again.schema == data.schema
    np.testing.assert_array_equal(again.given, data.given)
    np.testing.assert_array_equal(again.values, data.values[:])
    assert again.places == data.places == (1,)


def test_another_table_with_other_cells(refusal, caplog) -> None:
    schema = load(FRAME).conditioned_on("city", "age").schema
    some = FRAME.iloc[[4]]
    assert load(some, schema=schema).given.shape == (1, 4)
    sentence = refusal(load, some.assign(city="Rom"), schema=schema)
    assert "levels Bonn, Jena, Ulm" in sentence
    assert "'Rom'" in sentence
    assert "row 1" in sentence
    assert "conditions must be observed" in refusal(load, some.assign(city=None), schema=schema)
    assert "conditions must be observed" in refusal(load, some.assign(age=np.nan), schema=schema)
    assert "none called 'city'" in refusal(load, some.drop(columns="city"), schema=schema)


def test_conditions_stay_with_their_rows() -> None:
    data = load(FRAME).conditioned_on("sex", "age")
    rows = split(data).validation
    part = data.subset(rows)
    np.testing.assert_array_equal(part.given, data.given[rows])
    np.testing.assert_array_equal(part.values, data.values[rows])
    mixed = load(FRAME[sorted(FRAME)[::-1]], schema=load(FRAME).schema).conditioned_on("sex", "age")
    ordered = mixed.in_file_order()
    assert ordered.schema.columns == ("since", "member", "income", "city")
    np.testing.assert_array_equal(ordered.given, mixed.given)
    np.testing.assert_array_equal(mixed.given, data.given)


def test_a_part_of_the_observations() -> None:
    data = load("digits").conditioned_on("label")
    part = data.subset(np.array([7, 3]))
    np.testing.assert_array_equal(part.values, data.values[[7, 3]])
    np.testing.assert_array_equal(part.labels, data.labels[[7, 3]])
    np.testing.assert_array_equal(part.given, data.given[[7, 3]])
    assert part.test_rows is None
    assert part.schema == data.schema


def test_binary_columns_that_remain_are_binary_data() -> None:
    frame = FRAME[["sex", "member", "age"]]
    without = load(frame[["sex", "member"]]).schema
    schema = load(frame).conditioned_on("age").schema
    assert (schema.levels, schema.maximum) == (without.levels, without.maximum) == (2, 1)
    assert schema.unconditioned == load(frame).schema


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ((), "names among sex, age, city, income, member, since for `given`, got none; choose one of these"),
        (("sex", "sex"), "each condition of data frame once, got sex, sex"),
        (("label", "age"), "got label; choose one of these"),
        (("sexx",), "got sexx; did you mean 'sex'?"),
        (("key",), "got 'key', which is left out (identifier); choose among sex, age"),
    ],
)
def test_names_of_conditions(names, words, refusal) -> None:
    keyed = FRAME.assign(key=[f"k{i:03d}" for i in range(len(FRAME))])
    assert words in refusal(load(keyed).conditioned_on, *names)


def test_a_model_without_levels_has_none_to_choose(refusal) -> None:
    assert refusal(with_levels, [], None) == (
        "expected a model with a condition that has levels, got a model of p(x); train one with `given`"
    )


def test_data_without_labels_or_columns_for_x(refusal) -> None:
    assert "data with labels" in refusal(load(np.eye(5)).conditioned_on, "label")
    assert "left for x" in refusal(load(FRAME).conditioned_on, *FRAME)
    label = Condition(name="label", levels=("a",))
    assert "expected labels" in refusal(load(np.eye(5)).conditioned_as, [label])


def test_a_missing_cell_is_refused_with_its_row(refusal) -> None:
    data = load(FRAME.assign(age=FRAME["age"].where(FRAME.index != 7)))
    sentence = refusal(data.conditioned_on, "age")
    assert "row 8" in sentence
    assert "must be observed" in sentence


def test_infinite_conditions_are_refused(refusal) -> None:
    sentence = refusal(Condition(name="age").encode, ["1", "inf"])
    assert "finite number" in sentence
    assert "inf" in sentence


def test_conditions_far_outside_the_training_range_are_told_once(caplog) -> None:
    schema = load(FRAME).conditioned_on("age", "since").schema
    near = {"age": FRAME["age"].max() + 1, "since": "2020-02-01"}
    chosen_conditions(schema.conditions, near, 3)
    assert not caplog.records
    chosen_conditions(schema.conditions, {"age": 400, "since": "2031-05-06"}, 3)
    age, since = [record.getMessage() for record in caplog.records]
    assert f"'age' was from {FRAME['age'].min():g} to {FRAME['age'].max():g} in training, and is 400" in age
    assert "'since' was from 2020-01-01 to 2020-02-29 in training, and is 2031-05-06" in since


def test_a_missing_column_of_a_condition_may_be_given(refusal) -> None:
    schema = load(FRAME).conditioned_on("sex").schema
    assert "`given`" in refusal(load, FRAME.drop(columns="sex"), schema=schema)


def test_stored_numbers_of_conditions_are_exact() -> None:
    data = load(FRAME.assign(age=FRAME["age"] + 123456.78)).conditioned_on("age", "sex")
    np.testing.assert_array_equal(data.stated[:, 0], FRAME["age"] + 123456.78)
    np.testing.assert_array_equal(data.subset(np.array([3, 1])).stated, data.stated[[3, 1]])


# -- values in Python ---------------------------------------------------------------------------------------


def test_values_are_conditions_as_columns_and_labels_are() -> None:
    digits = load("digits")
    here = with_values(digits, {"class": digits.labels})
    np.testing.assert_array_equal(here.given, digits.conditioned_on("class").given)
    assert here.schema == digits.conditioned_on("class").schema
    both = with_values(digits, {"kind": np.array(["a", "b", "b"] * 599), "size": np.arange(1797) + 0.5})
    assert [c.name for c in both.schema.conditions] == ["kind", "size"]
    assert both.given.shape == (1797, 3)
    assert both.schema.conditions[0].levels == ("a", "b")


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"class": np.arange(3)}, "for each of 60 observations"),
        ({"age": np.arange(60)}, "no column"),
        ({"class": np.full(60, np.nan)}, "in some of the rows"),
    ],
)
def test_wrong_values_are_refused(values, sentence, refusal) -> None:
    assert sentence in refusal(with_values, load(FRAME), values)


def test_names_and_values() -> None:
    assert names_and_values(None) == (None, None)
    names, values = names_and_values(FRAME[["sex", "age"]])
    assert names == ["sex", "age"]
    np.testing.assert_array_equal(values["sex"], FRAME["sex"])
    assert names_and_values([1, 2, 2])[0] == ["class"]


def test_labels_have_two_names() -> None:
    digit = load("digits").conditioned_on("class").schema.conditions
    for name in ("class", "label"):
        np.testing.assert_array_equal(chosen_conditions(digit, {name: 3}, 1), np.eye(10)[[3]])


def test_days_of_a_condition_are_those_of_its_time_zone(caplog) -> None:
    """The first hour of a day in Tokyo is in the day before in UTC."""
    column = Column(name="start", kind="date", cells="date", dtype="datetime64[ns, Asia/Tokyo]")
    condition = of_column(column, 0, np.array([1.99, 5.99]))
    condition.encode_stored(np.array([90.99]), "a.csv")
    assert "was from 1970-01-03 to 1970-01-07 in training, and is 1970-04-02" in caplog.text
    assert _condition(condition.model_dump()) == "start (date: 1970-01-03 to 1970-01-07)"
