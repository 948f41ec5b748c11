"""Tables that are read by the schema of another."""

import numpy as np
import pytest

from backstory.data.load import load


def test_a_table_is_read_by_the_schema_of_another(frame, csv, caplog) -> None:
    data = load(csv)
    few = frame.iloc[[5, 3, 8]].drop(columns=["customer_id", "version"])[sorted(data.schema.columns)]
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


def test_numbers_beside_a_grid_become_the_nearest_with_a_warning(grids, caplog) -> None:
    frame = grids()
    schema = load(frame).schema
    other = frame.iloc[:12].assign(year=[2001, np.nan, 2019, *[2005] * 9])
    found = load(other, schema=schema)
    assert np.array_equal(found.values[:3, 1], [2001, np.nan, 2024], equal_nan=True)
    assert "column 'year'" in (told := caplog.text)
    assert "'2019' in row 3" in told
    np.testing.assert_array_equal(found.values[:, 0], frame["hour"][:12])


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda t: t.drop(columns="age"), ["none called 'age'"]),
        (lambda t: t.assign(income="much"), ["'much' in row 1, column 'income'"]),
        (lambda t: t.assign(visits=-1), ["counts", "-1", "row 1, column 'visits'"]),
        (lambda t: t.assign(joined="2020-02-30"), ["dates such as 2024-12-31", "row 1, column 'joined'"]),
        (lambda t: t.assign(joined="99999-12-31"), ["dates such as", "row 1, column 'joined'"]),
        (lambda t: t[:0], ["0 rows"]),
    ],
)
def test_what_another_table_must_not_hold(frame, csv, refusal, change, parts) -> None:
    schema = load(csv).schema
    sentence = refusal(load, change(frame[:5]), schema=schema)
    assert all(part in sentence for part in parts), sentence


def test_other_columns_are_named_and_left_out(frame, csv, caplog):
    data = load(csv)
    again = load(frame[:20].assign(more=1, again="a"), schema=data.schema)
    np.testing.assert_array_equal(again.values, data.values[:20])
    assert "the columns 'more', 'again' of data frame were not in the training table" in caplog.text
