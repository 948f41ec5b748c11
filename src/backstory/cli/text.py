"""What the command line prints: lines and tables for people, JSON for programs; all of it without PyTorch."""

import json
import math
import re
import shlex
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from backstory import console
from backstory.errors import counted, printable
from backstory.files import CannotWrite
from backstory.runs.folder import CHECKPOINT, ENSEMBLE
from backstory.runs.replacement import in_training

if TYPE_CHECKING:
    from backstory.jobs.restore import Restored


# -- lines on standard error ----------------------------------------------------------------------------


def say(line: str) -> None:
    """Print a line for people."""
    print(printable(line), file=sys.stderr)


def say_written(what: str, files: Iterable[Path]) -> None:
    """Print what was written, and where."""
    say(f"{what}, written to {', '.join(map(str, files))}")


def say_trained(count: int, n: int, split: str) -> None:
    """Print how many of the rows were trained on: a warning, unless they were asked for."""
    if count and split == "train":
        say("these are rows that the model was trained on")
    elif count:
        rows = counted(n, "row")
        some = counted(count, f"of {rows} is", f"of {rows} are")
        console.warn(f"{some} among those that the model was trained on")


RESTORED = {
    "observed": "with nothing missing, as it came",
    "prior": "with nothing observed, from the prior",
    "constant": "with gaps in constant columns alone",
    "encoder": "by the encoder",
    "importance": "by importance sampling",
    "variational": "by a variational fit",
    "hmc": "by Hamiltonian Monte Carlo",
}


def say_restored(done: "Restored", noun: str) -> None:
    """Print how many observations, with their noun, were restored and how."""
    if done.methods.get("observed") == done.n:
        say_written(f"{counted(done.n, noun)} without gaps, as in the data", done.files)
        return
    ways = [f"{count} {RESTORED[name]}" for name, count in done.methods.items()]
    say_written(f"{counted(done.n, f'restored {noun}')} ({'; '.join(ways)})", done.files)


@contextmanager
def advice_to_resume(data: str, run: Path) -> Iterator[None]:
    """Print how to go on with a run that is interrupted, or cannot be written because the disk is full."""
    try:
        yield
    except (KeyboardInterrupt, CannotWrite) as stop:
        place = in_training(run)
        begun = (place / CHECKPOINT).exists() or (place / ENSEMBLE).exists()
        if begun and not getattr(stop, "told", False):
            if place != run:
                say(f"the run in {run} is as it was; the new one is in {place} until it is finished")
            say(f"go on with: backstory fit {shlex.quote(data)} -o {shlex.quote(str(run))} --resume")
        raise


# -- JSON -----------------------------------------------------------------------------------------------


def print_json(record: dict[str, Any]) -> None:
    """Print one object on standard output."""
    text = json.dumps(_finite(record), indent=2, ensure_ascii=False, default=str)
    print(re.sub(r"[^ -~\n]", lambda sign: _escaped(sign[0]), text))


def _escaped(sign: str) -> str:
    """A sign of JSON as a terminal may show it."""
    return sign if sign.isprintable() else json.dumps(sign)[1:-1]


def record_of(result: Any, without: Collection[str]) -> dict[str, Any]:
    """The fields of a job's result, but for some."""
    return {name: value for name, value in asdict(result).items() if name not in without}


def _finite(value: Any) -> Any:
    """The same value with None for NaN and infinity, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _finite(v) for key, v in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


# -- tables ---------------------------------------------------------------------------------------------


def print_table(lines: dict[str, Any], notes: dict[str, str] | None = None) -> None:
    """Print names and values, with a note on what they are."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(justify="right" if notes else "left", overflow="fold")
    table.add_column(style="dim", overflow="fold")
    for name, value in lines.items():
        table.add_row(printable(name), printable(_text(value)), (notes or {}).get(name, ""))
    Console(highlight=False, markup=False).print(table)


METHODS = {
    "auto": "the cheapest method that will do",
    "is": "importance sampling",
    "variational": "importance sampling with a Gaussian fitted to p(z|x)",
    "ais": "annealed importance sampling",
    "exact": "its closed form",
}


