"""Kinds of columns, cells to numbers and back, tables read by the schema of others."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from mixed import mixed_table

from backstory.data.load import load
from backstory.data.tables.frames import completed, to_frame
from backstory.data.tables.refill import cell_texts, refilled
from backstory.errors import InputError

KINDS = {
    **dict.fromkeys(("country", "school", "plan"), "categorical"),
    **dict.fromkeys(("member", "newsletter"), "binary"),
    **dict.fromkeys(("age", "income", "spent", "balance", "temperature", "current", "phase"), "continuous"),
    **dict.fromkeys(("joined", "last_seen"), "date"),
    "visits": "count",
    "stars": "ordinal",
}


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return mixed_table(1000, 0)


@pytest.fixture
def csv(frame, tmp_path) -> Path:
    frame.to_csv(tmp_path / "mixed.csv", index=False)
    return tmp_path / "mixed.csv"


def test_kinds_are_found_out_and_the_same_everywhere(frame, csv, monkeypatch) -> None:
    pytest.importorskip("pyarrow", reason="Parquet needs the extra 'parquet'")
    frame.to_parquet(csv.with_suffix(".parquet"), row_group_size=130)
    here = load(csv)
    assert {c.name: c.kind for c in here.schema.kinds} == KINDS
    assert {c.name: c.reason for c in here.schema.left_out} == {
        "customer_id": "identifier",
        "version": "constant",
    }
    decimals = {c.name: c.decimals for c in here.schema.kinds}
    assert (decimals["income"], decimals["temperature"], decimals["age"], decimals["balance"]) == (
        2,
        1,
        0,
        None,
    )
    monkeypatch.setattr("backstory.data.tables.text.CELLS_AT_ONCE", 2000)
    for source, stream in ((csv, True), (frame, None), (csv.with_suffix(".parquet"), True)):
        there = load(source, stream=stream)
        np.testing.assert_array_equal(there.values[:], here.values)
        assert there.schema == here.schema


def test_cells_come_back(frame, csv) -> None:
    data = load(csv)
    back = to_frame(data.values, data.schema)
    rare = ~frame["country"].isin(data.schema.kinds[0].levels) & frame["country"].notna()
    assert (back.loc[rare, "country"] == "other").all()
    frame = frame.assign(country=frame["country"].mask(rare, "other"))
    for name in back:
        left, right = back[name].astype(object), frame[name].astype(object)
        assert (left.isna() == right.isna()).all(), name
        if name in ("last_seen", "balance", "current", "phase"):
            continue
        assert (left.dropna() == right.dropna()).all(), name
    assert (back["last_seen"] == frame["last_seen"]).all()  # to the second
    np.testing.assert_array_equal(back["balance"], frame["balance"])


def test_a_table_is_read_by_the_schema_of_another(frame, csv, caplog) -> None:
    data = load(csv)
    few = frame.iloc[[5, 3, 8]].drop(columns=["customer_id", "version"])[sorted(KINDS)]
    again = load(few, schema=data.schema)
    np.testing.assert_array_equal(again.values, data.values[[5, 3, 8]])
    assert again.schema.columns == data.schema.columns
    assert not [r for r in caplog.records if "country" not in r.message]
    caplog.clear()
    odd = few.assign(country="Atlantis", plan=["basic", "free", "basic"], stars=[9, 1, 1])
    values = load(odd, schema=data.schema).values
    place = data.schema.columns.index
    assert (values[:, place("country")] == len(data.schema.kinds[0].levels) - 1).all()
    assert np.isnan(values[1, place("plan")])
    assert values[0, place("stars")] == 4
    warnings = " ".join(r.message for r in caplog.records)
    for words in (
        "'Atlantis' in row 1",
        "'free' in row 2; taken as empty",
        "'9' in row 1; taken as the nearest",
    ):
        assert words in warnings


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda t: t.drop(columns="age"), ["none called 'age'"]),
        (lambda t: t.assign(more=1), ["'more' as well"]),
        (lambda t: t.assign(income="much"), ["'much' in row 1, column 'income'"]),
        (lambda t: t.assign(visits=-1), ["counts", "-1", "row 1, column 'visits'"]),
        (lambda t: t.assign(joined="2020-02-30"), ["dates such as 2024-12-31", "row 1, column 'joined'"]),
        (lambda t: t.assign(joined="9999-12-31"), ["to 2262-04-10", "row 1, column 'joined'"]),
        (lambda t: t[:0], ["0 rows"]),
    ],
)
def test_what_another_table_must_not_hold(frame, csv, refusal, change, parts) -> None:
    schema = load(csv).schema
    sentence = refusal(load, change(frame[:5]), schema=schema)
    assert all(part in sentence for part in parts), sentence


def test_what_is_said_of_columns(frame, csv, refusal) -> None:
    said = {
        "age": "count",
        "school": "ordinal:primary,secondary,bachelor,master",
        "plan": "ignore",
        "stars": "categorical",
    }
    data = load(csv, columns=said)
    kinds = {c.name: c for c in data.schema.kinds}
    assert kinds["age"].kind == "count"
    assert kinds["school"].levels == ("primary", "secondary", "bachelor", "master")
    assert "plan" not in kinds
    assert kinds["stars"].kind == "categorical"
    assert "did you mean 'age'" in refusal(load, csv, columns={"agee": "count"})
    assert "expected one of continuous" in refusal(load, csv, columns={"age": "number"})
    assert "order of the levels" in refusal(load, csv, columns={"school": "ordinal"})
    assert "leave it out" in refusal(load, np.eye(3), columns={"age": "count"})


def test_dates_are_not_guessed(refusal, caplog) -> None:
    rows = np.arange(24)
    both = pd.DataFrame({"when": [f"{1 + i % 12:02}/{1 + i % 7:02}/2020" for i in rows], "x": rows + 0.5})
    assert load(both).schema.kinds[0].kind == "categorical"
    assert "several ways" in load(both).schema.kinds[0].note
    assert "date:FORMAT" in caplog.text
    assert "one way" in refusal(load, both, columns={"when": "date"})
    european = load(both, columns={"when": "date:%d/%m/%Y"})
    assert to_frame(european.values, european.schema)["when"].tolist() == both["when"].tolist()
    clear = both.assign(when=[f"{1 + i:02}/{1 + i % 7:02}/2020" for i in rows])
    assert load(clear).schema.kinds[0].format == "%d/%m/%Y"


def test_texts_after_numbers_are_read_as_they_stand(tmp_path, monkeypatch) -> None:
    cells = [f"{i % 3:03}" for i in range(40)] + ["A1", "B2"] * 10
    pd.DataFrame({"code": cells, "x": np.arange(60) / 4}).to_csv(tmp_path / "a.csv", index=False)
    monkeypatch.setattr("backstory.data.tables.text.CELLS_AT_ONCE", 20)
    assert load(tmp_path / "a.csv").schema.kinds[0].levels == ("000", "001", "002", "A1", "B2")


def test_types_of_a_frame_come_back(frame) -> None:
    typed = pd.DataFrame(
        {
            "size": pd.Categorical(["S", "L", "M"] * 10, ["S", "M", "L"], ordered=True),
            "color": pd.Categorical(["red", "blue", None] * 10),
            "when": pd.date_range("2020-01-01 12:34:56", periods=30, freq="h"),
            "flag": pd.array([True, None, False] * 10, "boolean"),
            "small": np.arange(30, dtype=np.float32) / 4,
        }
    )
    data = load(typed)
    kinds = [c.kind for c in data.schema.kinds]
    assert kinds == ["ordinal", "binary", "date", "binary", "continuous"]
    back = to_frame(data.values, data.schema)
    assert list(back["size"].cat.categories) == ["S", "M", "L"]
    assert back["size"].cat.ordered
    for name in typed:
        assert (back[name].astype(object).dropna() == typed[name].astype(object).dropna()).all(), name
    assert back["small"].dtype == np.float32


def test_arrow_tables(frame) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="needs the extra 'parquet'")
    data = load(pyarrow.Table.from_pandas(frame))
    np.testing.assert_array_equal(data.values, load(frame).values)
    assert data.source == "pyarrow Table"


TEXT = 'id,plan,x,note\n1,"plus, yearly", 2.50 ,"two\nlines"\n2,,,"say ""no"""\n3,free,?,plain\n'


