"""The command reconstruct: files of the same kind, and sheets."""

import numpy as np
import pandas as pd
from commands import images, run
from PIL import Image


def test_reconstructions_are_files_of_the_same_kind(home, tmp_path):
    assert run("reconstruct", home / "prices", home / "table.csv", "-o", tmp_path / "x.csv") == 0
    x = pd.read_csv(tmp_path / "x.csv")
    assert list(x) == ["width", "height", "price"]
    assert len(x) == 60
    assert run("reconstruct", home / "pictures", home / "folder", "-o", tmp_path / "x") == 0
    assert sorted(p.name for p in (tmp_path / "x").iterdir()) == [f"bar{i:02d}.png" for i in range(12)]
    options = ["--draw", "--limit", "4"]
    assert run("reconstruct", home / "bars", home / "images.npy", "-o", tmp_path / "x.npy", *options) == 0
    assert np.load(tmp_path / "x.npy").shape == (4, 6, 5)


def test_a_picture_shows_originals_above_reconstructions(home, tmp_path):
    path = tmp_path / "x.png"
    assert run("reconstruct", home / "bars", home / "images.npy", "-o", path, "--limit", "3") == 0
    with Image.open(path) as image:
        sheet = np.asarray(image)[:, -158:]  # without the labels
    scale = (sheet.shape[1] - 2 * 4) // 3 // 5  # three images of five columns with gaps of two pixels
    gap = (sheet.shape[1] - 3 * 5 * scale) // 4
    original = sheet[gap::1][: 6 * scale : scale, gap : gap + 5 * scale : scale]
    np.testing.assert_array_equal(original, np.rint(images()[0] / 4 * 255))
    assert sheet.shape[0] == 3 * gap + 2 * 6 * scale
