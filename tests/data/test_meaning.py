"""What an array holds: as it looks, or as a person says."""

import logging

import numpy as np
import pytest
from PIL import Image

import backstory
from backstory.data.load import load
from backstory.data.write import write

RNG = np.random.default_rng(0)
BYTES = RNG.integers(0, 256, (12, 3, 10, 8)).astype(np.uint8)


def test_channels_first_become_images(tmp_path) -> None:
    data = load(BYTES, channels="first")
    assert (data.schema.kind, data.schema.shape, data.schema.levels) == ("images", (10, 8, 3), 256)
    np.testing.assert_array_equal(data.values, np.moveaxis(BYTES, 1, -1))
    write(tmp_path / "x.npy", data.values, data.schema)
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), BYTES)


def test_a_model_of_channels_first_takes_them_and_writes_them(tmp_path) -> None:
    model = backstory.fit(BYTES, kind="images", channels="first", network="conv", epochs=1, progress=False)
    np.save(tmp_path / "x.npy", BYTES)
    codes = [model.encode(x).mean for x in (BYTES, np.moveaxis(BYTES, 1, -1), tmp_path / "x.npy")]
    for other in codes[1:]:
        np.testing.assert_array_equal(codes[0], other)


@pytest.mark.parametrize(
    ("values", "options", "levels", "bounds"),
    [
        (RNG.uniform(-1, 1, (9, 5, 4)), {"kind": "images"}, None, (-1, 1)),
        (RNG.uniform(-1, 1, (9, 5, 4)), {"range": (-2, 2)}, None, (-2, 2)),
        (RNG.uniform(0, 3, (9, 5, 4)), {"range": (0, 4)}, None, (0, 4)),
        (
            RNG.integers(-1000, 3000, (9, 5, 4)).astype(np.int16),
            {"range": (-1000, 3000)},
            4001,
            (-1000, 3000),
        ),
        (RNG.integers(0, 256, (9, 5, 4, 13)).astype(np.uint8), {"kind": "images"}, 256, (0, 255)),
        (RNG.random((9, 5, 4, 2)), {"kind": "images"}, None, (0, 1)),
        (np.sign(RNG.normal(size=(9, 5, 4))), {"range": (-1, 1)}, 2, (-1, 1)),
        (RNG.random((9, 7, 5, 4)), {"channels": "first"}, None, (0, 1)),  # a volume
    ],
)
def test_images_of_any_range_and_number_of_channels(values, options, levels, bounds) -> None:
    data = load(values, **options)
    schema = data.schema
    assert (schema.kind, schema.levels, schema.bounds) == ("images", levels, bounds)
    x = schema.prepare(data.values)
    top = (levels or 0) - 1 if levels else bounds[1] - bounds[0]
    assert x.min() >= 0
    assert x.max() <= top
    np.testing.assert_allclose(schema.restore(x), data.values, atol=1e-5)


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
def test_images_from_minus_one_to_one_are_those_from_zero_to_one(likelihood: str) -> None:
    fractions = RNG.random((60, 6, 5))
    options = {"likelihood": likelihood, "epochs": 2, "hidden": (8,), "latent": 2, "progress": False}
    true = backstory.fit(fractions, **options)
    model = backstory.fit(2 * fractions - 1, range=(-1, 1), **options)
    found = true.log_evidence(fractions, samples=5).log_evidence
    # a density in numbers of twice the size is half as high
    jacobian = 0 if likelihood == "bernoulli" else fractions[0].size * np.log(2)
    here = model.log_evidence(2 * fractions - 1, samples=5).log_evidence
    np.testing.assert_allclose(here, found - jacobian, rtol=1e-3, atol=0.05)
    assert model.sample(9, mean=True, seed=0).min() < 0
    drawn = model.sample(9, seed=0)
    assert drawn.min() >= -1
    assert drawn.max() <= 1


@pytest.mark.parametrize("channels", [2, 13])
def test_pictures_of_channels_that_are_no_colours(tmp_path, channels: int) -> None:
    values = RNG.integers(0, 256, (3, 6, 5, channels)).astype(np.uint8)
    data = load(values, kind="images")
    write(tmp_path / "one.png", data.values[:1], data.schema)
    write(tmp_path / "sheet.png", data.values, data.schema)
    side = np.concatenate(list(np.moveaxis(values[0], -1, 0)), axis=1)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "one.png")), side)


def test_other_numbers_in_the_shape_of_images() -> None:
    series = RNG.random((9, 24, 4))
    assert load(series, kind="array").schema.kind == "array"
    assert load(series).schema.kind == "images"


def test_what_is_in_doubt_is_told(caplog) -> None:
    def told(values: np.ndarray, **options) -> str:
        caplog.clear()
        with caplog.at_level(logging.WARNING, "backstory"):
            load(values, **options)
        return caplog.text

    assert "give `kind` array" in told(RNG.random((9, 24, 4)))
    assert "give `kind` images" in told(BYTES)
    assert "give `kind` images" in told(RNG.normal(size=(9, 8, 8)))
    assert "taken to be -1 and 1; give `range`" in told(RNG.uniform(-1, 1, (9, 5, 4)), kind="images")
    for plain in (RNG.random((9, 8, 8)), BYTES[:, 0], np.moveaxis(BYTES, 1, -1), RNG.random((9, 4))):
        assert told(plain) == ""
    assert told(BYTES, kind="array") == ""


@pytest.mark.parametrize(
    ("values", "options", "says"),
    [
        (RNG.random((9, 4)), {"kind": "images"}, "(N, H, W)"),
        (RNG.random((9, 5, 4)), {"channels": "first"}, "(N, C, H, W)"),
        (RNG.random((9, 5, 4)), {"range": (0, 0.5)}, "from 0 to 0.5"),
        (RNG.random((9, 5, 4)), {"range": (1, 0)}, "two numbers"),
        (RNG.random((9, 5, 4)), {"kind": "volume"}, "images or array"),
        (RNG.random((9, 5, 4)), {"alpha": "keep"}, "`alpha`"),
        (RNG.random((9, 5, 4)), {"colour": "yes"}, "'colour'"),
        ("digits", {"pages": "all"}, "`pages`"),
    ],
)
def test_what_an_array_cannot_be(refusal, values, options, says) -> None:
    assert says in refusal(load, values, **options)
