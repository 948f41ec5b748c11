"""What the command line says: lines and tables for people, JSON for programs; all of it without PyTorch."""

import json
import math
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from backstory.runs.folder import CHECKPOINT, ENSEMBLE


def say(line: str) -> None:
    """A line for people."""
    print(line, file=sys.stderr)


@contextmanager
def advice_to_resume(data: str, run: Path) -> Iterator[None]:
    """Says how to go on with a run that is interrupted."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        begun = (run / CHECKPOINT).exists() or (run / ENSEMBLE).exists()
        if begun and not getattr(interrupt, "told", False):
            say(f"go on with: backstory fit {shlex.quote(data)} -o {shlex.quote(str(run))} --resume")
        raise


def print_json(record: dict[str, Any]) -> None:
    """One object on standard output."""
    print(json.dumps(_finite(record), indent=2, ensure_ascii=False))


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity."""
    if isinstance(value, dict):
        return {key: _finite(v) for key, v in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_table(lines: dict[str, Any], notes: dict[str, str] | None = None) -> None:
    """Names, values and what they are."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(justify="right" if notes else "left", overflow="fold")
    table.add_column(style="dim", overflow="fold")
    for name, value in lines.items():
        table.add_row(name, _text(value), (notes or {}).get(name, ""))
    Console(highlight=False, markup=False).print(table)


METHODS = {
    "is": "importance sampling",
    "ais": "annealed importance sampling",
    "exact": "its closed form",
}


def print_evaluation(result: dict[str, Any]) -> None:
    """The table of an evaluation."""
    notes = {
        "elbo": "nats, reconstruction - kl",
        "reconstruction": "nats, E_q[log p(x|z)]",
        "kl": "nats, KL(q(z|x) || p(z))",
        "log_evidence": f"nats, log p(x) by {METHODS[result['method']]}",
        "standard_error": "nats, Monte Carlo error of log_evidence",
        "ess": f"effective samples of {result['samples']}, average over observations",
        "bits_per_dim": "from log_evidence",
        "active_units": "latent units whose mean varies over the observations",
        "n": "observations",
        "samples": "draws or chains per observation",
        "method": "of log_evidence",
        "pareto_k": "tail of the weights, to be trusted up to 0.7",
        "acceptance": "share of accepted proposals",
    }
    print_table(result, notes)


def print_recovery(result: dict[str, Any], images: bool) -> None:
    """The table of an evaluation of restorations."""
    unit = "fractions of the range" if images else "columns' deviations"
    notes = {
        "rmse": f"of the mean, in {unit}",
        "mse": "its square",
        "accuracy": "of guesses in columns with levels",
        "psnr": "dB, of whole images",
        "coverage_50": "of true entries in 50 % intervals",
        "coverage_90": "of true entries in 90 % intervals",
        "log_likelihood": "nats, log p(hidden | seen)",
        "entries": "that were hidden, or all",
        "n": "observations",
        "draws": "for the intervals",
        "methods": "that found z, for how many",
    }
    methods = ", ".join(f"{name} {count}" for name, count in result["methods"].items())
    print_table(result | {"methods": methods}, notes)


COLUMNS_SHOWN = 20


def print_filled(columns: dict[str, int], rows: int, cells: int) -> None:
    """How many cells were filled, in all and for each column, which has so many."""
    lines = {"filled": sum(columns.values())} | {n: count for n, count in columns.items() if count}
    shown = dict(list(lines.items())[: COLUMNS_SHOWN + 1])
    notes = dict.fromkeys(shown, f"of {cells} cells")
    notes["filled"] = f"empty cells, in {rows} rows"
    print_table(shown, notes)
    if len(lines) > len(shown):
        print(f"and {len(lines) - len(shown)} more columns")


def print_data(record: dict[str, Any]) -> None:
    """The table of a data set, without its columns."""
    print_table({"data": f"{record['source']}: {_kind(record)}", "rows": record["rows"]})


def _kind(data: dict[str, Any]) -> str:
    """What one observation is."""
    shape = " × ".join(map(str, data["shape"]))
    levels = f", {data['levels']} levels" if data["levels"] else ""
    return f"{data['kind']}, {shape}, {data['dtype']}{levels}"


def print_run(record: dict[str, Any]) -> None:
    """The table of a run."""
    data, model, summary = record["data"], record["model"], record["summary"]
    hidden = " " + "-".join(map(str, model["hidden"])) if model["hidden"] else ""
    names = ("elbo", "reconstruction", "kl")
    several = (
        {"ensemble": f"{record['ensemble']} models, of which the first:"} if "ensemble" in record else {}
    )
    lines = {
        **several,
        "run": f"{record['run']} (backstory {record['backstory']}, torch {record['torch']})",
        "data": f"{record['source']}: {_kind(data)}",
        "rows": ", ".join(f"{count} {part}" for part, count in record["rows"].items()),
        "likelihood": f"{model['likelihood']}, data presented as {data['presentation']}",
        "network": f"{model['network']}{hidden}, {record['parameters']:,} parameters",
        "latent": f"{model['latent']} units, {summary['active_units']} active; "
        f"prior {model['prior']}, posterior {model['posterior']}",
        "training": f"{summary['stopped']} after {summary['epochs']} epochs, "
        f"weights of epoch {summary['best_epoch']}",
        "values": ", ".join(f"{name} {_text(summary[name])}" for name in names) + " nats",
        "files": ", ".join(f"{name} ({_size(size)})" for name, size in record["files"].items()),
    }
    print_table(lines)


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 0.1 else f"{value:.2f}"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "-"
    return "-" if value is None else str(value)


def _size(size: float) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"
