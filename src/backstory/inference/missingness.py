"""Groups of rows with the same missing entries; `scoring` hides these entries in held-out rows and compares.

log p(x_o) of the observed entries o of a row depends on which entries these are, so it cannot be compared
with that of a row with other missing entries. Each of the `MOST_PATTERNS` most frequent patterns of missing
entries has a comparison of its own. Rows with rarer patterns are sorted by their number of missing
entries and cut into at most `MOST_GROUPS` groups. In a group each held-out row gets the pattern of one of its
rows, in turn, so that rows and held-out rows have the same patterns equally often.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

MOST_PATTERNS = 30  # that have a comparison of their own
MOST_GROUPS = 10  # of rows with rarer patterns


@dataclass(frozen=True)
class Group:
    """Rows that are compared with the same held-out rows.

    Attributes:
        rows: (n,), their numbers.
        patterns: of bool, (n, D), true for a missing entry; (1, D) if all have the same.
    """

    rows: np.ndarray
    patterns: np.ndarray

    def assigned(self, count: int) -> np.ndarray:
        """A pattern for each of `count` held-out rows, (count, D), each as often as among the rows."""
        turns = np.linspace(0, len(self.patterns), count, endpoint=False).astype(int)
        order = np.random.default_rng(0).permutation(count)  # held-out rows may be sorted
        return self.patterns[turns[order]]


def groups(missing: np.ndarray) -> list[Group]:
    """The rows in groups, without those that have no entry at all.

    Args:
        missing: (N, D) of bool.

    >>> [group.rows.tolist() for group in groups(np.array([[0, 1], [0, 0], [0, 1], [1, 1]], bool))]
    [[0, 2], [1]]
    """
    filled = np.flatnonzero(~missing.all(1))
    if not len(filled):
        return []
    packed = np.packbits(missing[filled], axis=1)
    _, which, counts = np.unique(packed, axis=0, return_inverse=True, return_counts=True)
    which = which.reshape(-1)
    frequent = np.argsort(-counts, kind="stable")[:MOST_PATTERNS]
    found = [_of_pattern(filled[which == number], missing) for number in frequent]
    return found + list(_of_rare(filled[~np.isin(which, frequent)], missing))


def _of_pattern(rows: np.ndarray, missing: np.ndarray) -> Group:
    return Group(rows, missing[rows[:1]])


def _of_rare(rows: np.ndarray, missing: np.ndarray) -> Iterator[Group]:
    """Groups of rows with similar numbers of missing entries; rows with the same number stay together."""
    counts = missing[rows].sum(1)
    numbers = np.unique(counts)
    for some in np.array_split(numbers, min(MOST_GROUPS, len(numbers)) or 1):
        members = rows[np.isin(counts, some)]
        if len(members):
            yield Group(members, missing[members])
