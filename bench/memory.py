"""The memory that training on a large data set takes, and what it costs to leave the data in a file.

    python bench/memory.py                     array files, Parquet files, folders of images, and throughput
    python bench/memory.py array --gib 8 16    one of them, and other sizes; the rest of the results stays

Every run is `backstory fit` in a process of its own, whose peak resident memory (ru_maxrss) is measured.
"Outside the epochs" is what comes before the first step and after the last: imports, reading or decoding the
data, checking it, the hashes of its rows, writing the run. The throughput is that of whole epochs on the
smallest array file, in turns with the data in a file and in memory; the ratio is the median of paired ones.
"""

import argparse
import json
import os
import platform
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "bench" / "results"
GIB = 1 << 30
SIZES = {"array": [0.25, 1, 4], "parquet": [0.25, 1], "images": [0.25, 0.5]}  # GiB of values
SIDE = 28  # of the images of an array file
COLUMNS = 64  # of a Parquet file
PICTURE = 64  # side of the pictures of a folder
MODEL = ["--network", "plain", "--hidden", "32", "--latent", "2", "--likelihood", "bernoulli"]
TABLE_MODEL = ["--network", "plain", "--hidden", "32", "--latent", "2"]
HOW = ["--batch-size", "500", "--validation", "0.01", "--device", "cpu", "--force", "--json"]

# Starts a command and prints its output and the most memory that it held. A process of its own, because one
# that is started begins with the peak of the process that starts it.
MEASURE = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, text=True, check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
print(done.stdout)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", nargs="*", choices=[*SIZES, "throughput", []], help="by default everything")
    parser.add_argument("--gib", type=float, nargs="+", help=f"sizes, by default {SIZES}")
    parser.add_argument("--minutes", type=float, default=0.7, help="of training in each run for memory")
    parser.add_argument("--repeats", type=int, default=3, help="of the comparison of throughput")
    parser.add_argument("--folder", type=Path, help="for the data, by default a temporary one")
    parser.add_argument("--output", type=Path, default=RESULTS / "memory.json")
    a = parser.parse_args()
    what = a.what or [*SIZES, "throughput"]
    sizes = {kind: a.gib or SIZES[kind] for kind in what if kind in SIZES}
    result = json.loads(a.output.read_text(encoding="utf-8")) if a.output.exists() else {}
    with tempfile.TemporaryDirectory(dir=a.folder) as name:
        folder = Path(name)
        check_space(folder, max([1, *chain(*sizes.values())]))
        for kind, chosen in sizes.items():
            result[kind] = {**environment(), "runs": [measured(kind, folder, gib, a) for gib in chosen]}
            write(a.output, result)
        if "throughput" in what:
            data = array_file(folder, SIZES["array"][0])
            result["throughput"] = {**environment(), **throughput(data, folder / "run", a.repeats)}
            write(a.output, result)


def write(path: Path, result: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def check_space(folder: Path, gib: float) -> None:
    needed, free = 2.2 * GIB * gib, shutil.disk_usage(folder).free
    if free < needed:
        sys.exit(f"{needed / GIB:.1f} GiB are needed in {folder}, {free / GIB:.1f} are free; see --folder")


# -- data -----------------------------------------------------------------------------------------------


def array_file(folder: Path, gib: float) -> Path:
    """Bytes as images, each a few waves with noise."""
    rows, path = round(gib * GIB / SIDE**2), folder / "images.npy"
    with path.open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (rows, SIDE, SIDE)}
        np.lib.format.write_array_header_1_0(file, header)
        for seed, start in enumerate(range(0, rows, 10_000)):
            waves(min(10_000, rows - start), SIDE, seed).tofile(file)
    return path


