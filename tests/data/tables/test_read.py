import builtins
import gzip

import numpy as np
import pandas as pd
import pytest

from backstory.data.load import load
from backstory.data.tables import summary

TEXT = "age,height,member\n30,1.75,True\n41,,False\n52,1.5,True\n"
VALUES = np.array([[30, 1.75, 1], [41, np.nan, 0], [52, 1.5, 1]])


def table(tmp_path, text: str, name: str = "a.csv"):
    content = text.encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    return tmp_path / name


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.tsv", "a.tsv.gz"])
def test_text_table(tmp_path, name: str) -> None:
    dataset = load(table(tmp_path, TEXT.replace(",", "\t") if "tsv" in name else TEXT, name))
    np.testing.assert_array_equal(dataset.values, VALUES)
    assert dataset.incomplete
    schema = dataset.schema
    assert (schema.kind, schema.shape, schema.dtype) == ("table", (3,), "float64")
    assert schema.columns == ("age", "height", "member")
    assert schema.integer_columns == ("age", "member")
    assert schema.header
    assert schema.levels is None


def test_frame_and_parquet(tmp_path) -> None:
    pytest.importorskip("pyarrow", reason="Parquet needs the extra 'parquet'")
    frame = pd.DataFrame({"age": [30, 41, 52], "height": [1.75, np.nan, 1.5], "member": [True, False, True]})
    frame.index = [7, 8, 9]
    frame.to_parquet(tmp_path / "a.parquet")
    for source in (frame, tmp_path / "a.parquet"):
        dataset = load(source)
        np.testing.assert_array_equal(dataset.values, VALUES)
        assert dataset.schema.columns == ("age", "height", "member")
        assert dataset.schema.integer_columns == ("age", "member")


def test_frame_types() -> None:
    frame = pd.DataFrame(
        {
            "nullable": pd.array([1, None, 3], dtype="Int64"),
            "boolean": pd.array([True, None, False], dtype="boolean"),
            "text": ["1", "2.5", None],
            "objects": np.array([True, None, False], dtype=object),
            "narrow": np.array([1, 2, 3], np.float32),
            5: [1, 2, 3],
        }
    )
    dataset = load(frame)
    nan = np.nan
    np.testing.assert_array_equal(
        dataset.values, [[1, 1, 1, 1, 1, 1], [nan, nan, 2.5, nan, 2, 2], [3, 0, nan, 0, 3, 3]]
    )
    assert dataset.schema.integer_columns == ("nullable", "boolean", "objects", "5")


def test_first_row_of_numbers_is_data(tmp_path) -> None:
    for text in ("1,-2.5,3e-4\n4,5,6\n", "1,,3e-4\n4,5,6\n"):
        dataset = load(table(tmp_path, text))
        assert not dataset.schema.header
        assert dataset.schema.columns == ("column_1", "column_2", "column_3")
        assert dataset.values.shape == (2, 3)
        assert dataset.values[0, 2] == 3e-4
    assert load(table(tmp_path, "a,2\n4,5\n")).schema.header


@pytest.mark.parametrize("cell", ["", " ", "NA", "nan", "NULL"])
def test_empty_cells(tmp_path, cell: str) -> None:
    dataset = load(table(tmp_path, f"a,b\n1,{cell}\n2,3\n"))
    assert np.argwhere(np.isnan(dataset.values)).tolist() == [[0, 1]]
    assert dataset.schema.integer_columns == ("a", "b")


def test_texts_of_every_kind_of_computer(tmp_path) -> None:
    for text in (
        "\ufeffa,b\n1,2\n",
        "a,b\r\n1,2\r\n",
        '"a","b"\n"1","2"\n',
        "\n\na , b\n\n 1, 2\n",
        "a,b\n1,2",
    ):
        dataset = load(table(tmp_path, text))
        assert dataset.schema.columns == ("a", "b")
        assert dataset.values.tolist() == [[1, 2]]


def test_numbers_are_read_exactly(tmp_path) -> None:
    values = np.random.default_rng(0).normal(size=(200, 2)) * 10.0 ** np.arange(-163, 37)[:, None]
    text = "a,b\n" + "".join(f"{x!r},{y!r}\n" for x, y in values.tolist())
    np.testing.assert_array_equal(load(table(tmp_path, text)).values, values)


