import gzip
from pathlib import Path

import pytest

from backstory.errors import InputError
from backstory.files import atomic_path, check_writable, format_of, reading


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("a.npy", "npy"),
        ("a.NPZ", "npz"),
        ("a.npy.gz", "npy"),
        ("a.csv.gz", "csv"),
        ("train-images-idx3-ubyte", "idx"),
        ("train-images.idx3-ubyte.gz", "idx"),
        ("faces.idx", "idx"),
        ("faces.idx.gz", "idx"),
        ("folder", ""),
        ("folder.v2", "v2"),
    ],
)
def test_format(name: str, form: str) -> None:
    assert format_of(Path("somewhere") / name) == form


def test_atomic_path(tmp_path) -> None:
    with atomic_path(tmp_path / "new" / "report.html") as temporary:
        assert temporary.parent == tmp_path / "new"
        assert temporary.name.endswith("report.html")
        temporary.write_text("hello")
        assert not (tmp_path / "new" / "report.html").exists()
    assert left(tmp_path) == ["new", "report.html"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_atomic_path_cleans_up_after_any_error(tmp_path, error: type[BaseException]) -> None:
    (tmp_path / "a.json").write_text("old")
    with pytest.raises(error), atomic_path(tmp_path / "a.json", force=True) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise error
    assert (tmp_path / "a.json").read_text() == "old"
    assert left(tmp_path) == ["a.json"]


def test_atomic_path_refuses_before_the_work(tmp_path) -> None:
    (tmp_path / "a.json").write_text("old")

    with pytest.raises(InputError, match="`force`"), atomic_path(tmp_path / "a.json"):
        raise AssertionError("the block must not run")
    with pytest.raises(InputError, match="`force`"):
        check_writable(tmp_path / "a.json")
    check_writable(tmp_path / "a.json", force=True)
    with pytest.raises(InputError, match="a part of the path is a file"):
        check_writable(tmp_path / "a.json" / "b.json")


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_text_in_another_encoding_is_refused_with_its_line(tmp_path, name: str) -> None:
    content = "a,b\n1,größe\n".encode("latin-1")
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    expected = pytest.raises(InputError, match=r"expected a table in UTF-8 text, .* line 2 of")
    with expected, reading(tmp_path / name, "a table"):
        content.decode()


def test_missing_files_and_foreign_content(tmp_path) -> None:
    with pytest.raises(InputError, match="No such file"), reading(tmp_path / "a", "a table"):
        (tmp_path / "a").read_bytes()
    with pytest.raises(InputError, match=r"as a table \(odd\); check"), reading(tmp_path / "a", "a table"):
        raise ValueError("odd.")
