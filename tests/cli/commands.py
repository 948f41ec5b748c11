"""Commands as people type them, and data for them."""

from pathlib import Path

import numpy as np
import pandas as pd

from backstory.cli.main import main

TINY = ["--epochs", "2", "--hidden", "8", "--latent", "2", "--batch-size", "32"]


def run(*arguments: object) -> int:
    return main([str(a) for a in arguments])


def images(count: int = 60, seed: int = 0) -> np.ndarray:
    """Bars on 6 × 5 pixels with 5 levels."""
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 2, (count, 6, 5))
    values[np.arange(count), rng.integers(0, 6, count)] = 4
    return values.astype(np.uint8)


def table(count: int = 60, seed: int = 0) -> pd.DataFrame:
    a, b, c = np.random.default_rng(seed).standard_normal((3, count))
    return pd.DataFrame({"width": a, "height": 3 * a + 0.1 * b, "price": 100 + 10 * c})


BAD_DATA = {
    "missing": "does not exist",
    "empty": "",
    "text.png": "",
    "nan.csv": "row 3, column 'width'",
    "inf.csv": "row 3, column 'width'",
    "constant.csv": "column that varies",
    "one.csv": "two rows",
    "words.csv": "'tall'",
    "objects.npy": "pickle",
    "unknown.xyz": "",
    "truncated.npy": "",
}


def write_bad(folder: Path, name: str) -> Path:
    frame, path = table(20), folder / name
    match name:
        case "empty":
            path.mkdir()
        case "text.png" | "unknown.xyz":
            path.write_text("these are words")
        case "nan.csv" | "inf.csv":
            frame.loc[2, "width"] = np.nan if name == "nan.csv" else np.inf
        case "constant.csv":
            frame[:] = 1.5
        case "one.csv":
            frame = frame.iloc[:1]
        case "words.csv":
            frame = frame.iloc[:9].astype({"height": object})  # of more rows one word would be a typing error
            frame.loc[2, "height"] = "tall"
        case "objects.npy":
            np.save(path, np.array([{"a": 1}, None], dtype=object), allow_pickle=True)
        case "truncated.npy":
            np.save(path, frame.to_numpy())
            path.write_bytes(path.read_bytes()[:200])
    if name.endswith(".csv"):
        frame.to_csv(path, index=False)
    return path
