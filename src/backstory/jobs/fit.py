"""Training: a model, its run folder, and the pictures of its training."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backstory import console
from backstory.fitting.fit import fit as fit_model
from backstory.runs import checkpoint
from backstory.runs.folder import PICTURE, member_folder
from backstory.runs.replacement import in_training
from backstory.trained import Trained


@dataclass(frozen=True)
class Fitted:
    """A training that has ended.

    Attributes:
        run: the folder; RUN/replacement of an interrupted run that was to replace another one.
        model: what was trained.
        pictures: of the training, one for each member of an ensemble; none in a process that only helps
            another.
    """

    run: Path
    model: Trained
    pictures: tuple[Path, ...]

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended the training."""
        return bool(self.model.summary["stopped"] == "interrupted")


def fit(data: Any, run: Path, **options: Any) -> Fitted:
    """Train a model, write its run folder and the pictures in it; arguments are those of `backstory.fit`."""
    model = fit_model(data, run, **options)
    folder = in_training(run)
    return Fitted(folder, model, () if console.hushed() else write_training_pictures(folder, model))


def write_training_pictures(run: Path, model: Trained) -> tuple[Path, ...]:
    """Write RUN/training.png, of an ensemble one for each member; the pictures."""
    from backstory.report import training  # matplotlib takes half a second to import, and only fit needs it

    pictures = []
    for folder, member in zip(_member_folders(run, model), model.members, strict=True):
        if metrics := checkpoint.read_metrics(folder):
            figure = training.training_figure(metrics, member.summary["best_epoch"])
            training.save(figure, folder / PICTURE)
            pictures.append(folder / PICTURE)
    return tuple(pictures)


def picture_of(run: Path, model: Trained) -> Path:
    """The picture of a training, of an ensemble that of its first member."""
    return _member_folders(run, model)[0] / PICTURE


def _member_folders(run: Path, model: Trained) -> list[Path]:
    """The run folder of each single model: of an ensemble those of its members."""
    count = len(model.members)
    return [run] if count == 1 else [run / member_folder(number) for number in range(count)]