def print_evaluation(result: dict[str, Any], noun: str) -> None:
    """Print an evaluation of observations, with their noun, as a table; what does not exist is left out."""
    notes = {
        "elbo": "nats, reconstruction - kl",
        "reconstruction": "nats, E_q[log p(x|z)]",
        "kl": "nats, KL(q(z|x) || p(z))",
        "kl_per_level": "nats, what each level adds to the KL, from x upwards",
        "log_evidence": f"nats, log p(x) by {METHODS[result['method']]}",
        "standard_error": "nats, Monte Carlo error of log_evidence",
        "ess": f"effective draws, average over {noun}s",
        "bits_per_dim": "from log_evidence",
        "active_units": f"latent units whose posterior mean varies over the {noun}s",
        "n": f"{noun}s",
        "samples": f"draws or chains per {noun}" + (", at first" if result["method"] == "auto" else ""),
        "method": "that estimated log_evidence",
        "methods": f"with the number of {noun}s",
        "pareto_k": "tail of the weights, which can be trusted up to 0.7",
        "acceptance": "share of accepted proposals",
        "psnr": "dB, of reconstructions E[x|z]",
        "ssim": "of reconstructions, 1 at best",
    }
    levels = {name: f"{kl:.2f}" for name, kl in (result["kl_per_level"] or {}).items()}
    shown = result | {"methods": _counted(result["methods"]), "kl_per_level": _counted(levels)}
    print_table({name: value for name, value in shown.items() if value is not None}, notes)


def print_quality(result: dict[str, Any]) -> None:
    """Print how well inferred levels agree with known ones as a table."""
    notes = {
        "n": "rows whose class is known",
        "accuracy": "share of rows whose most probable class is theirs",
        "log_loss": "nats, -log p(c|x) of their class",
        "calibration_error": "expected, of the most probable class, 15 bins",
        "majority": "share of the most frequent class",
    }
    print_table(result, notes)


def print_recovery(result: dict[str, Any], noun: str) -> None:
    """Print an evaluation of restorations as a table; what does not exist is left out."""
    unit = "fractions of the full range" if noun == "image" else "standard deviations of the columns"
    notes = {
        "rmse": f"of the mean, in {unit}",
        "mse": "its square",
        "accuracy": "of guesses in columns with levels",
        "psnr": "dB, of whole images",
        "coverage_50": "share of true entries in 50 % intervals",
        "coverage_90": "share of true entries in 90 % intervals",
        "log_likelihood": "nats, log p(hidden | observed)",
        "entries": "that were compared: those hidden, or all",
        "n": f"{noun}s",
        "draws": "from which the intervals were made",
        "methods": f"that inferred z, with the number of {noun}s",
    }
    shown = result | {"methods": _counted(result["methods"])}
    print_table({name: value for name, value in shown.items() if value is not None}, notes)


def _counted(methods: Mapping[str, object]) -> str | None:
    """Names with a number each, such as methods with the number of observations."""
    return ", ".join(f"{name} {count}" for name, count in methods.items()) or None


COLUMNS_SHOWN, LEVELS_SHOWN = 20, 12


def print_filled(columns: dict[str, int], rows: int, cells: int, noun: str) -> None:
    """Print how many cells were filled, in all and in each column, which has so many cells."""
    if not any(columns.values()):
        print(f"nothing is missing in {counted(rows, noun)}")
        return
    lines = {"filled": sum(columns.values())} | {n: count for n, count in columns.items() if count}
    shown = dict(list(lines.items())[: COLUMNS_SHOWN + 1])
    notes = dict.fromkeys(shown, f"of {counted(cells, 'cell')}")
    notes["filled"] = f"empty {'cell' if lines['filled'] == 1 else 'cells'}, in {counted(rows, noun)}"
    print_table(shown, notes)
    if len(lines) > len(shown):
        print(f"and {counted(len(lines) - len(shown), 'more column')}")


def print_data(record: dict[str, Any]) -> None:
    """Print a data set as a table, without its columns."""
    print_table({"data": f"{record['source']}: {_kind(record)}", "rows": record["rows"]})


def _kind(data: dict[str, Any]) -> str:
    """One observation in words: its kind, shape, type and levels."""
    if data["kind"] == "table":
        return f"table, {counted(data['shape'][0], 'modelled column')}"
    shape = " × ".join(map(str, data["shape"]))
    levels = f", {data['levels']} levels" if data["levels"] else ""
    return f"{data['kind']}, {shape}, {data['dtype']}{levels}"


