"""All figures of a comparison of two tables, and what each of them means."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from backstory.comparing.boosting import Transfer, predictability, two_sample
from backstory.comparing.privacy import Nearness, copies, nearness
from backstory.comparing.quality import Pairs, average, pairs, shapes
from backstory.comparing.rows import some
from backstory.data.tables.columns import Column

MOST_BOOSTED, MOST_SEARCHED = 50_000, 20_000  # rows of a table, chosen at random: boosting, nearest rows

MEANINGS = {
    "shapes": "how alike single columns are, 1 minus the distance of their distributions: 1 is best",
    "pairs": "how alike pairs of columns hang together: 1 is best",
    "two_sample": "boosting tells synthetic from real rows (AUROC): .5 is best, it cannot; 1 is worst",
    "transfer": "boosting learns from synthetic rows and predicts real ones: best as high as from real rows",
    "nearer_to_training": "share of synthetic rows nearer to training than to held-out rows: .5 is best; "
    "far above, rows were learned by heart",
    "distance": "median distance of a synthetic row to the nearest training row: best as far as held-out "
    "rows are; nearer by more than chance, rows may repeat training rows",
    "copies": "synthetic rows that equal a training row: best no larger share than of held-out rows",
    "membership": "an attacker tells by the nearest synthetic row who was trained on (AUROC): .5 is best",
}


@dataclass(frozen=True)
class RealRows:
    """The real rows of a comparison, each (N, C).

    Attributes:
        training: those that the synthetic rows may have been learned from.
        held_out: those that they were not learned from; None if there are none.
    """

    training: np.ndarray
    held_out: np.ndarray | None = None

    def halved(self, seed: int) -> "RealRows":
        """The same rows if some are held out; otherwise a random half in the place of the held-out rows."""
        if self.held_out is not None:
            return self
        mixed = np.random.default_rng(seed).permutation(self.training)
        return RealRows(mixed[len(mixed) // 2 :], mixed[: len(mixed) // 2])


@dataclass(frozen=True)
class Comparison:
    """What a comparison of a synthetic with a real table tells.

    Attributes:
        rows: the number of `synthetic`, `real` and `held_out` rows.
        shapes: the similarity of each column, by its name; NaN where there is none.
        pairs: that of each pair of columns.
        two_sample: AUROC of telling synthetic from real rows.
        transfer: of each target.
        nearness: distances to the nearest rows, and what they give away.
        copies: the number of synthetic rows that equal a real row in every cell.
        held_out_copies: the number of held-out rows that equal a real row; None without held-out rows.
        left_out: columns that are not compared, and why, by name.
        notes: what a reader has to know of these figures.
    """

    rows: dict[str, int]
    shapes: dict[str, float]
    pairs: Pairs
    two_sample: float
    transfer: tuple[Transfer, ...]
    nearness: Nearness
    copies: int
    held_out_copies: int | None
    left_out: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def means(self) -> dict[str, float]:
        """The mean similarity of columns and of pairs."""
        return {"shapes": average([*self.shapes.values()]), "pairs": average([*self.pairs.values()])}

    def record(self) -> dict[str, Any]:
        """The comparison as one JSON object, with None for what does not exist."""
        each = [{"columns": list(names), "score": _known(score)} for names, score in self.pairs.items()]
        means = {name: _known(mean) for name, mean in self.means.items()}
        copies = {"copies": self.copies, "held_out_copies": self.held_out_copies}
        return {
            "rows": self.rows,
            "shapes": {"mean": means["shapes"], "columns": _all_known(self.shapes)},
            "pairs": {"mean": means["pairs"], "each": each},
            "two_sample": self.two_sample,
            "transfer": [_all_known(asdict(one)) for one in self.transfer],
            "privacy": asdict(self.nearness) | {"distance_verdict": self.nearness.verdict} | copies,
            "left_out": dict(self.left_out),
            "notes": list(self.notes),
            "meanings": MEANINGS,
        }


def compared(
    synthetic: np.ndarray, real: RealRows, columns: Sequence[Column], targets: Sequence[int], seed: int = 0
) -> Comparison:
    """The comparison of synthetic rows, (N, C), with real ones.

    Args:
        synthetic: the rows to judge.
        real: those to compare with; without held-out rows a half of them stands for these.
        columns: what the columns hold.
        targets: numbers of the columns to predict.
        seed: of the choice of rows.
    """
    split, random = real.halved(seed), np.random.default_rng(seed)
    assert split.held_out is not None
    boosted = [some(rows, MOST_BOOSTED, random) for rows in (real.training, synthetic)]
    searched = [some(rows, MOST_SEARCHED, random) for rows in (synthetic, split.training, split.held_out)]
    rows = {"synthetic": len(synthetic), "real": len(real.training)}
    return Comparison(
        rows=rows if real.held_out is None else rows | {"held_out": len(real.held_out)},
        shapes=shapes(real.training, synthetic, columns),
        pairs=pairs(real.training, synthetic, columns),
        two_sample=two_sample(boosted[0], boosted[1], columns),
        transfer=_transfers(synthetic, split, columns, targets, random),
        nearness=nearness(searched[0], searched[1], searched[2], columns),
        copies=copies(synthetic, real.training),
        held_out_copies=None if real.held_out is None else copies(real.held_out, real.training),
    )


def _transfers(
    synthetic: np.ndarray,
    split: RealRows,
    columns: Sequence[Column],
    targets: Sequence[int],
    random: np.random.Generator,
) -> tuple[Transfer, ...]:
    """Transfer to the held-out rows, from as many synthetic as training rows."""
    assert split.held_out is not None
    size = min(len(synthetic), len(split.training), MOST_BOOSTED)
    drawn, known = some(synthetic, size, random), some(split.training, size, random)
    test = some(split.held_out, MOST_BOOSTED, random)
    return tuple(
        Transfer(
            columns[target].name,
            "r2" if columns[target].levels is None else "auroc",
            predictability(drawn, test, columns, target),
            predictability(known, test, columns, target),
        )
        for target in targets
    )


def _known(value: Any) -> Any:
    """The value, or None for NaN."""
    return None if isinstance(value, float) and np.isnan(value) else value


def _all_known(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _known(value) for name, value in record.items()}
