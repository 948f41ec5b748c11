"""Data, runs and checks that the tests of the commands share."""

from pathlib import Path

import numpy as np
import pytest
from commands import images, run, table
from mixed import mixed_table
from PIL import Image

import backstory


@pytest.fixture(scope="session")
def home(tmp_path_factory) -> Path:
    """Data of several kinds and trained runs, none of which a test changes."""
    home = tmp_path_factory.mktemp("home")
    np.save(home / "images.npy", images())
    table().to_csv(home / "table.csv", index=False)
    mixed_table(60, 1).to_csv(home / "mixed.csv", index=False)
    (home / "folder").mkdir()
    for i, image in enumerate(images(12)):
        Image.fromarray(image * 63).save(home / "folder" / f"bar{i:02d}.png")
    for source, name, options in [
        ("images.npy", "bars", {"likelihood": "categorical"}),
        ("table.csv", "prices", {}),
        ("mixed.csv", "mixed", {"likelihood": "joint"}),
        ("folder", "pictures", {}),
        ("images.npy", "plain", {"posterior": "delta"}),
    ]:
        options |= {"epochs": 2, "hidden": (8,), "latent": 2, "batch_size": 32, "progress": False}
        backstory.fit(home / source, home / name, **options)
    return home


@pytest.fixture
def refuse(capfd, tmp_path):
    """Check that a command refuses: status 2, one line of words, nothing new and nothing changed."""

    def contents(folder: Path) -> dict[str, bytes | None]:
        return {str(p): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}

    def check(*arguments: object, says: str = "") -> str:
        before = contents(tmp_path)
        capfd.readouterr()
        status = run(*arguments)
        out, err = capfd.readouterr()
        assert status == 2, err
        assert err.startswith("error: ")
        assert err.count("\n") == 1, err
        assert "Traceback" not in err
        assert out == ""
        assert says in err
        assert contents(tmp_path) == before
        return err

    return check


@pytest.fixture(scope="session")
def customers(tmp_path_factory) -> Path:
    """A table of all kinds of columns."""
    path = tmp_path_factory.mktemp("tables") / "customers.csv"
    mixed_table(600, 0).to_csv(path, index=False)
    return path
