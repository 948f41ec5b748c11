"""Where a job writes, and observations in the format and type of the data that came in."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from backstory.data.rows import Rows, mapped
from backstory.data.schema import Schema
from backstory.data.tables.stated import beside_conditions
from backstory.data.write import check_path, write
from backstory.files import atomic_paths, format_of


@dataclass(frozen=True)
class Output:
    """A file or folder to write; its ending is its format.

    Attributes:
        path: where to write.
        force: replace what exists.
    """

    path: Path
    force: bool = False

    @property
    def format(self) -> str:
        """The format that the ending means, such as `npy`; empty for a folder."""
        return format_of(self.path)

    def beside(self, kind: str) -> "Output":
        """The file beside this one with `kind` before its ending.

        >>> Output(Path("a/z.csv.gz")).beside("std").path.as_posix()
        'a/z.std.csv.gz'
        """
        packed = self.path.suffix if self.path.suffix.lower() == ".gz" else ""
        inner = Path(self.path.name.removesuffix(packed))
        name = f"{inner.stem}.{kind}{inner.suffix}{packed}"
        return Output(self.path.with_name(name), self.force)

    def check(self) -> None:
        """Raise InputError, before any work, for a path that cannot be written; writers check it again."""
        check_path(self.path, self.force)


@contextmanager
def together(files: Mapping[str, Output]) -> Iterator[dict[str, Output]]:
    """The same outputs under temporary names; when the block ends, all files take their places, or none."""
    outputs = list(files.values())
    with atomic_paths([output.path for output in outputs], outputs[0].force) as temporaries:
        yield dict(zip(files, map(Output, temporaries), strict=True))


@dataclass(frozen=True)
class Outcome:
    """What a job did.

    Attributes:
        files: what it wrote.
        n: the number of observations that it used or made.
        trained: how many of these the model was trained on.
    """

    files: tuple[Path, ...]
    n: int
    trained: int = 0


def write_observations(
    output: Output,
    x: Rows,
    schema: Schema,
    names: tuple[str, ...] | None = None,
    stated: np.ndarray | None = None,
) -> None:
    """Write observations (N, *shape) in the data's own type; pictures keep finer shades than the data's.

    Args:
        output: where to write.
        x: the observations.
        schema: of them.
        names: of image files.
        stated: stored numbers of the conditions, (N, K), which are written where the table had them.
    """
    values, whole = beside_conditions(in_stored_type(output.format, x, schema), schema, stated)
    write(output.path, values, whole, names, output.force)


def in_stored_type(form: str, x: Rows, schema: Schema) -> Rows:
    """The same observations as a format holds them.

    Means of binary data are probabilities and are not rounded, which would leave nothing of them.
    """
    probabilities = x.dtype.kind == "f" and schema.levels == 2 and schema.maximum == 1
    if form in ("", "png") or x.dtype == np.dtype(schema.dtype) or probabilities:
        return x
    return mapped(schema.stored, x)
