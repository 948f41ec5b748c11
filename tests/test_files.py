import errno
import gzip
import os
from pathlib import Path

import pytest

from backstory.errors import InputError
from backstory.files import (
    CannotWrite,
    atomic_path,
    atomic_paths,
    check_writable,
    format_of,
    parse_json,
    reading,
)


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


# -- several files ----------------------------------------------------------------------------------------


def test_several_files_are_written_all(tmp_path) -> None:
    (tmp_path / "b").write_text("old")
    with atomic_paths([tmp_path / "a", tmp_path / "b", tmp_path / "new" / "c"], force=True) as temporaries:
        for number, temporary in enumerate(temporaries):
            temporary.write_text(str(number))
        assert (tmp_path / "b").read_text() == "old"
    assert left(tmp_path) == ["a", "b", "c", "new"]
    assert [(tmp_path / name).read_text() for name in ("a", "b", "new/c")] == ["0", "1", "2"]


@pytest.mark.parametrize("at", [1, 2, 3])
def test_several_files_are_written_none(tmp_path, monkeypatch, at: int) -> None:
    """A renaming fails: all files and folders are as they were."""
    (tmp_path / "a").write_text("old a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "0.png").write_text("old b")
    count, replace = 0, os.replace

    def failing(source, target):
        nonlocal count
        if not str(source).endswith("-old"):
            count += str(target).count("-old") == 0
            if count == at:
                raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    paths = [tmp_path / name for name in ("a", "b", "c")]
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", failing)
        expected = pytest.raises(CannotWrite, match="No space left on device")
        with expected, atomic_paths(paths, force=True) as (a, b, c):
            a.write_text("new")
            b.mkdir()
            (b / "1.png").write_text("new")
            c.write_text("new")
    assert left(tmp_path) == ["0.png", "a", "b"]
    assert (tmp_path / "a").read_text() == "old a"
    assert (tmp_path / "b" / "0.png").read_text() == "old b"


def test_a_full_disk_names_the_file_that_was_asked_for(tmp_path) -> None:
    path, advice = tmp_path / "a.csv", "free some space or choose another place"
    expected = pytest.raises(CannotWrite, match=f"cannot write {path}: No space left on device; {advice}")
    with expected, atomic_path(path) as outer, atomic_path(outer):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert left(tmp_path) == []


@pytest.mark.parametrize("text", ["[" * 200_000, "1" * 5_000, "{", '{"a":' * 100_000])
def test_json_that_cannot_be_read_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_json(text)
