"""Small files of every format, and damaged copies of them: each is a function of its number alone."""

import gzip
import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from backstory.data.idx import write_idx

RNG = np.random.default_rng(0)
NUMBERS = RNG.normal(size=(30, 3))
BYTES = RNG.integers(0, 256, (6, 5, 4)).astype(np.uint8)
COLOUR = RNG.integers(0, 256, (12, 9, 3)).astype(np.uint8)


def table() -> pd.DataFrame:
    n = 40
    return pd.DataFrame(
        {
            "age": RNG.integers(18, 90, n),
            "income": np.where(RNG.random(n) < 0.2, np.nan, RNG.normal(1e4, 1e3, n).round(2)),
            "town": RNG.choice(["Ulm", "Bonn", "Köln"], n),
            "day": pd.Timestamp("2020-01-01") + pd.to_timedelta(RNG.integers(0, 300, n), "D"),
            "member": RNG.random(n) < 0.5,
        }
    )


def _npy(array: np.ndarray, **options) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, **options)
    return file.getvalue()


def _npz(method: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr("x.npy", _npy(NUMBERS))
        archive.writestr("y.npy", _npy(np.arange(30)))
    return file.getvalue()


def _text(separator: str) -> bytes:
    return table().to_csv(index=False, sep=separator).encode()


def _parquet() -> bytes:
    file = io.BytesIO()
    table().to_parquet(file, index=False)
    return file.getvalue()


def _idx(values: np.ndarray) -> bytes:
    file = io.BytesIO()
    write_idx(file, values)
    return file.getvalue()


def _image(array: np.ndarray, form: str, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, form, **options)
    return file.getvalue()


def _pages(form: str) -> bytes:
    file = io.BytesIO()
    pages = [Image.fromarray(page) for page in BYTES]
    pages[0].save(file, form, save_all=True, append_images=pages[1:])
    return file.getvalue()


def files() -> dict[str, bytes]:
    """Small files by name."""
    contents = {
        "a.npy": _npy(NUMBERS),
        "fortran.npy": _npy(np.asfortranarray(NUMBERS)),
        "bytes.npy": _npy(BYTES),
        "version2.npy": _npy(NUMBERS.astype("f4"), version=(2, 0)),
        "a.npz": _npz(zipfile.ZIP_STORED),
        "deflated.npz": _npz(zipfile.ZIP_DEFLATED),
        "lzma.npz": _npz(zipfile.ZIP_LZMA),
        "a.csv": _text(","),
        "a.tsv": _text("\t"),
        "numbers.csv": "\n".join(",".join(map(str, row)) for row in NUMBERS.tolist()).encode(),
        "a.parquet": _parquet(),
        "a.idx": _idx(BYTES),
        "train-images-idx3-ubyte": _idx(BYTES),
        "a.png": _image(COLOUR, "PNG"),
        "deep.png": _image(COLOUR[..., 0].astype(np.uint16) * 200, "PNG"),
        "a.jpg": _image(COLOUR, "JPEG"),
        "a.gif": _pages("GIF"),
        "a.tif": _pages("TIFF"),
        "lzw.tif": _image(COLOUR, "TIFF", compression="tiff_lzw"),
        "float.tif": _image(NUMBERS.astype(np.float32), "TIFF"),
        "a.bmp": _image(COLOUR, "BMP"),
        "a.webp": _image(COLOUR, "WEBP"),
        "a.tga": _image(COLOUR, "TGA"),
        "a.ico": _image(np.repeat(np.repeat(COLOUR[:8, :8], 2, 0), 2, 1), "ICO"),
        "a.ppm": _image(COLOUR, "PPM"),
    }
    for name in ("a.npy", "a.csv", "a.idx", "train-images-idx3-ubyte"):
        contents[name + ".gz"] = gzip.compress(contents[name], mtime=0)
    return contents


CELLS = (
    *(b"1e298", b"-1e308", b"1e400", b"nan", b"inf", b"-0", b"1" + b"0" * 400, b"0x1F", b"1_000", b"'", b'"'),
    *(
        b"\x00",
        b"\x1b[31m",
        b"\xff\xfe",
        b"\r",
        b"\n",
        b",",
        b",,,",
        b"2020-13-45",
        b"9999-12-31",
        b"1677-01-01",
    ),
    *("٣".encode(), "½".encode(), b"True", b"None", b"#N/A", b"x" * 3000, b"1e-320", b"12:60"),
)
HEADERS = (
    b"{'descr': '<f8', 'fortran_order': False, 'shape': (30, 3), ",
    b"{b'descr': '<f8', 'fortran_order': False, 'shape': (30, 3), }",
    b"{'descr': '<f8', 'fortran_order': False, 'shape': (True, 4), }",
    b"{'descr': '<f8', 'fortran_order': False, 'shape': (-1, 3), }",
    b"{'descr': '<f8', 'fortran_order': False, 'shape': (10**30, 3), }",
    b"{'descr': '<f8', 'fortran_order': False, 'shape': (999999999999999999999, 3), }",
    b"{'descr': '<f8', 'fortran_order': 3, 'shape': (30, 3), }",
    b"{'descr': '|V8', 'fortran_order': False, 'shape': (30, 3), }",
    b"{'descr': [('a', '<f4'), ('b', '<f4')], 'fortran_order': False, 'shape': (30, 3), }",
    b"{'descr': 'O', 'fortran_order': False, 'shape': (30, 3), }",
    b"{'descr': '<M8[D]', 'fortran_order': False, 'shape': (30, 3), }",
    b"{'descr': '<U5', 'fortran_order': False, 'shape': (30, 3), }",
    b"{'descr': '<f16', 'fortran_order': False, 'shape': (30, 3), }",
    b"{'descr': 'rubbish', 'fortran_order': False, 'shape': (30, 3), }",
    b"{'descr': '<f8', 'fortran_order': False, 'shape': 3, }",
    b"{'descr': '<f8', 'fortran_order': False, 'shape': (), }",
    b"{'descr': '<f8', 'fortran_order': False, 'shape': (0, 3), }",
    b"{'descr': ('<f8', (2,)), 'fortran_order': False, 'shape': (30, 3), }",
    b"(" * 300,
    b"[" * 60000,
    b"{'descr': '<f8', 'fortran_order': False, 'shape': (30, 3), 'more': 1}",
    b"{}",
    b"None",
    b"\xff\xfe",
)


def _flip(content: bytearray, rng: np.random.Generator) -> bytearray:
    for _ in range(int(rng.integers(1, 9))):
        content[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
    return content


def _flip_early(content: bytearray, rng: np.random.Generator) -> bytearray:
    for _ in range(int(rng.integers(1, 5))):
        content[int(rng.integers(min(len(content), 128)))] = int(rng.integers(256))
    return content


def _truncate(content: bytearray, rng: np.random.Generator) -> bytearray:
    return content[: int(rng.integers(len(content)))]


def _insert(content: bytearray, rng: np.random.Generator) -> bytearray:
    at = int(rng.integers(len(content)))
    return content[:at] + rng.bytes(int(rng.integers(1, 64))) + content[at:]


def _remove(content: bytearray, rng: np.random.Generator) -> bytearray:
    at = int(rng.integers(len(content)))
    return content[:at] + content[at + int(rng.integers(1, 32)) :]


def _numbers(content: bytearray, rng: np.random.Generator) -> bytearray:
    """An extreme number at some place, in either order of bytes."""
    size, code = [(2, "H"), (4, "I"), (8, "Q")][int(rng.integers(3))]
    value = [0, 1, 2 ** (8 * size) - 1, 2 ** (8 * size - 1), 2 ** (8 * size - 1) - 1, 255][
        int(rng.integers(6))
    ]
    at = int(rng.integers(max(1, min(len(content), 2000) - size)))
    content[at : at + size] = struct.pack("<>"[int(rng.integers(2))] + code, value)
    return content


def _cell(content: bytearray, rng: np.random.Generator) -> bytearray:
    """Hostile texts in place of cells; of other files than texts, somewhere."""
    for _ in range(int(rng.integers(1, 4))):
        places = [i for i, byte in enumerate(content) if byte in b",\t\n"] or [
            int(rng.integers(len(content) + 1))
        ]
        at = places[int(rng.integers(len(places)))] + 1
        end = next((i for i in places if i >= at), at)
        content[at:end] = CELLS[int(rng.integers(len(CELLS)))]
    return content


def _header(content: bytearray, rng: np.random.Generator) -> bytearray:
    """Another header of an .npy; of other files, their beginning twice."""
    start = bytes(content).find(b"\x93NUMPY")
    if start < 0 or start + 10 > len(content):
        return content[: int(rng.integers(1, 64))] + content
    (length,) = struct.unpack_from("<H", content, start + 8)
    header = HEADERS[int(rng.integers(len(HEADERS)))]
    header = header[:65000] + b" " * 3 + b"\n"
    content[start + 8 : start + 10 + length] = struct.pack("<H", len(header)) + header
    return content


MUTATIONS: tuple[Callable[[bytearray, np.random.Generator], bytearray], ...] = (
    *(_flip, _flip_early, _truncate, _insert, _remove, _numbers, _cell, _header),
)


def damaged(number: int, contents: dict[str, bytes]) -> tuple[str, bytes]:
    """The name and content of the damaged file with this number."""
    rng = np.random.default_rng(number)
    name = sorted(contents)[number % len(contents)]
    content = contents[name]
    inner = name.endswith(".gz") and rng.random() < 0.6  # damage what is packed
    content = bytearray(gzip.decompress(content) if inner else content)
    for _ in range(int(rng.integers(1, 3))):
        if content:
            content = MUTATIONS[int(rng.integers(len(MUTATIONS)))](content, rng)
    return name, gzip.compress(bytes(content), mtime=0) if inner else bytes(content)


def write_damaged(folder: Path, number: int, contents: dict[str, bytes]) -> Path:
    """The damaged file with this number, in a folder."""
    name, content = damaged(number, contents)
    path = folder / name
    path.write_bytes(content)
    return path