def test_cells_are_filled_around_quotes_and_levels_stay(tmp_path) -> None:
    (tmp_path / "a.csv").write_text(TEXT)
    train = pd.DataFrame({"plan": ["basic", "plus, yearly"] * 10, "x": np.arange(20) / 4})
    schema = load(train).schema.model_copy(
        update={
            "left_out": load(train.assign(id=range(20), note=[f"n{i}" for i in range(20)])).schema.left_out
        }
    )
    data = load(tmp_path / "a.csv", schema=schema)
    fill = np.isnan(data.values)
    assert fill.tolist() == [[False, False], [True, True], [True, True]]
    values = np.where(fill, [1, 1.25], data.values)
    text = refilled(
        tmp_path / "a.csv", True, fill, cell_texts(values, fill, data.schema.kinds), data.places, fill
    )
    expected = TEXT.replace("2,,,", '2,"plus, yearly",1.25,').replace("free,?", "free,1.25")
    assert text == expected
    frame = completed(tmp_path / "a.csv", np.arange(3), values, fill, fill, data)
    assert frame["plan"].tolist() == ["plus, yearly", "plus, yearly", "free"]
    assert frame["x"].tolist() == [2.5, 1.25, 1.25]
    assert frame["note"].tolist() == ["two\nlines", 'say "no"', "plain"]


