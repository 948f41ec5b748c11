from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from backstory.data import decoding
from backstory.data.load import load
from backstory.data.pictures import contact_sheet, labelled, pixels, write_image
from backstory.data.schema import Schema

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (6, 4)).astype(np.uint8)
COLOUR = RNG.integers(0, 256, (6, 4, 3)).astype(np.uint8)
DEEP = RNG.integers(0, 65536, (6, 4)).astype(np.uint16)
ALPHA = np.array([[0, 255, 255, 0]] * 6, np.uint8)


def save(path: Path, array: np.ndarray, convert: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(array)
    (image.convert(convert) if convert else image).save(path)
    return path


def one(path: Path) -> np.ndarray:
    return load(path).values[0]


def mode(path: Path) -> str:
    with Image.open(path) as image:
        return image.mode


@pytest.mark.parametrize("shape", [(8, 8), (28, 20), (1, 1), (3, 50), (6, 4, 3), (1, 1, 3)])
@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "PNG"])
def test_lossless_formats(tmp_path, shape: tuple[int, ...], suffix: str) -> None:
    values = RNG.integers(0, 256, (3, *shape)).astype(np.uint8)
    for i, value in enumerate(values):
        save(tmp_path / f"{i}.{suffix}", value)
    dataset = load(tmp_path)
    np.testing.assert_array_equal(dataset.values, values)
    assert dataset.schema.kind == "images"
    assert dataset.schema.maximum == 255
    assert dataset.labels is None
    assert dataset.names == tuple(f"{i}.{suffix}" for i in range(3))


def test_jpeg_is_near(tmp_path) -> None:
    smooth = np.outer(np.arange(16), np.arange(16)).astype(np.uint8)
    save(tmp_path / "a.jpg", smooth)
    assert abs(one(tmp_path / "a.jpg").astype(int) - smooth).max() < 8


def test_single_image(tmp_path) -> None:
    dataset = load(save(tmp_path / "a.png", GREY))
    np.testing.assert_array_equal(dataset.values, GREY[None])
    assert dataset.names == ("a.png",)
    assert dataset.schema.levels == 256


def test_black_and_white(tmp_path) -> None:
    bits = RNG.random((5, 7)) > 0.5
    Image.fromarray(bits).save(tmp_path / "a.png")
    assert mode(tmp_path / "a.png") == "1"
    dataset = load(tmp_path)
    np.testing.assert_array_equal(dataset.values[0], np.where(bits, 255, 0))
    assert (dataset.schema.levels, dataset.schema.maximum, dataset.schema.dtype) == (2, 255, "uint8")


