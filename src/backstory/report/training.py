"""The figure of a training run. It is drawn from metrics alone, without windows or global state.

It shows how the two terms of the ELBO compete,

    −ELBO  =  distortion D  +  rate R,      D = −E_q[log p(x|z)],  R = KL(q(z|x) ‖ p(z)),

against epochs, and as a path in the plane of R and D, where points of equal ELBO lie on lines of slope −1
(Alemi et al. 2018, "Fixing a broken ELBO").
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure, SubFigure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from backstory.files import atomic_path

DPI = 120
SAME = 1e-3  # relative difference of values that were computed in two ways
SHOWN_UNITS = 64  # more rows of the heat map could not be distinguished

INK, BLUE, ORANGE, GREEN, FAINT = "#30343b", "#2b6cb0", "#d9662b", "#2f855a", "#c9ced6"
HEAT = LinearSegmentedColormap.from_list("backstory", ["#f6f7f9", "#fbd9a6", "#ee8a3c", "#b8352a", "#4a1033"])

Metrics = Sequence[Mapping[str, Any]]


def training_figure(metrics: Metrics, best_epoch: int | None = None) -> Figure:
    """Three panels for a training run: its curves, its rate–distortion path, and the KL of each unit.

    Args:
        metrics: the lines of metrics.jsonl, at least one, one for each epoch.
        best_epoch: epoch whose weights were kept, which is marked; None marks nothing.
    """
    figure = Figure(
        figsize=(16, 5.4), dpi=DPI, layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1), facecolor="white"
    )
    FigureCanvasAgg(figure)
    panels = figure.subfigures(1, 3, width_ratios=(1.15, 1, 1.05), wspace=0.03)
    curves, path, units = np.asarray(panels)
    _draw_curves(curves, metrics, best_epoch)
    _draw_path(path.subplots(), metrics, best_epoch)
    _draw_units(units.subplots(), metrics, best_epoch)
    return figure


def save(figure: Figure, path: str | Path, force: bool = True) -> Path:
    """Write a figure in the format that the ending of the path names, whole or not at all.

    Raises:
        InputError: the file exists and `force` is false, or it cannot be written.
    """
    with atomic_path(path, force) as temporary:
        # without a date or a version inside, the same numbers give the same bytes
        metadata = {"Software": None} if Path(path).suffix.lower() == ".png" else None
        figure.savefig(temporary, dpi=DPI, metadata=metadata)
    return Path(path)


# -- the three panels -----------------------------------------------------------------------------------


def _draw_curves(figure: SubFigure, metrics: Metrics, best_epoch: int | None) -> None:
    """Distortion and −ELBO above, the rate below, on their own scales: the rate is often far smaller."""
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    _style(top, "The two terms of the ELBO", "", "nats per observation")
    _style(bottom, "", "epoch", "nats")
    _epoch_axis(bottom, metrics)
    above = [("elbo", "−ELBO", INK), ("reconstruction", "distortion  −E log p(x|z)", BLUE)]
    if _has_own_objective(metrics):
        above.append(("objective", "−objective of training", GREEN))
    for name, _, colour in above:
        _draw_curve(top, metrics, name, colour, -1)
    _draw_curve(bottom, metrics, "kl", ORANGE, 1)
    for axes in (top, bottom):
        values = np.concatenate([_ydata(line) for line in axes.get_lines()])
        axes.set_ylim(*_limits(values, floor=None if axes is top else 0.0))
        _mark_warmup(axes, metrics, label=axes is top)
        _mark_best(axes, best_epoch)
    _legend(top, [(label, colour) for _, label, colour in above], _has_validation(metrics))
    _legend(bottom, [("rate  KL(q(z|x) ‖ p(z))", ORANGE)], False)


def _draw_curve(axes: Axes, metrics: Metrics, name: str, colour: str, sign: int) -> None:
    """One metric against epochs: a solid line for validation rows, a dashed one for training rows.

    Without validation rows the training line is solid.
    """
    epochs = _epochs(metrics)
    solid: dict[str, Any] = {"lw": 2.0}
    dashed: dict[str, Any] = {"lw": 1.1, "alpha": 0.55, "ls": (0, (4, 1.5))}
    train, validation = sign * _series(metrics, name), sign * _series(metrics, f"validation_{name}")
    alone = np.isnan(validation).all()
    style = solid if alone else dashed
    axes.plot(epochs, train, color=colour, label=f"training {name}", **_dotted(train), **style)
    if not alone:
        label = f"validation {name}"
        axes.plot(epochs, validation, color=colour, label=label, **_dotted(validation), **solid)


def _has_own_objective(metrics: Metrics) -> bool:
    """Whether the epoch was chosen by another value than the ELBO, such as a bound with many draws."""
    elbo, objective = (_series(metrics, f"validation_{name}") for name in ("elbo", "objective"))
    return bool(np.nanmax(np.abs(objective - elbo) / (1 + np.abs(elbo)), initial=0) > SAME)


def _draw_path(axes: Axes, metrics: Metrics, best_epoch: int | None) -> None:
    """The path in the plane of rate and distortion, for validation rows if there are any."""
    prefix = "validation_" if _has_validation(metrics) else ""
    rate, distortion = _series(metrics, f"{prefix}kl"), -_series(metrics, f"{prefix}reconstruction")
    where = "validation" if prefix else "training"
    _style(axes, f"Rate and distortion ({where})", "rate R = KL, nats", "distortion D = −E log p(x|z), nats")
    has_rate = np.nanmax(np.abs(rate), initial=0) > 0
    axes.set_xlim(*_limits(rate, floor=None if has_rate else 0.0))
    axes.set_ylim(*_limits(distortion))
    points = np.column_stack([rate, distortion])
    _draw_points(axes, points, _epochs(metrics))
    if has_rate:
        _iso_lines(axes)
    if best_epoch and best_epoch <= len(points):
        x, y = points[best_epoch - 1]
        star: dict[str, Any] = {"marker": "*", "s": 190, "color": "#ffd54a", "edgecolor": INK, "lw": 0.9}
        axes.scatter([x], [y], zorder=5, clip_on=False, **star)
        value = f"ELBO {_number(-x - y)} nats" if has_rate else f"log p(x|z) {_number(-y)} nats, no rate"
        _note(axes, f"kept: epoch {best_epoch}\n{value}")


def _draw_points(axes: Axes, points: np.ndarray, epochs: np.ndarray) -> None:
    """A line through points (epochs, 2), whose colours tell the epochs."""
    segments = list(np.stack([points[:-1], points[1:]], axis=1))
    line = LineCollection(segments, cmap="viridis", linewidths=1.8, zorder=3)
    line.set_array(epochs[1:])
    line.set_clim(epochs[0], epochs[-1])
    axes.add_collection(line)
    axes.scatter(
        points[:, 0], points[:, 1], c=epochs, cmap="viridis", s=16 if len(points) < 60 else 7, zorder=4, lw=0
    )
    if len(points) > 1:
        bar = axes.figure.colorbar(line, ax=axes, pad=0.02, aspect=40)
        bar.outline.set_visible(False)
        bar.set_label("epoch", color=INK)
        bar.locator = MaxNLocator(integer=True, nbins=6)


def _draw_units(axes: Axes, metrics: Metrics, best_epoch: int | None) -> None:
    """KL of each unit over epochs, in falling order of the KL at the best epoch, or else at the last one."""
    kl = _per_unit(metrics)
    if kl is None:
        _draw_active(axes, metrics, best_epoch)
        return
    last = best_epoch - 1 if best_epoch and best_epoch <= len(kl) else len(kl) - 1
    order = np.argsort(-kl[last], kind="stable")[:SHOWN_UNITS]
    active = metrics[last].get("active_units")
    title = f"KL of each latent unit: {active} of {kl.shape[1]} active"
    _style(
        axes, title, "epoch", "unit, by its KL in the kept weights" if best_epoch else "unit, by its last KL"
    )
    axes.grid(False)
    # The KL of early epochs may be far higher than any later one; the colours resolve the later ones.
    highest = max(float(np.nanmax(kl[last:])), 1.15 * float(np.nanmax(kl[last])), 1e-3)
    epochs = _epochs(metrics)
    mesh = axes.pcolormesh(
        np.append(epochs, epochs[-1] + 1) - 0.5,
        np.arange(len(order) + 1) - 0.5,
        kl[:, order].T,
        cmap=HEAT,
        norm=PowerNorm(0.6, 0.0, highest),
        rasterized=True,
    )
    axes.set_ylim(len(order) - 0.5, -0.5)
    step = 1 if len(order) <= 20 else 4
    axes.set_yticks(range(0, len(order), step), [f"$z_{{{unit}}}$" for unit in order[::step]])
    _epoch_axis(axes, metrics)
    for spine in axes.spines.values():
        spine.set_visible(False)
    _mark_best(axes, best_epoch)
    beyond = np.nanmax(kl) > highest
    bar = axes.figure.colorbar(mesh, ax=axes, pad=0.02, aspect=40, extend="max" if beyond else "neither")
    bar.outline.set_visible(False)
    bar.set_label("nats", color=INK)


def _draw_active(axes: Axes, metrics: Metrics, best_epoch: int | None) -> None:
    """Number of active units over epochs, for models without a KL of each unit."""
    active = _series(metrics, "active_units")
    _style(axes, "Active latent units", "epoch", "units whose mean varies over the data")
    axes.step(_epochs(metrics), active, where="mid", color=GREEN, lw=2.0, label="active units")
    axes.set_ylim(0, 1.08 * max(float(np.nanmax(active, initial=0)), 1))
    _epoch_axis(axes, metrics)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    _mark_best(axes, best_epoch)


# -- numbers --------------------------------------------------------------------------------------------


def _epochs(metrics: Metrics) -> np.ndarray:
    return np.array([line["epoch"] for line in metrics], dtype=float)


def _series(metrics: Metrics, name: str) -> np.ndarray:
    """A metric in each epoch, (epochs,), NaN where it is absent or not finite."""
    values = np.array([np.nan if line.get(name) is None else line[name] for line in metrics], dtype=float)
    return np.where(np.isfinite(values), values, np.nan)


def _per_unit(metrics: Metrics) -> np.ndarray | None:
    """KL of each unit, (epochs, units); None if it is absent, or zero as for a plain autoencoder."""
    rows = [line.get("kl_per_unit") for line in metrics]
    if not rows or any(row is None for row in rows):
        return None
    kl = np.array(rows, dtype=float)
    return kl if np.nanmax(np.abs(kl), initial=0) > 0 else None


def _has_validation(metrics: Metrics) -> bool:
    return not np.isnan(_series(metrics, "validation_kl")).all()


def _limits(values: np.ndarray, floor: float | None = None) -> tuple[float, float]:
    """An interval around the values, without a few that are far above all others, as after a bad start.

    Args:
        values: finite or not.
        floor: lower end of the values, if it is known.
    """
    finite = values[np.isfinite(values)]
    if not len(finite):
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    usual = float(np.quantile(finite, 0.95))
    if high - low > 3 * (usual - low) > 0:
        high = low + 1.6 * (usual - low)
    if floor is not None:
        high = high if high > floor else floor + 1
        return floor - 0.03 * (high - floor), high + 0.06 * (high - floor)
    margin = 0.06 * (high - low) or 0.05 * max(abs(high), 1)
    return low - margin, high + margin


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0").replace("-", "−")


def _ydata(line: Line2D) -> np.ndarray:
    return np.asarray(line.get_ydata(), dtype=float)


# -- looks ----------------------------------------------------------------------------------------------


def _style(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title, loc="left", fontsize=12, color=INK, fontweight="bold", pad=9)
    axes.set_xlabel(x, color=INK)
    axes.set_ylabel(y, color=INK)
    axes.grid(True, color="#eceef1", lw=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, length=3, color=FAINT)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(FAINT)


def _epoch_axis(axes: Axes, metrics: Metrics) -> None:
    epochs = _epochs(metrics)
    axes.set_xlim(epochs[0] - 0.5, epochs[-1] + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def _dotted(values: np.ndarray) -> dict[str, Any]:
    """Style of a dot for a series of one point, which no line would show."""
    return {"marker": "o", "ms": 5} if np.isfinite(values).sum() < 2 else {}


def _legend(axes: Axes, names: list[tuple[str, str]], styles: bool) -> None:
    handles = [Line2D([], [], color=colour, lw=2, label=label) for label, colour in names]
    if styles:
        handles.append(Line2D([], [], color="#777", lw=2, label="validation"))
        handles.append(Line2D([], [], color="#777", lw=1.1, ls=(0, (4, 1.5)), label="training"))
    axes.legend(handles=handles, frameon=True, framealpha=0.85, edgecolor="none", fontsize=9, labelcolor=INK)


def _mark_warmup(axes: Axes, metrics: Metrics, label: bool) -> None:
    """Shade the epochs in which β was below its final value, the darker the further below."""
    beta = _series(metrics, "beta")
    final = beta[-1]
    for epoch, value in zip(_epochs(metrics), beta, strict=True):
        if value < final:
            axes.axvspan(
                epoch - 0.5, epoch + 0.5, color="#8aa0bd", alpha=0.25 * (1 - value / final), lw=0, zorder=0
            )
    if label and beta[0] < final:
        text = f"shaded: β rises from {beta[0]:.2g} to {final:.2g}"
        axes.annotate(text, (0.015, 0.03), xycoords="axes fraction", fontsize=8.5, color="#5b6b82")


def _mark_best(axes: Axes, best_epoch: int | None) -> None:
    if best_epoch:
        axes.axvline(best_epoch, color=INK, lw=0.9, ls=(0, (2, 2)), zorder=2)


def _iso_lines(axes: Axes) -> None:
    """Lines of equal ELBO, R + D = constant, across the visible window."""
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    for total in MaxNLocator(7).tick_values(low + left, high + right):
        axes.axline((0, total), slope=-1, color=FAINT, lw=0.8, zorder=1)
        # The label stands where the line leaves the window on the right.
        y = total - right
        if low + 0.05 * (high - low) < y < low + 0.86 * (high - low):
            box: dict[str, Any] = {"boxstyle": "round,pad=0.1", "fc": "white", "ec": "none"}
            place: dict[str, Any] = {
                "ha": "right",
                "va": "center",
                "fontsize": 7.5,
                "color": "#7c8592",
                "zorder": 2,
            }
            axes.annotate(f"ELBO {_number(-total)}", (right, y), bbox=box, **place)
    axes.set_xlim(left, right)
    axes.set_ylim(low, high)


def _note(axes: Axes, text: str, y: float = 0.97) -> None:
    axes.annotate(
        text,
        (0.97, y),
        xycoords="axes fraction",
        ha="right",
        va="top" if y > 0.5 else "bottom",
        fontsize=9.5,
        color=INK,
        bbox={"boxstyle": "round,pad=0.35", "fc": "white", "ec": FAINT},
        zorder=6,
    )