def grids(rows: int = 600) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    hours = (np.arange(24) - 11.5) / 6.92
    return pd.DataFrame(
        {
            "hour": rng.choice(hours, rows),
            "year": rng.choice([2001, 2005, 2024], rows),
            "pack": rng.choice([0, 6, 12, 24], rows),
            "count": rng.choice([0, 1, 2, 3, 90], rows, p=[0.3, 0.3, 0.2, 0.15, 0.05]),
            "age": rng.integers(18, 36, rows),
            "dose": np.round(rng.random(rows), 1),
            "free": rng.random(rows),
        }
    )


def test_few_numbers_are_a_grid_unless_they_are_all_with_so_many_decimals() -> None:
    columns = {c.name: c for c in load(grids()).schema.kinds}
    kinds = {name: column.kind for name, column in columns.items()}
    assert kinds == {
        **dict.fromkeys(("hour", "year", "pack"), "grid"),
        "count": "count",
        **dict.fromkeys(("age", "dose", "free"), "continuous"),
    }
    assert columns["pack"].values == (0, 6, 12, 24)
    said = load(grids(), columns={"hour": "continuous", "age": "grid"}).schema.kinds
    assert [c.kind for c in said if c.name in ("hour", "age")] == ["continuous", "grid"]
    assert {c.kind for c in load(grids(40)).schema.kinds if c.name == "hour"} == {"continuous"}
    with pytest.raises(InputError, match=r"different numbers in column 'free' .*got more than 100"):
        load(grids(), columns={"free": "grid"})


def test_numbers_beside_a_grid_become_the_nearest_with_a_warning(caplog) -> None:
    frame = grids()
    schema = load(frame).schema
    other = frame.iloc[:12].assign(year=[2001, np.nan, 2019, *[2005] * 9])
    found = load(other, schema=schema)
    assert np.array_equal(found.values[:3, 1], [2001, np.nan, 2024], equal_nan=True)
    assert "column 'year'" in (told := caplog.text)
    assert "'2019' in row 3" in told
    np.testing.assert_array_equal(found.values[:, 0], frame["hour"][:12])


def test_draws_of_a_grid_are_its_numbers_in_double_precision() -> None:
    schema = load(grids()).schema
    x = schema.prepare(torch.as_tensor(load(grids()).values))
    np.testing.assert_array_equal(schema.restore(x)[:, :3], grids().to_numpy()[:, :3])


def test_a_column_that_is_infinite_everywhere_is_left_out() -> None:
    left = load(grids(40).assign(hour=np.inf)).schema.left_out
    assert [(column.name, column.reason, column.text) for column in left] == [("hour", "constant", "inf")]