def print_run(record: dict[str, Any]) -> None:
    """Print a run as a table."""
    data, model, summary = record["data"], record["model"], record["summary"]
    hidden = " " + "-".join(map(str, model["hidden"])) if model.get("hidden") else ""
    names = ("elbo", "reconstruction", "kl")
    several = (
        {"ensemble": f"{record['ensemble']} models, of which the first:"} if "ensemble" in record else {}
    )
    conditions = (
        {"conditions": "; ".join(map(_condition, data["conditions"]))} if data.get("conditions") else {}
    )
    lines = {
        **several,
        "run": f"{record['run']} (backstory {record['backstory']}, torch {record['torch']})",
        "data": f"{record['source']}: {_kind(data)}",
        **conditions,
        **_unmodelled(data.get("left_out") or []),
        **_relations(data.get("related") or {}),
        "rows": ", ".join(f"{count} {part}" for part, count in record["rows"].items() if count),
        **_weights(record["weights"]),
        **({} if record["preset"] is None else {"preset": record["preset"]}),
        "likelihood": f"{model['likelihood']}, data presented as {data['presentation']}",
        "network": f"{model['network']}{hidden}, {record['parameters']:,} parameters",
        "latent": f"{counted(model['latent'], 'unit')}, {summary['active_units']} active; "
        f"prior {model['prior']}, posterior {model['posterior']}",
        "training": f"{summary['stopped']} after {counted(summary['epochs'], 'epoch')}, "
        f"weights of epoch {summary['best_epoch']}",
        "values": ", ".join(f"{name} {_text(summary[name])}" for name in names) + " nats",
        "files": ", ".join(f"{name} ({_size(size)})" for name, size in record["files"].items()),
    }
    print_table(lines)


def _weights(weights: dict[str, Any] | None) -> dict[str, str]:
    """By what the rows are weighed, and their total weight."""
    if weights is None:
        return {}
    total = "all equal" if weights["total"] is None else f"{weights['total']:.6g} in all"
    return {"weights": f"of the rows, {weights['of']}: {total}"}


def _unmodelled(left_out: list[dict[str, Any]]) -> dict[str, str]:
    """The columns that were constant, each with its value, and those that were empty in training."""
    constant = [f"{c['name']} = {c['text']}" for c in left_out if c["reason"] == "constant"]
    empty = [c["name"] for c in left_out if c["reason"] == "empty"]
    lines = {"constant": constant, "empty": empty}
    return {
        name: ", ".join(columns[:COLUMNS_SHOWN]) + ", …" * (len(columns) > COLUMNS_SHOWN)
        for name, columns in lines.items()
        if columns
    }


def _relations(related: dict[str, Any]) -> dict[str, str]:
    """The relations that are kept."""
    if not (related.get("relations") or related.get("gaps")):
        return {}
    from backstory.data.tables.relation_set import Related

    texts = [relation.text for relation in Related.model_validate(related).all]
    return {"kept": "; ".join(texts[:COLUMNS_SHOWN]) + "; …" * (len(texts) > COLUMNS_SHOWN)}


def _condition(condition: dict[str, Any]) -> str:
    """A condition in words: its name, and its levels or its kind and range."""
    name, levels, column = condition["name"], condition["levels"], condition["column"] or {}
    kind = column.get("kind", "levels" if levels else "number")
    if levels:
        return f"{name} ({kind}: {shortened(levels)})"
    low, high = condition.get("low"), condition.get("high")
    if low is None or high is None:
        return f"{name} ({kind})"
    if not column:
        return f"{name} ({kind}: {low:.6g} to {high:.6g})"
    from backstory.data.tables.columns import Column  # which records of numbers do not need

    shown = Column.model_validate(column).shown
    return f"{name} ({kind}: {shown(low)} to {shown(high)})"


def shortened(levels: Sequence[str]) -> str:
    """The first levels in one line."""
    return ", ".join(levels[:LEVELS_SHOWN]) + (", …" if len(levels) > LEVELS_SHOWN else "")


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 0.1 else f"{value:.2f}"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "-"
    return "-" if value is None else str(value)


def _size(size: float) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"