def test_dark_grey_keeps_the_full_range(tmp_path) -> None:
    schema = load(save(tmp_path / "a.png", GREY // 8)).schema
    assert (schema.levels, schema.maximum) == (256, 255)


def test_sixteen_bits(tmp_path) -> None:
    dataset = load(save(tmp_path / "a.png", DEEP))
    np.testing.assert_array_equal(dataset.values[0], DEEP)
    assert (dataset.schema.dtype, dataset.schema.levels, dataset.schema.maximum) == ("uint16", 65536, 65535)
    save(tmp_path / "b.tif", DEEP.astype(np.int32))
    np.testing.assert_array_equal(one(tmp_path / "b.tif"), DEEP)


def test_more_than_sixteen_bits(refusal, tmp_path) -> None:
    sentence = refusal(load, save(tmp_path / "a.tif", DEEP.astype(np.int32) * 100))
    assert "16 bits" in sentence
    assert "a.tif" in sentence


def test_floating_point(tmp_path) -> None:
    values = RNG.random((6, 4)).astype(np.float32)
    dataset = load(save(tmp_path / "a.tif", values))
    np.testing.assert_array_equal(dataset.values[0], values)
    assert (dataset.schema.kind, dataset.schema.levels, dataset.schema.maximum) == ("images", None, 1)


def test_transparency_is_laid_on_white(tmp_path) -> None:
    grey = save(tmp_path / "la.png", np.dstack([GREY, ALPHA]))
    assert mode(grey) == "LA"
    np.testing.assert_array_equal(one(grey), np.where(ALPHA == 0, 255, GREY))
    colour = save(tmp_path / "rgba.png", np.dstack([COLOUR, ALPHA]))
    np.testing.assert_array_equal(one(colour), np.where(ALPHA[..., None] == 0, 255, COLOUR))
    half = save(tmp_path / "half.png", np.dstack([GREY * 0, ALPHA * 0 + 51]))
    assert (one(half) == 204).all()
    Image.fromarray(GREY).save(tmp_path / "key.png", transparency=int(GREY[0, 0]))
    np.testing.assert_array_equal(one(tmp_path / "key.png"), np.where(GREY[0, 0] == GREY, 255, GREY))


def test_palettes(tmp_path) -> None:
    np.testing.assert_array_equal(one(save(tmp_path / "grey.gif", GREY)), GREY)
    few = COLOUR // 128 * 255
    palette = save(tmp_path / "colour.png", few, convert="P")
    assert mode(palette) == "P"
    assert one(palette).shape == (6, 4, 3)


def test_cmyk(tmp_path) -> None:
    values = one(save(tmp_path / "a.tif", COLOUR, convert="CMYK"))
    np.testing.assert_array_equal(values, COLOUR)


def test_upright(tmp_path) -> None:
    image = Image.fromarray(GREY)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter: what is stored lies on its side
    image.save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(one(tmp_path / "a.png"), np.rot90(GREY, -1))


def test_any_colour_image_makes_all_colour(tmp_path) -> None:
    save(tmp_path / "a.png", GREY)
    save(tmp_path / "b.png", COLOUR)
    save(tmp_path / "c.png", DEEP)
    values = load(tmp_path).values
    assert values.dtype == np.uint16
    np.testing.assert_array_equal(values[0], np.dstack([GREY.astype(np.uint16) * 257] * 3))
    np.testing.assert_array_equal(values[1], COLOUR.astype(np.uint16) * 257)
    np.testing.assert_array_equal(values[2], np.dstack([DEEP] * 3))


def test_any_deep_image_makes_all_deep(tmp_path) -> None:
    save(tmp_path / "a.png", GREY)
    save(tmp_path / "b.png", DEEP)
    values = load(tmp_path).values
    np.testing.assert_array_equal(values, [GREY.astype(np.uint16) * 257, DEEP])


def test_floats_among_levels(refusal, tmp_path) -> None:
    save(tmp_path / "a.png", GREY)
    save(tmp_path / "b.tif", RNG.random((6, 4)).astype(np.float32))
    assert "one kind" in refusal(load, tmp_path)


def test_sub_folders_are_labels(tmp_path) -> None:
    for name in (
        "dog/1.png",
        "cat/2.png",
        "cat/deep/3.png",
        "cat/.hidden.png",
        ".git/4.png",
    ):
        save(tmp_path / "x.png", GREY)
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "x.png").rename(tmp_path / name)
    (tmp_path / "cat" / "notes.txt").write_text("these are no pixels")
    dataset = load(tmp_path)
    assert dataset.names == ("cat/2.png", "cat/deep/3.png", "dog/1.png")
    assert dataset.labels.tolist() == ["cat", "cat", "dog"]


def test_mixed_sizes(refusal, tmp_path) -> None:
    for i in range(3):
        save(tmp_path / f"a{i}.png", GREY)
    save(tmp_path / "b.png", GREY[:5])
    sentence = refusal(load, tmp_path)
    assert "2 sizes (height x width) 6 x 4: 3 (such as a0.png), 5 x 4: 1 (such as b.png)" in sentence
    assert "`resize`" in sentence


def test_many_sizes(refusal, tmp_path) -> None:
    for i in range(1, 21):
        save(tmp_path / f"{i}.png", np.zeros((i, 2), np.uint8))
    assert "12 more sizes" in refusal(load, tmp_path)


@pytest.mark.parametrize("resize", [6, (6, 9)])
@pytest.mark.parametrize("array", [GREY, COLOUR, DEEP, RNG.random((5, 5)).astype(np.float32)])
def test_resize(tmp_path, array: np.ndarray, resize) -> None:
    suffix = "tif" if array.dtype == np.float32 else "png"
    save(tmp_path / f"a.{suffix}", array)
    save(tmp_path / f"b.{suffix}", array[:4])
    dataset = load(tmp_path, resize=resize)
    height, width = (6, 6) if resize == 6 else resize
    assert dataset.values.shape == (2, height, width, *array.shape[2:])
    assert dataset.values.dtype == array.dtype
    assert array.min() <= dataset.values.min() <= dataset.values.max() <= array.max()


def test_resize_takes_means(tmp_path) -> None:
    for array in (
        np.kron([[0, 255], [255, 0]], np.ones((4, 4))).astype(np.uint8),
        np.full((8, 8), 500, np.uint16),
    ):
        assert one(save(tmp_path / "a.png", array)).mean() == pytest.approx(array.mean())
        small = load(tmp_path / "a.png", resize=1).values
        assert small[0, 0, 0] == pytest.approx(array.mean(), abs=1)


def test_empty_folder(refusal, tmp_path) -> None:
    sentence = refusal(load, tmp_path)
    assert "empty folder" in sentence
    assert str(tmp_path) in sentence
    (tmp_path / ".hidden.png").write_bytes(b"")
    (tmp_path / "sub").mkdir()
    assert "empty folder" in refusal(load, tmp_path)


def test_folder_of_other_files(refusal, tmp_path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    sentence = refusal(load, tmp_path)
    assert "only other files ('notes.txt')" in sentence
    save(tmp_path / "a.png", GREY)
    assert load(tmp_path).names == ("a.png",)


@pytest.mark.parametrize("content", [b"hello, I am text\n", b"", b"\x89PNG\r\n\x1a\n", b"P5 4 6 255\n123"])
def test_not_an_image(refusal, tmp_path, content: bytes) -> None:
    save(tmp_path / "a.png", GREY)
    (tmp_path / "b.png").write_bytes(content)
    for source in (tmp_path, tmp_path / "b.png"):
        assert str(tmp_path / "b.png") in refusal(load, source)


def test_text_renamed_to_png(refusal, tmp_path) -> None:
    (tmp_path / "b.png").write_text("hello")
    sentence = refusal(load, tmp_path)
    assert "expected an image" in sentence
    assert "remove it" in sentence


def test_truncated_image(refusal, tmp_path) -> None:
    path = save(tmp_path / "a.png", RNG.integers(0, 256, (64, 64)).astype(np.uint8))
    path.write_bytes(path.read_bytes()[:2000])
    assert "cannot read the image" in refusal(load, tmp_path)


def test_enormous_image(refusal, tmp_path, monkeypatch) -> None:
    save(tmp_path / "a.png", GREY)
    monkeypatch.setattr(decoding, "MOST_PIXELS", 5)
    assert "a.png, got 4 × 6; make the image smaller" in refusal(load, tmp_path)


def test_pixels() -> None:
    levels = Schema(kind="images", shape=(1, 3), dtype="uint8", levels=17, maximum=16)
    assert pixels(np.array([[[0, 8, 16]]], np.uint8), levels).tolist() == [[[0, 128, 255]]]
    fractions = Schema(kind="images", shape=(1, 4), dtype="float64", maximum=1)
    assert pixels(np.array([[[-1, 0.5, 2, np.nan]]]), fractions).tolist() == [[[0, 128, 255, 0]]]
    booleans = Schema(kind="images", shape=(1, 2), dtype="bool", levels=2, maximum=1)
    assert pixels(np.array([[[False, True]]]), booleans).tolist() == [[[0, 255]]]


@pytest.mark.parametrize("shape", [(6, 4), (6, 4, 1), (6, 4, 3), (6, 4, 4), (1, 1)])
def test_png_holds_all_channels(tmp_path, shape: tuple[int, ...]) -> None:
    value = RNG.integers(0, 256, shape).astype(np.uint8)
    schema = Schema(kind="images", shape=shape, dtype="uint8", levels=256, maximum=255)
    with (tmp_path / "a.png").open("wb") as handle:
        write_image(handle, value, schema)
    with Image.open(tmp_path / "a.png") as image:
        np.testing.assert_array_equal(np.asarray(image).reshape(shape), value)


@pytest.mark.parametrize("channels", [(), (1,), (3,), (4,)])
def test_contact_sheet(channels: tuple[int, ...]) -> None:
    rows = RNG.integers(0, 256, (5, 3, 2, *channels)).astype(np.uint8)
    sheet = np.asarray(contact_sheet(rows, columns=2, scale=3))
    assert sheet.shape == (3 * (9 + 2) + 2, 2 * (6 + 2) + 2, *[c for c in channels if c > 1])
    for i, row in enumerate(rows):
        top, left = 2 + 11 * (i // 2), 2 + 8 * (i % 2)
        np.testing.assert_array_equal(
            sheet[top + 1 : top + 9 : 3, left + 1 : left + 6 : 3].reshape(row.shape), row
        )
    assert sheet[0, 0].reshape(-1)[0] == sheet[-1, -1].reshape(-1)[0] == 128


@pytest.mark.parametrize("channels", [(), (3,), (4,)])
def test_labels_stand_beside_their_lines(channels: tuple[int, ...]) -> None:
    rows = RNG.integers(0, 256, (6, 20, 20, *channels)).astype(np.uint8)
    sheet = contact_sheet(rows, columns=2)
    beside = np.asarray(labelled(sheet, ["first", "", "third one"]))
    margin = beside.shape[1] - sheet.width
    np.testing.assert_array_equal(beside[:, margin:], np.asarray(sheet))
    lines = beside[: len(beside) // 3 * 3, :margin].reshape(3, -1)
    assert [bool((line < 128).any()) for line in lines] == [True, False, True]


@pytest.mark.parametrize(
    ("count", "height", "width"), [(64, 8, 8), (1, 8, 8), (100, 28, 20), (3, 1, 90), (50, 1, 1)]
)
def test_sheet_is_nearly_square_and_visible(count: int, height: int, width: int) -> None:
    sheet = contact_sheet(np.zeros((count, height, width), np.uint8))
    if count >= 50:
        assert 0.7 < sheet.width / sheet.height < 1.5
    assert max(sheet.size) >= 64
