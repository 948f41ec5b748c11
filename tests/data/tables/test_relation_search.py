"""Relations that hold in tables are found, and those that hold by chance are not."""

import numpy as np
import pandas as pd
import pytest

import backstory
from backstory.data.load import load


def found(frame: pd.DataFrame, **options) -> list[str]:
    return [relation.text for relation in load(frame, **options).schema.related.all]


RNG = np.random.default_rng(0)
N = 600
START = pd.Timestamp("2024-01-01") + pd.to_timedelta(RNG.integers(0, 40_000, N), "min")
A, B, C = RNG.normal(50, 9, N).round(2), np.exp(RNG.normal(2, 0.5, N)).round(2), RNG.integers(0, 7, N)
ZONES = np.array([f"zone {k}" for k in range(30)])
BOROUGHS = dict(zip(ZONES, RNG.choice(["X", "Y", "Z"], 30), strict=True))
ZONE = RNG.choice(ZONES, N)
HEIGHT = RNG.normal(1.7, 0.1, N).round(2)
WEIGHT = (23 * HEIGHT**2 * np.exp(RNG.normal(0, 0.15, N))).round(1)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"start": START, "end": START + pd.to_timedelta(RNG.integers(2, 40, N), "min")}, "end >= start"),
        ({"low": A, "high": (A + B).round(2)}, "high >= low"),
        ({"zone": ZONE, "borough": pd.Series(ZONE).map(BOROUGHS)}, "zone -> borough"),
        ({"a": A, "b": B, "total": (A + B).round(2)}, "total = a + b"),
        ({"gross": A, "tax": B, "net": (A - B).round(2)}, "gross = tax + net"),
        ({"a": A, "b": B, "c": C, "total": (A + B + C).round(2)}, "total = a + b + c"),
        (
            {"weight": WEIGHT, "height": HEIGHT, "bmi": (WEIGHT / HEIGHT**2).round(1)},
            "bmi = weight / height^2",
        ),
        (
            {"kg": WEIGHT, "cm": (100 * HEIGHT).round(), "bmi": (WEIGHT / HEIGHT**2).round(1)},
            "bmi = 10000 * kg / cm^2",
        ),
        ({"net": A, "vat": (0.19 * A).round(2)}, "vat = 0.19 * net"),
        ({"a": A, "again": A}, "again = a"),
    ],
)
def test_a_relation_is_found(columns, expected):
    assert found(pd.DataFrame(columns)) == [expected]


def test_an_order_with_the_same_distance_everywhere_is_a_sum():
    frame = pd.DataFrame({"start": START, "end": START + pd.Timedelta(6, "h")})
    assert found(frame) == ["end = start + 0.25"]


def test_points_of_a_questionnaire_add_up():
    items = {f"q{k}": RNG.integers(1, 5, N) for k in range(4)}
    frame = pd.DataFrame({**items, "points": np.sum(list(items.values()), axis=0)})
    assert found(frame) == ["points = q0 + q1 + q2 + q3"]
    assert load(frame).schema.columns == tuple(items)


def test_a_column_that_a_level_empties():
    status = RNG.choice(["single", "married", "widowed"], N)
    age = np.where(status == "married", RNG.integers(20, 80, N), np.nan)
    assert found(pd.DataFrame({"status": status, "age": age})) == [
        "age is empty if status = single or widowed"
    ]


def test_rare_cities_have_their_country_too():
    cities = [f"city {k}" for k in range(120)]
    share = 1 / np.arange(1, 121) ** 1.2
    city = RNG.choice(cities, 1500, p=share / share.sum())
    frame = pd.DataFrame({"city": city, "country": [f"land {int(c.split()[1]) % 7}" for c in city]})
    data = load(frame)
    assert data.schema.kinds[0].rare
    assert [relation.text for relation in data.schema.related.all] == ["city -> country"]


def test_a_chain_of_columns_that_determine_each_other_has_one_root():
    frame = pd.DataFrame({"region": ZONE, "zone": ZONE})
    frame["borough"] = frame.zone.map(BOROUGHS)
    frame["region"] = frame.borough.map({"X": "north", "Y": "south", "Z": "south"})
    assert sorted(found(frame)) == ["zone -> borough", "zone -> region"]