def test_binary_table(tmp_path) -> None:
    schema = load(table(tmp_path, "a,b\n0,1\n1,\n")).schema
    assert (schema.levels, schema.maximum) == (2, 1)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a,b\n1,2\n3,oak\n4,elm\n", ["'oak'", "row 2, column 'b'", "drop the column"]),
        ("a,b\n1,2\n3,1.2.3\n", ["'1.2.3'", "row 2"]),
        ("a,b\nTrue,2\n7,3\n", ["'True'", "row 1, column 'a'"]),
        ("1,2\n3,oak\n", ["'oak'", "row 2, column 'column_2'"]),
        ("a,b\n1,2\n1," + "x" * 100 + "\n", ["x" * 40 + "…"]),
        ("a,b\n1,inf\n", ["inf", "row 1, column 'b'", "replace"]),
        ("a,b\n1,2\n3,-Infinity\n", ["-inf", "row 2, column 'b'"]),
        ("a,b\n", ["2 columns and 0 rows", "give it some rows"]),
        ("", ["empty file"]),
        ("\n\n", ["empty file"]),
        ("a,b\n1,2\n3,4,5\n", ["2 cells", "line 3"]),
        ("a,b\n1,2,3\n3,4,5\n", ["2 cells", "first rows"]),
        ("1,2\n3,4,5\n", ["2 cells", "line 2"]),
    ],
)
def test_refused_tables(refusal, tmp_path, text: str, parts: list[str]) -> None:
    path = table(tmp_path, text)
    sentence = refusal(load, path)
    assert str(path) in sentence
    assert all(part in sentence for part in parts), sentence


def test_wrong_encoding(refusal, tmp_path) -> None:
    (tmp_path / "a.csv").write_bytes(
        "größe,ort,b\n1,Zürich,2\n2,Köln,\n3,Köln,\xff\n".encode().replace(b"\xc3\xbf", b"\xff")
    )
    assert "UTF-8 text, got other bytes in line 4" in refusal(load, tmp_path / "a.csv")
    (tmp_path / "b.csv").write_bytes("größe,b\n1,2\n".encode())
    assert "ascii" in refusal(load, tmp_path / "b.csv", encoding="ascii")
    assert "utf-8 or cp1252" in refusal(load, tmp_path / "b.csv", encoding="latin-99")


def test_binary_file_named_csv(refusal, tmp_path) -> None:
    (tmp_path / "a.csv").write_bytes(bytes(range(256)) * 9)
    refusal(load, tmp_path / "a.csv")
    (tmp_path / "a.csv.gz").write_bytes(b"a,b\n1,2\n")
    assert "complete" in refusal(load, tmp_path / "a.csv.gz")


@pytest.mark.parametrize(
    ("frame", "parts"),
    [
        (pd.DataFrame({"c": [1j]}), ["'c'", "complex"]),
        (pd.DataFrame({"c": [b"raw", b"bytes"]}), ["b'raw'", "row 1, column 'c'"]),
        (pd.DataFrame({"c": [[1], [2]]}), ["'[1]'", "row 1, column 'c'"]),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), ["'a' more than once"]),
        (pd.DataFrame(), ["0 columns and 0 rows"]),
    ],
)
def test_refused_frames(refusal, frame: pd.DataFrame, parts: list[str]) -> None:
    sentence = refusal(load, frame)
    assert all(part in sentence for part in parts), sentence


def test_damaged_parquet(refusal, tmp_path) -> None:
    pytest.importorskip("pyarrow", reason="Parquet needs the extra 'parquet'")
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and nothing else")
    assert "Parquet" in refusal(load, tmp_path / "a.parquet")


def test_parquet_without_pyarrow(refusal, tmp_path, monkeypatch) -> None:
    def without_pyarrow(name: str, *args, **kwargs):
        if name.split(".")[0] in ("pyarrow", "fastparquet"):
            raise ImportError(f"No module named {name!r}")
        return real(name, *args, **kwargs)

    real = builtins.__import__
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    monkeypatch.setattr(builtins, "__import__", without_pyarrow)
    assert "pip install 'backstory[parquet]'" in refusal(load, tmp_path / "a.parquet")


def test_whole_columns_are_restored_as_whole(tmp_path) -> None:
    dataset = load(table(tmp_path, TEXT))
    x = dataset.schema.prepare(dataset.values)
    x = x + 0.3
    restored = dataset.schema.restore(x)
    np.testing.assert_array_equal(restored[:, [0, 2]], VALUES[:, [0, 2]])
    assert np.nanmax(restored[:, 1]) == np.nanmax(VALUES[:, 1])  # none lies beyond those that were seen
    doubles = x.double()
    before = doubles.clone()
    dataset.schema.restore(doubles)
    assert (doubles[:, 0] == before[:, 0]).all()  # the argument is left alone


def test_real_tables(shared) -> None:
    wine = load(shared / "uci" / "wine.csv.gz")
    assert wine.values.shape == (1599, 12)
    assert not wine.schema.header
    assert wine.values[0, :2].tolist() == [-1.1196, 0.0021795]
    np.testing.assert_allclose(wine.values.mean(axis=0), 0, atol=1e-3)
    assert load(shared / "uci" / "bike.csv.gz").values.shape == (17379, 17)  # a column comes twice


