"""The command info: runs, the installation, data, and schema files."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from commands import run
from mixed import mixed_table
from PIL import Image

import backstory
from backstory.data.load import load
from backstory.jobs.schema_files import read_schema


def test_info_describes_a_run_or_the_installation(home, capfd):
    assert run("info", home / "prices", "--json") == 0
    record = json.loads(capfd.readouterr().out)
    model = backstory.open(home / "prices")
    assert record["parameters"] == sum(v.numel() for v in model.vae.state_dict().values())
    assert record["source"].endswith("table.csv")
    assert run("info", home / "prices") == 0
    assert "54 train, 6 validation" in capfd.readouterr().out
    assert run("info", "--json") == 0
    assert json.loads(capfd.readouterr().out)["backstory"] == backstory.__version__
    assert run("info") == 0
    assert "digits" in capfd.readouterr().out


def described(path: Path, capfd, *options: object) -> dict[str, Any]:
    """What `info --json` says of a data set."""
    capfd.readouterr()
    assert run("info", path, "--json", *options) == 0
    record: dict[str, Any] = json.loads(capfd.readouterr().out)
    return record


def test_info_tells_what_the_columns_of_a_table_hold(home, customers, capfd):
    record = described(customers, capfd)
    assert record["rows"] == 600
    kinds = {column["name"]: column["kind"] for column in record["columns"]}
    assert kinds["member"] == "binary"
    assert kinds["joined"] == "date"
    assert [column["reason"] for column in record["left_out"]] == ["identifier", "constant"]
    assert run("info", customers) == 0
    out, err = capfd.readouterr()
    lines = {line.split()[0]: line for line in out.splitlines() if line}
    assert "10:" not in lines["member"]
    assert "2: no, yes" in lines["member"]
    assert "identifier" in lines["customer_id"]
    assert err == ""
    assert run("info", home / "images.npy") == 0
    assert "6 × 5" in " ".join(capfd.readouterr().out.split())


@pytest.mark.parametrize("ending", ["json", "toml"])
def test_a_schema_file_says_what_was_found(customers, tmp_path, capfd, ending):
    file = tmp_path / f"kinds.{ending}"
    found = described(customers, capfd, "--schema", file, "--column", "visits=continuous")
    again = load(customers, columns=read_schema(file)).schema
    for mine, now in zip(found["columns"], again.model_dump(mode="json")["kinds"], strict=True):
        assert mine | {"note": ""} == now | {"note": ""}
    assert [column.name for column in again.left_out] == ["customer_id", "version"]
    assert again.left_out[1].text == "v2"
    # rare and unseen levels are still taken together
    assert again.kinds[0].rare
    other = mixed_table(20, 1).assign(country="Nowhere")
    assert (load(other, schema=again).values[:, 0] == len(again.kinds[0].levels) - 1).all()


def test_grids_go_through_a_schema_file(tmp_path):
    hours = np.random.default_rng(0).choice([-1.31, -0.2, 0.77], 80)
    pd.DataFrame({"hours": hours, "x": np.arange(80) / 7}).to_csv(tmp_path / "grid.csv", index=False)
    assert run("info", tmp_path / "grid.csv", "--schema", tmp_path / "kinds.toml") == 0
    found = load(tmp_path / "grid.csv").schema
    assert [column.values for column in found.kinds] == [(-1.31, -0.2, 0.77), None]
    assert load(tmp_path / "grid.csv", columns=read_schema(tmp_path / "kinds.toml")).schema == found


def test_awkward_names_and_levels_go_through_a_schema_file(tmp_path, capfd):
    odd = ['"', "a\\b", "é, ü", "tab\there", "\U0001f600"] * 40
    frame = pd.DataFrame({'na"me.with [all]': odd, "x": np.arange(200) / 7, "flag": [True, False] * 100})
    frame.to_parquet(tmp_path / "odd.parquet")
    for ending in ("json", "toml"):
        file = tmp_path / f"kinds.{ending}"
        assert run("info", tmp_path / "odd.parquet", "--schema", file) == 0
        again = load(frame, columns=read_schema(file)).schema
        assert again == load(frame).schema
    assert run("info", tmp_path / "odd.parquet", "--schema", file, "--force") == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["TABLE", "--schema", "x.txt"], ".json or .toml"),
        (["TABLE", "--column", "width=number"], "expected one of"),
        (["images.npy", "--schema", "x.json"], "expected a table"),
        (["prices", "--schema", "x.json"], "give a table"),
        (["nowhere.csv"], "which does not exist"),
        (["nowhere"], "no run at"),
    ],
)
def test_info_refuses_bad_options(home, tmp_path, refuse, monkeypatch, arguments, says):
    monkeypatch.chdir(home)
    words = [str(tmp_path / word) if word.startswith("x.") else word for word in arguments]
    refuse("info", *["table.csv" if word == "TABLE" else word for word in words], says=says)


def test_a_folder_of_images_is_described(home, tmp_path, capfd):
    assert run("info", home / "folder", "-o", tmp_path / "sheet.png") == 0
    out = capfd.readouterr().out
    assert "12 images" in out
    assert "6 x 5 (12)" in out
    assert "L (12)" in out
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size[0] > 64
    assert run("info", home / "folder", "--json") == 0
    record = json.loads(capfd.readouterr().out)
    assert (record["images"], record["sizes"], record["damaged"]) == (12, {"6 x 5": 12}, [])
