"""Folders of images: what is read, what is left out, and what is told of it."""

import logging
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import backstory
from backstory.data import decoding
from backstory.data.load import load
from backstory.data.splits import split

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (6, 4)).astype(np.uint8)
COLOUR = RNG.integers(0, 256, (6, 4, 3)).astype(np.uint8)


def save(path: Path, array: np.ndarray, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return path


@pytest.fixture
def told(caplog):
    """What is told while a source is loaded."""

    def call(source, **options) -> str:
        caplog.clear()
        with caplog.at_level(logging.WARNING, "backstory"):
            load(source, **options)
        return caplog.text

    return call


@pytest.mark.parametrize("ending", ["jfif", "jpe", "tga", "ico", "webp", "dib", "pcx", "jp2", "avif"])
def test_endings_that_pillow_reads(tmp_path, ending: str) -> None:
    form = {"jfif": "JPEG", "jpe": "JPEG", "jp2": "JPEG2000", "dib": "BMP"}.get(ending, ending.upper())
    if form not in Image.SAVE:
        pytest.skip(f"this Pillow cannot write {form}")
    image = RNG.integers(0, 256, (16, 16, 3)).astype(np.uint8)
    save(tmp_path / f"a.{ending}", image, format=form)
    assert load(tmp_path).names == (f"a.{ending}",)
    assert load(tmp_path / f"a.{ending}").schema.shape[:2] == (16, 16)


def test_the_content_counts_not_the_name(tmp_path, told) -> None:
    save(tmp_path / "photo", GREY, format="PNG")
    save(tmp_path / "b.dat", GREY, format="PNG")
    (tmp_path / "notes.txt").write_text("no pixels")
    assert load(tmp_path).names == ("b.dat", "photo")
    assert load(tmp_path / "photo").schema.kind == "images"
    assert "1 file in" in told(tmp_path)
    assert "no images, 'notes.txt'" in told(tmp_path)


def test_links(tmp_path, told) -> None:
    save(tmp_path / "elsewhere" / "b.png", GREY)
    save(tmp_path / "data" / "a.png", GREY)
    (tmp_path / "data" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "round").symlink_to(tmp_path / "data")
    (tmp_path / "data" / "gone.png").symlink_to(tmp_path / "nothing.png")
    assert load(tmp_path / "data").names == ("a.png", "linked/b.png")
    assert "broken links, 'gone.png'" in told(tmp_path / "data")


@pytest.mark.parametrize("names", [("train", "test"), ("Training", "val", "testing"), ("train", "valid")])
def test_parts_of_the_data_are_no_classes(tmp_path, names) -> None:
    for part in names:
        for i, label in enumerate(("cat", "dog", "dog")):
            save(tmp_path / part / label / f"{i}.png", RNG.integers(0, 256, (4, 4)).astype(np.uint8))
    data = load(tmp_path)
    assert set(data.labels) == {"cat", "dog"}
    parts = split(data)
    expected = {"train": 3, "validation": 3 if any(n.startswith("val") for n in names) else None}
    assert len(parts.test) == (3 if any(n.lower().startswith("test") for n in names) else 0)
    if expected["validation"]:
        assert (len(parts.train), len(parts.validation)) == (3, 3)
        assert all(data.names[i].startswith("val") for i in parts.validation)
    assert len(split(data, validation=0).validation) == 0


def test_folders_that_are_classes_stay_classes(tmp_path) -> None:
    for label in ("train", "bus"):
        save(tmp_path / label / "a.png", GREY)
    data = load(tmp_path)
    assert data.labels.tolist() == ["bus", "train"]
    assert data.test_rows is None


def test_pages(tmp_path, told) -> None:
    pages = [Image.fromarray(RNG.integers(0, 256, (5, 4)).astype(np.uint8)) for _ in range(3)]
    pages[0].save(tmp_path / "a.tiff", save_all=True, append_images=pages[1:])
    save(tmp_path / "b.png", np.asarray(pages[0]))
    assert "1 of 2 images" in told(tmp_path)
    assert "several pages" in told(tmp_path)
    assert len(load(tmp_path)) == 2
    data = load(tmp_path, pages="all")
    assert data.names == ("a.0.tiff", "a.1.tiff", "a.2.tiff", "b.png")
    np.testing.assert_array_equal(data.values[:3], [np.asarray(page) for page in pages])
    assert told(tmp_path, pages="first") == ""


def test_transparency_is_told_and_can_be_kept(tmp_path, told) -> None:
    see_through = RNG.integers(0, 256, (6, 4, 4)).astype(np.uint8)
    save(tmp_path / "a.png", see_through)
    save(tmp_path / "b.png", COLOUR)
    assert "1 of 2 images" in told(tmp_path)
    assert load(tmp_path).schema.shape == (6, 4, 3)
    data = load(tmp_path, alpha="keep")
    np.testing.assert_array_equal(data.values[0], see_through)
    np.testing.assert_array_equal(data.values[1], np.dstack([COLOUR, np.full((6, 4), 255, np.uint8)]))


def png16(path: Path, array: np.ndarray) -> None:
    """A PNG of 16 bits per channel, which Pillow cannot write."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    h, w, c = array.shape
    kind = {3: 2, 4: 6}[c]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    head = struct.pack(">IIBBBBB", w, h, 16, kind, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def test_colours_of_sixteen_bits(tmp_path) -> None:
    deep = RNG.integers(0, 65536, (5, 4, 3)).astype(np.uint16)
    png16(tmp_path / "a.png", deep)
    data = load(tmp_path)
    assert data.schema.levels == 65536
    np.testing.assert_array_equal(data.values[0], deep)
    see_through = RNG.integers(0, 65536, (5, 4, 4)).astype(np.uint16)
    png16(tmp_path / "a.png", see_through)
    np.testing.assert_array_equal(load(tmp_path, alpha="keep").values[0], see_through)
    share = see_through[..., 3:] / 65535
    on_white = see_through[..., :3] * share + 65535 * (1 - share)
    np.testing.assert_allclose(load(tmp_path).values[0], on_white, atol=0.5)
    assert load(tmp_path, resize=(2, 2)).values.dtype == np.uint16


def test_depths_that_differ_are_told(tmp_path, told) -> None:
    save(tmp_path / "a.png", GREY)
    save(tmp_path / "b.png", GREY.astype(np.uint16) * 200)
    assert "of 8 and of 16 bits" in told(tmp_path)


def test_sizes_come_from_headers_and_the_limit_decodes_no_more(tmp_path, monkeypatch, refusal) -> None:
    for i in range(6):
        save(tmp_path / f"{i}.png", RNG.integers(0, 256, (4 + i % 2, 4)).astype(np.uint8))
    decoded = []
    whole = decoding.decode
    monkeypatch.setattr("backstory.data.images.decode", lambda *a: decoded.append(a[0].name) or whole(*a))
    assert "got 2 sizes" in refusal(load, tmp_path)
    assert decoded == []
    assert len(load(tmp_path, resize=4, limit=2)) == 2
    assert decoded == ["0.png", "1.png"]


def test_one_damaged_file_is_one(tmp_path, told) -> None:
    for i in range(3):
        path = save(tmp_path / f"{i}.png", RNG.integers(0, 256, (8, 8)).astype(np.uint8))
    path.write_bytes(path.read_bytes()[:30])
    assert f"1 damaged image in {tmp_path} is left out" in told(tmp_path, skip_damaged=True)


def test_all_damaged_files_are_named_and_can_be_skipped(tmp_path, refusal, told) -> None:
    for i in range(4):
        path = save(tmp_path / f"{i}.png", RNG.integers(0, 256, (64, 64)).astype(np.uint8))
        if i % 2:
            path.write_bytes(path.read_bytes()[: 30 if i == 1 else 2000])
    sentence = refusal(load, tmp_path)
    assert "1.png" in sentence or "3.png" in sentence
    assert "`skip_damaged`" in sentence
    assert load(tmp_path, skip_damaged=True).names == ("0.png", "2.png")
    assert f"2 damaged images in {tmp_path} are left out" in told(tmp_path, skip_damaged=True)
    for i in (0, 2):
        path = tmp_path / f"{i}.png"
        path.write_bytes(path.read_bytes()[:2000])
    sentence = refusal(load, tmp_path)
    assert "0.png" in sentence
    assert "2.png" in sentence
    assert "cannot be read" in refusal(load, tmp_path, skip_damaged=True)


def test_a_tiff_of_doubles_is_named_as_such(tmp_path, refusal) -> None:
    # the header of a 1 × 1 TIFF of one 64-bit float
    tags = [(256, 3, 1), (257, 3, 1), (258, 3, 64), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1)]
    tags += [(278, 4, 1), (279, 4, 8), (339, 3, 3)]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    directory = struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)
    (tmp_path / "a.tif").write_bytes(b"II*\0" + struct.pack("<I", 16) + struct.pack("<d", 0.5) + directory)
    assert "64-bit floats" in refusal(load, tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("aspect", "inside"), [("stretch", (8, 8)), ("crop", (8, 8)), ("pad", (4, 8)), (None, (8, 8))]
)
def test_aspects(tmp_path, aspect, inside) -> None:
    save(tmp_path / "a.png", np.full((16, 32), 255, np.uint8))
    data = load(tmp_path, resize=8, aspect=aspect)
    assert data.schema.shape == (8, 8)
    assert data.schema.resized == (aspect or "stretch")
    assert (data.values[0] == 255).sum() == inside[0] * inside[1]


def test_crop_takes_the_middle(tmp_path) -> None:
    image = np.zeros((16, 32), np.uint8)
    image[:, 8:24] = 200
    save(tmp_path / "a.png", image)
    assert (load(tmp_path, resize=16, aspect="crop").values == 200).all()


# -- read by a model --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("folders")
    for i in range(6):
        colour = RNG.integers(0, 256, (9, 12, 3)).astype(np.uint8)
        save(home / "colour" / f"{i}.png", colour)
        save(home / "grey" / f"{i}.png", colour[..., 0])
        save(home / "small" / f"{i}.png", colour[:6, :8, 0])
    return home


TINY = {"epochs": 1, "hidden": (8,), "latent": 2, "network": "mlp", "progress": False}


@pytest.mark.parametrize(("trained", "given"), [("colour", "grey"), ("grey", "colour")])
def test_a_model_reads_colours_and_grey_as_its_own(folders, trained: str, given: str) -> None:
    model = backstory.fit(folders / trained, **TINY)
    data = load(folders / given, schema=model.schema)
    assert data.schema.shape == model.schema.shape
    assert model.encode(folders / given).mean.shape == (6, 2)


def test_the_size_belongs_to_the_run(folders, tmp_path) -> None:
    model = backstory.fit(folders / "colour", resize=(6, 8), aspect="crop", **TINY)
    model.save(tmp_path / "run")
    model = backstory.open(tmp_path / "run")
    assert model.schema.resized == "crop"
    assert model.encode(folders / "colour").mean.shape == (6, 2)
    assert model.encode(folders / "small").mean.shape == (6, 2)


def test_a_model_that_did_not_resize_refuses_other_sizes(folders) -> None:
    model = backstory.fit(folders / "grey", **TINY)
    with pytest.raises(backstory.InputError, match="shape"):
        model.encode(folders / "small")
