"""How well a model describes rows, and how well it restores them after damage."""

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from backstory.data.stored import StoredRows
from backstory.errors import InputError
from backstory.inference.evidence import check_settings
from backstory.inference.operators import Mask
from backstory.inference.requests import EvidenceRequest
from backstory.jobs.checks import at_least_one
from backstory.jobs.damage import Damage
from backstory.jobs.inverse_problem import read_problem
from backstory.jobs.source import Source, read_rows
from backstory.trained import Trained


@dataclass(frozen=True)
class Evaluated:
    """Figures of an evaluation.

    Attributes:
        figures: those of `Evaluation` or `Recovery` by name; None for what does not exist.
        n: the number of observations.
        trained: how many of them the model was trained on.
        noun: what one observation is called, such as `image`.
    """

    figures: dict[str, Any]
    n: int
    trained: int
    noun: str


def evaluate(
    model: Trained,
    source: Source,
    samples: int | None = None,
    method: str = "auto",
    seed: int = 0,
    **options: Any,
) -> Evaluated:
    """The ELBO, its two terms, the log-evidence and the use of the codes, in nats per observation.

    Args:
        model: the model.
        source: the rows.
        samples: draws or chains for each observation; None leaves their number to the method.
        method: `auto`, `is`, `variational`, `ais` or `exact`, see `Model.log_evidence`.
        seed: of all draws.
        options: `budget`, `chunk`, `progress` and the settings of `ais` (`steps`, `leapfrog`, `start`,
            `schedule`, `resume`), see `Model.log_evidence`.
    """
    at_least_one("chunk", options.get("chunk"))
    settings = {name: v for name, v in options.items() if name not in ("chunk", "progress")}
    check_settings(EvidenceRequest.of(method, samples, seed, **settings))
    x = read_rows(model, source).data
    figures = asdict(model.evaluate(x, samples, seed, method=method, **options))
    _check_numbers(figures)
    return Evaluated(figures, len(x), model.count_trained_on(x.values), model.noun)


def _check_numbers(figures: dict[str, Any]) -> None:
    """InputError for a figure that is NaN: the model overflows on these rows."""
    unknown = [name for name, value in figures.items() if isinstance(value, float) and math.isnan(value)]
    if unknown:
        raise InputError(
            f"expected numbers, got NaN for {', '.join(unknown)}; look for values in the rows that are far "
            "outside those of the training data, or train the model again"
        )


def evaluate_restoration(
    model: Trained, source: Source, damage: Damage, seed: int = 0, **options: Any
) -> Evaluated:
    """The errors of restorations and the coverage of their intervals, after the rows were damaged.

    Args:
        model: the model.
        source: the rows, which are whole.
        damage: what to do to them.
        seed: of the damage and of all draws.
        options: `draws`, `method`, `budget`, `chunk` and `progress`, see `Model.evaluate_restoration`.
    """
    at_least_one("chunk", options.get("chunk"))
    at_least_one("draws", options.get("draws"))
    problem = read_problem(model, source, replace(damage, missing=None), whole=True, seed=seed)
    assert problem.truth is not None
    truth = StoredRows(problem.truth, problem.given)
    masked = damage.mask is not None
    operator = Mask(~np.isnan(problem.y)) @ problem.operator if masked else problem.operator
    result = model.evaluate_restoration(truth, operator, damage.missing or 0.0, seed=seed, **options)
    return Evaluated(asdict(result), len(problem.rows), model.count_trained_on(problem.rows), model.noun)