@pytest.mark.parametrize(
    "columns",
    [
        {"small": RNG.random(N), "large": 10 + RNG.random(N)},  # ranges that do not meet
        {"a": RNG.normal(size=40), "b": 9 + RNG.normal(size=40)},  # few rows
        {"x": A, "y": np.append((A + B)[:-1], 0.0)},  # one row breaks it
        {"key": RNG.permutation(N), "value": RNG.choice(["u", "v"], N)},  # nothing repeats
        {"zone": ZONE, "borough": np.append(pd.Series(ZONE).map(BOROUGHS)[:-1], "W")},
        {"a": A, "b": B, "total": (A + B).round(1)},
        {"a": A, "b": B, "c": C},
    ],
)
def test_what_holds_by_chance_or_nearly_is_no_relation(columns):
    assert set(found(pd.DataFrame(columns))) <= {"total >= a"}  # which is true in all rows


def test_an_order_with_many_single_gaps_is_left_out():
    end = pd.Series(START + pd.to_timedelta(RNG.integers(2, 40, N), "min"))
    frame = pd.DataFrame({"start": START, "end": end})
    frame.loc[RNG.random(N) < 0.02, "start"] = pd.NaT
    assert found(frame) == ["end >= start"]
    frame.loc[RNG.random(N) < 0.2, "start"] = pd.NaT
    frame.loc[RNG.random(N) < 0.2, "end"] = pd.NaT
    assert found(frame) == []
    frame.loc[frame.end.isna(), "start"] = pd.NaT
    frame.loc[frame.start.isna(), "end"] = pd.NaT  # the gaps coincide
    assert found(frame) == ["end >= start"]


def test_relations_that_are_not_wanted():
    frame = pd.DataFrame({"zone": ZONE, "borough": pd.Series(ZONE).map(BOROUGHS), "low": A, "high": A + B})
    assert found(frame) == ["zone -> borough", "high >= low"]
    assert found(frame, relations=False) == []
    assert found(frame, no_relation=["all"]) == []
    assert found(frame, no_relation=["zone -> borough"]) == ["high >= low"]
    assert found(frame, no_relation=["high"]) == ["zone -> borough"]


def test_no_relation_leaves_the_table_as_it_was():
    frame = pd.DataFrame({"a": A, "zone": ZONE, "c": C})
    with_search, without = load(frame), load(frame, relations=False)
    np.testing.assert_array_equal(with_search.values, without.values)
    assert with_search.schema == without.schema
    assert not with_search.schema.related


def test_conditions_take_part_in_no_relation():
    frame = pd.DataFrame({"zone": ZONE, "borough": pd.Series(ZONE).map(BOROUGHS), "a": A})
    model = backstory.fit(frame, given="zone", epochs=1, progress=False)
    assert not model.schema.related
    with pytest.raises(backstory.InputError, match="take part in no relation"):
        load(frame).conditioned_on("zone")


GAPS = pd.DataFrame({"start": START, "end": START + pd.to_timedelta(RNG.integers(2, 40, N), "min"), "a": A})
GAPS = GAPS.mask(RNG.random(GAPS.shape) < 0.3)


def test_a_relation_that_gaps_forbid_is_named(caplog):
    assert found(GAPS) == []
    (message,) = caplog.messages
    rows = GAPS[["start", "end"]].notna().all(axis=1).sum()
    assert message.startswith(f"not kept: end >= start holds in all {rows} rows with its cells")
    assert "`constraints` 'end >= start' keeps it" in message


@pytest.mark.parametrize(
    ("gaps", "dependent"), [(["start"], "start"), (["end"], "end"), ([], "end"), (["start", "end"], "end")]
)
def test_an_order_is_stored_in_place_of_the_column_with_gaps(gaps, dependent, caplog):
    """So that a column without gaps stays one, and the relation is kept."""
    frame = pd.DataFrame({"start": START, "end": START + pd.to_timedelta(RNG.integers(2, 40, N), "min")})
    gone = RNG.random(N) < 0.3
    for name in gaps:
        frame.loc[gone, name] = None
    schema = load(frame).schema
    (relation,) = schema.related.all
    assert (relation.text, relation.dependent) == ("end >= start", dependent)
    assert not caplog.messages
    missing = {column.name: column.missing for column in schema.kinds}
    assert missing == {name: pytest.approx(gone.mean() if name in gaps else 0) for name in missing}
    model = backstory.fit(frame, epochs=1, progress=False)
    for table in (model.sample(100, seed=0), model.impute(frame), model.reconstruct(frame)):
        assert (table["end"] >= table["start"]).all()
    full = model.impute(frame)
    assert (full["end"] == frame["end"])[frame["end"].notna()].all()
    assert load(frame, constraints=["end >= start"]).schema.related.all[0].dependent == dependent


@pytest.mark.parametrize("options", [{"constraints": ["end >= start"]}, {"no_relation": ["end >= start"]}])
def test_nothing_is_named_that_a_person_has_decided_on(options, caplog):
    assert found(GAPS, **options) == options.get("constraints", [])
    assert not caplog.messages