def waves(rows: int, side: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    at = np.linspace(0, 2 * np.pi, side, dtype=np.float32)
    u, v, phase = (rng.uniform(-3, 3, (rows, 1, 1)).astype(np.float32) for _ in range(3))
    image = 110 + 90 * np.sin(u * at[:, None] + v * at + phase)
    return (image + rng.random((rows, side, side), np.float32) * 40).astype(np.uint8)


def parquet_file(folder: Path, gib: float) -> Path:
    """Columns of normal numbers that depend on each other; the size is that of the values as a table."""
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    rows, path = round(gib * GIB / COLUMNS / 8), folder / "table.parquet"
    mixing = np.random.default_rng(0).normal(size=(4, COLUMNS))
    schema = pa.schema([(f"x{j}", pa.float64()) for j in range(COLUMNS)])
    with ParquetWriter(path, schema) as writer:
        for seed, start in enumerate(range(0, rows, 50_000)):
            rng, count = np.random.default_rng(seed), min(50_000, rows - start)
            values = rng.normal(size=(count, 4)) @ mixing + rng.normal(size=(count, COLUMNS))
            writer.write_table(pa.table(list(values.T), schema=schema))
    return path


def image_folder(folder: Path, gib: float) -> Path:
    """Grey pictures as PNG files; the size is that of the pixels."""
    from PIL import Image

    path = folder / "pictures"
    for seed in range(round(gib * GIB / PICTURE**2 / 1000)):
        (path / f"{seed:03}").mkdir(parents=True, exist_ok=True)
        for i, image in enumerate(waves(1000, PICTURE, seed)):
            Image.fromarray(image).save(path / f"{seed:03}" / f"{i:03}.png", compress_level=1)
    return path


# -- measurements ---------------------------------------------------------------------------------------


def fit(data: Path, run: Path, *options: str) -> dict[str, Any]:
    """Peak memory and times of one run."""
    command = ["-m", "backstory", "fit", str(data), "-o", str(run), *HOW, *options]
    environ = {**os.environ, "TMPDIR": str(data.parent)}
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, sys.executable, *command],
        check=True, stdout=subprocess.PIPE, text=True, env=environ,
    )  # fmt: skip
    seconds = time.perf_counter() - start
    peak, _, record = done.stdout.partition("\n")
    epochs = [json.loads(line)["seconds"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {"peak_mib": int(peak) // 1024, "seconds": seconds, "epochs": epochs, **json.loads(record)}


def measured(kind: str, folder: Path, gib: float, a: argparse.Namespace) -> dict[str, Any]:
    data = {"array": array_file, "parquet": parquet_file, "images": image_folder}[kind](folder, gib)
    model = TABLE_MODEL if kind == "parquet" else MODEL
    found = fit(data, folder / "run", "--stream", "--minutes", str(a.minutes), *model)
    record = {
        "gib": gib,
        "rows": sum(found["rows"].values()),
        "peak_mib": found["peak_mib"],
        "seconds_outside_epochs": round(found["seconds"] - sum(found["epochs"]), 1),
    }
    print(kind, record, flush=True)
    shutil.rmtree(data) if data.is_dir() else data.unlink()
    return record


def throughput(data: Path, run: Path, repeats: int) -> dict[str, Any]:
    """Training rows per second of the second epoch, in a file and in memory, in turns."""
    rates: dict[str, list[float]] = {"stream": [], "no-stream": []}
    peaks = {}
    for _ in range(repeats):
        for way in rates:
            found = fit(data, run, f"--{way}", "--epochs", "2", *MODEL)
            rates[way].append(found["rows"]["train"] / found["epochs"][1])
            peaks[way] = found["peak_mib"]
    ratios = [s / m for s, m in zip(rates["stream"], rates["no-stream"], strict=True)]
    result = {
        "streamed_to_resident": statistics.median(ratios),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "rows_per_second": {way: [round(r) for r in values] for way, values in rates.items()},
        "peak_mib": peaks,
    }
    print("throughput", result, flush=True)
    return result


def environment() -> dict[str, Any]:
    return {
        "command": shlex.join(["python", "bench/memory.py", *sys.argv[1:]]),
        **{name: version(name) for name in ("torch", "numpy", "pyarrow", "pillow")},
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB, 1),
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "model": shlex.join(MODEL),
        "options": shlex.join(HOW),
    }


if __name__ == "__main__":
    main()
