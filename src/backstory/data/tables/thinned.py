"""Numbers of evenly spaced rows of a column that is read part by part."""

import numpy as np

MOST = 1 << 14  # numbers that are kept, at most


class Thinned:
    """The numbers in rows 0, k, 2k, …, with a k that doubles as rows come, so that memory is bounded.

    They are the same in however many parts the rows come.

    >>> thinned = Thinned()
    >>> thinned.add(0, np.array([1.0, np.nan]))
    >>> thinned.add(2, np.array([3.0]))
    >>> thinned.numbers
    array([1., 3.])
    """

    def __init__(self) -> None:
        self._step = 1
        self._count = 0
        self._parts: list[np.ndarray] = []

    def rows(self, first: int) -> slice:
        """The rows to keep of a part that begins at row `first`."""
        return slice(-first % self._step, None, self._step)

    def add(self, first: int, cells: np.ndarray) -> None:
        """Adds a part, (M,), that begins at row `first`; NaN where a cell is no number."""
        self.keep(cells[self.rows(first)].astype(np.float64))

    def keep(self, chosen: np.ndarray) -> None:
        """Adds the numbers of the rows that `rows` gave for a part."""
        self._parts.append(chosen)
        self._count += len(chosen)
        while self._count > MOST:
            self._parts = [np.concatenate(self._parts)[::2].copy()]
            self._count, self._step = len(self._parts[0]), 2 * self._step

    @property
    def numbers(self) -> np.ndarray:
        """The numbers that are kept, without NaN."""
        cells = np.concatenate(self._parts) if self._parts else np.zeros(0)
        return cells[~np.isnan(cells)]
