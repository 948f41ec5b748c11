"""The figures show the numbers that they were given, whatever is absent from them."""

import math

import numpy as np
import pytest
from PIL import Image

from backstory.errors import InputError
from backstory.report.training import save, training_figure


def metrics(epochs: int = 6, validation: bool = True, units: int | None = 3, kl: float = 4.0) -> list[dict]:
    """Lines as in metrics.jsonl, each number different from all others."""
    lines = []
    for epoch in range(1, epochs + 1):
        parts = {"reconstruction": -100.0 / epoch, "kl": kl * epoch}
        line = {"epoch": epoch, "beta": min(1.0, epoch / 3), "active_units": min(epoch, 3), **parts}
        line["elbo"] = parts["reconstruction"] - parts["kl"]
        if validation:
            shifted = {"reconstruction": parts["reconstruction"] - 1.5, "kl": parts["kl"] * 1.25}
            line |= {f"validation_{name}": value for name, value in shifted.items()}
            line["validation_elbo"] = shifted["reconstruction"] - shifted["kl"]
        line["kl_per_unit"] = None if units is None else [kl * epoch * (u + 1) / 6 for u in range(units)]
        lines.append(line)
    return lines


def panels(figure) -> dict:
    """Axes by their title; the second of the curves by its label."""
    found = {axes.get_title(loc="left"): axes for axes in figure.axes if axes.get_title(loc="left")}
    curves, path, units = found.values()
    rate = next(axes for axes in figure.axes if axes.get_xlabel() == "epoch" and axes.get_ylabel() == "nats")
    return {"curves": curves, "rate": rate, "path": path, "units": units}


def curves(axes) -> dict[str, np.ndarray]:
    lines = {line.get_label(): line for line in axes.get_lines()}
    return {label: np.asarray(line.get_ydata()) for label, line in lines.items() if label[0] != "_"}


def column(lines: list[dict], name: str) -> np.ndarray:
    return np.array([line[name] for line in lines])


@pytest.mark.parametrize("validation", [True, False])
def test_curves_are_the_metrics(validation):
    lines = metrics(validation=validation)
    axes = panels(training_figure(lines, best_epoch=4))
    shown = curves(axes["curves"]) | curves(axes["rate"])
    parts = [("training", ""), ("validation", "validation_")] if validation else [("training", "")]
    assert len(shown) == 3 * len(parts)
    for label, prefix in parts:
        for name, sign in [("elbo", -1), ("reconstruction", -1), ("kl", 1)]:
            np.testing.assert_array_equal(shown[f"{label} {name}"], sign * column(lines, prefix + name))


@pytest.mark.parametrize("distance", [0.0, 3.0])
def test_an_objective_other_than_the_elbo_is_drawn(distance):
    lines = [line | {"validation_objective": line["validation_elbo"] + distance} for line in metrics()]
    drawn = curves(panels(training_figure(lines))["curves"])
    assert ("validation objective" in drawn) == (distance > 0)


@pytest.mark.parametrize(("validation", "prefix"), [(True, "validation_"), (False, "")])
def test_path_is_rate_against_distortion_of_the_rows_that_choose(validation, prefix):
    lines = metrics(validation=validation)
    path = panels(training_figure(lines, best_epoch=4))["path"]
    points = path.collections[1].get_offsets()
    np.testing.assert_allclose(points[:, 0], column(lines, f"{prefix}kl"))
    np.testing.assert_allclose(points[:, 1], -column(lines, f"{prefix}reconstruction"))
    star = path.collections[2].get_offsets()
    np.testing.assert_allclose(star, points[3:4])


def test_lines_of_equal_elbo_have_slope_minus_one_and_its_value():
    path = panels(training_figure(metrics(), best_epoch=4))["path"]
    assert {line.get_slope() for line in path.get_lines()} == {-1}
    labels = [text for text in path.texts if text.get_text().startswith("ELBO")]
    assert labels
    for label in labels:
        value = float(label.get_text().removeprefix("ELBO ").replace("−", "-"))
        assert sum(label.xy) == pytest.approx(-value, abs=0.06)


def test_heat_map_has_the_unit_with_the_highest_rate_on_top():
    lines = metrics(units=3)
    axes = panels(training_figure(lines, best_epoch=6))["units"]
    shown = np.asarray(axes.collections[0].get_array())
    np.testing.assert_allclose(shown, np.array([line["kl_per_unit"] for line in lines]).T[::-1])
    assert [label.get_text() for label in axes.get_yticklabels()] == ["$z_{2}$", "$z_{1}$", "$z_{0}$"]
    assert "3 of 3 active" in axes.get_title(loc="left")


@pytest.mark.parametrize(
    "lines",
    [metrics(units=None), metrics(kl=0.0)],
    ids=["no closed form of the KL", "plain autoencoder"],
)
def test_active_units_where_there_is_no_rate_of_each(lines, tmp_path):
    figure = training_figure(lines, best_epoch=2)
    shown = curves(panels(figure)["units"])["active units"]
    np.testing.assert_array_equal(shown, column(lines, "active_units"))
    assert save(figure, tmp_path / "training.png").stat().st_size > 10_000


@pytest.mark.parametrize("best", [None, 1])
def test_one_epoch_is_enough(best, tmp_path):
    save(training_figure(metrics(epochs=1), best), tmp_path / "training.png")


def test_numbers_that_are_not_finite_leave_gaps(tmp_path):
    lines = metrics()
    lines[2] |= {"kl": math.nan, "elbo": -math.inf, "validation_kl": math.inf}
    figure = training_figure(lines, best_epoch=4)
    assert np.isnan(curves(panels(figure)["rate"])["training kl"][2])
    save(figure, tmp_path / "training.png")


def test_a_bad_start_does_not_dwarf_the_rest():
    lines = metrics(epochs=40)
    lines[0] |= {"reconstruction": -1e9, "elbo": -1e9, "validation_reconstruction": -1e9}
    low, high = panels(training_figure(lines))["curves"].get_ylim()
    assert high - low < 1000


def test_saved_pictures_are_the_same_for_the_same_numbers(tmp_path):
    paths = [save(training_figure(metrics(), 3), tmp_path / name) for name in ("a.png", "b.png")]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    with Image.open(paths[0]) as image:
        assert image.width > 1500
        assert np.asarray(image.convert("L")).std() > 10


def test_save_refuses_what_exists_only_without_force(tmp_path):
    path = tmp_path / "training.png"
    path.write_text("mine")
    with pytest.raises(InputError, match="exists"):
        save(training_figure(metrics()), path, force=False)
    assert path.read_text() == "mine"
    assert [p.name for p in tmp_path.iterdir()] == ["training.png"]
