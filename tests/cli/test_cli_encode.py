"""The command encode: means, deviations and draws of z."""

import numpy as np
import pandas as pd
import pytest
from commands import run, table
from PIL import Image

import backstory


@pytest.mark.parametrize("ending", [".csv", ".parquet", ".npy", ".npz", ".csv.gz"])
def test_encode_writes_means_deviations_and_draws(home, tmp_path, ending):
    path = tmp_path / f"z{ending}"
    assert run("encode", home / "prices", home / "table.csv", "-o", path, "--std", "--draws", "4") == 0

    def read(name: str) -> np.ndarray:
        file = tmp_path / f"{name}{ending}"
        if "csv" in ending:
            return pd.read_csv(file).to_numpy()
        if ending == ".parquet":
            return pd.read_parquet(file).to_numpy()
        loaded = np.load(file)
        if ending == ".npy":
            return loaded
        return loaded["x"] if "x" in loaded else np.column_stack([loaded[k] for k in loaded])

    q = backstory.open(home / "prices").encode(table())
    mean, std, draws = read("z"), read("z.std"), read("z.draws")
    np.testing.assert_allclose(mean, q.mean, rtol=1e-5)
    np.testing.assert_allclose(std, q.std, rtol=1e-5)
    if ending in (".npy", ".npz"):
        assert draws.shape == (4, 60, 2)
        draws = draws.swapaxes(0, 1)
    else:
        assert draws[:5, :2].tolist() == [[0, 0], [0, 1], [0, 2], [0, 3], [1, 0]]
        draws = draws[:, 2:].reshape(60, 4, 2)
    distance = (draws - mean[:, None]) / std[:, None]
    assert abs(distance.mean()) < 0.2
    assert abs(distance.std() - 1) < 0.15


def test_resize_brings_images_to_the_size_of_the_model(home, tmp_path, refuse):
    (tmp_path / "mixed").mkdir()
    for i, size in enumerate([(8, 9), (10, 12)]):
        Image.new("L", size, 80 * i).save(tmp_path / "mixed" / f"{i}.png")
    refuse("encode", home / "pictures", tmp_path / "mixed", "-o", tmp_path / "z.csv", says="--resize")
    options = ["-o", tmp_path / "z.csv", "--resize", "6x5"]
    assert run("encode", home / "pictures", tmp_path / "mixed", *options) == 0
    options = ["-o", tmp_path / "y.csv", "--resize", "six"]
    refuse("encode", home / "pictures", tmp_path / "mixed", *options, says="32x24")


def test_results_of_a_folder_of_images_name_the_files(home, tmp_path) -> None:
    names = sorted(path.name for path in (home / "folder").glob("*.png"))
    for command in ("encode", "score"):
        reference = ["--reference", home / "folder"] if command == "score" else []
        output = tmp_path / f"{command}.csv"
        assert run(command, home / "pictures", home / "folder", "-o", output, *reference) == 0
        assert pd.read_csv(output)["file"].tolist() == names
    assert run("encode", home / "pictures", home / "folder", "-o", tmp_path / "z.npy") == 0
    assert np.load(tmp_path / "z.npy").dtype.kind == "f"