def test_names_that_count_from_zero_are_a_header(tmp_path):
    path = tmp_path / "plain.csv"
    pd.DataFrame(np.arange(6.0).reshape(3, 2) + 0.5).to_csv(path, index=False)
    data = load(path)
    assert data.schema.columns == ("0", "1")
    assert data.schema.header
    assert len(data) == 3


def test_a_table_is_read_as_numbers_for_a_model_of_an_array(tmp_path):
    """Levels are told apart by their cells in tables alone; an array has the numbers themselves."""
    x = np.random.default_rng(0).choice([5.0, 7.0], (30, 2)) + np.array([0, 0.5])
    pd.DataFrame(x, columns=["a", "b"]).to_csv(tmp_path / "x.csv", index=False)
    assert load(tmp_path / "x.csv").values[:, 0].max() == 1
    schema = load(x).schema
    assert np.array_equal(load(tmp_path / "x.csv", schema=schema).values, x)


def test_numbers_that_are_no_levels_are_refused(refusal):
    frame = pd.DataFrame({"a": [5, 7] * 10, "b": np.arange(20) / 7})
    schema = load(frame).schema
    schema.check(load(frame).values)
    sentence = refusal(schema.check, frame.to_numpy())
    assert "levels, 0 to 1, in column 'a', got 5" in sentence


def test_very_many_columns_are_refused_at_once(refusal, tmp_path) -> None:
    (tmp_path / "wide.csv").write_text(",".join(f"c{j}" for j in range(100_000)) + "\n")
    assert "save their numbers as .npy" in refusal(load, tmp_path / "wide.csv")


def test_a_cell_of_megabytes(tmp_path, capfd) -> None:
    rows = "".join(f"{i / 2},x{i % 3}\n" for i in range(50))
    (tmp_path / "big.csv").write_text("a,b\n" + rows + "1.5," + "y" * 3_000_000 + "\n")
    data = load(tmp_path / "big.csv")
    summary.show(data.schema)
    assert len(capfd.readouterr().err) < 2000


def test_control_characters_of_a_file_do_not_reach_the_terminal(tmp_path, capfd, refusal) -> None:
    rows = "".join(f"{i / 2},x\x1b[2J{i % 3}\n" for i in range(50))
    (tmp_path / "a.csv").write_text("na\x1b[31mme,b\n" + rows)
    data = load(tmp_path / "a.csv")
    summary.show(data.schema)
    assert "\x1b[31m" not in capfd.readouterr().err
    (tmp_path / "b.csv").write_text("a\n1\n3\n\x1b[2J\n")
    assert "\\x1b" in refusal(load, tmp_path / "b.csv")


@pytest.mark.parametrize("cell", ["1" + "0" * 400, "1e298", "-1e200"])
def test_numbers_beyond_single_precision(refusal, tmp_path, cell: str) -> None:
    (tmp_path / "a.csv").write_text(
        "a,b\n" + "".join(f"{i}.5,{i * i}.25\n" for i in range(30)) + f"{cell},2\n"
    )
    assert "row 31, column 'a'" in refusal(load, tmp_path / "a.csv")
    assert "up to 1e+38" in refusal(load, np.full((3, 2), 1e298))


def test_columns_of_arrow(tmp_path) -> None:
    pytest.importorskip("pyarrow")
    days = pd.Series(pd.date_range("2020-01-01", periods=40))
    plain = pd.DataFrame({"day": days, "count": np.arange(40) % 7, "yes": np.arange(40) % 2 == 0})
    types = {"day": "date32[pyarrow]", "count": "int64[pyarrow]", "yes": "bool[pyarrow]"}
    packed = plain.astype(types)
    packed.loc[3, "day"] = None
    data, expected = load(packed), load(plain)
    assert [c.kind for c in data.schema.kinds] == [c.kind for c in expected.schema.kinds]
    np.testing.assert_array_equal(data.values[4:], expected.values[4:])
    assert np.isnan(data.values[3, 0])


def test_one_column_is_no_table(refusal) -> None:
    assert ".to_frame()" in refusal(load, pd.Series([1.0, 2.0]))


def test_the_training_table_has_no_unknown_levels(tmp_path, caplog) -> None:
    rng = np.random.default_rng(0)
    towns = np.where(rng.random(500) < 0.1, [f"village {i}" for i in range(500)], rng.choice(["A", "B"], 500))
    frame = pd.DataFrame({"town": towns, "size": rng.normal(size=500)})
    schema = load(frame).schema
    assert schema.kinds[0].rare
    caplog.clear()
    load(frame, schema=schema)
    assert caplog.text == ""
    load(frame.assign(town=frame["town"].replace("A", "elsewhere")), schema=schema)
    assert "that the model does not know" in caplog.text
