"""Tables of other programs as pandas frames: Excel files, databases, and frames of other libraries.

Each needs packages that not everybody has; an error says how to install them.
"""

import io
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from backstory import console
from backstory.data.binary import open_binary
from backstory.data.tables.columns import EMPTY_CELLS
from backstory.errors import InputError
from backstory.files import decoder, reading

NUMPY = "numpy"  # the library of arrays
_WITH_GAPS = {
    f"{sign}int{bits}": f"{sign.upper()}Int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)
}
_WITH_GAPS["bool"] = "boolean"  # by Arrow's name of a type that of pandas


@contextmanager
def needed(package: str, extra: str, what: str) -> Iterator[None]:
    """Turns the error of a missing package into advice.

    Args:
        package: that is imported.
        extra: of this project, which installs it.
        what: cannot be read without it.
    """
    try:
        yield
    except ImportError as error:
        raise InputError(
            f"expected the package {package} for {what}, got an installation without it; "
            f"run pip install 'backstory[{extra}]', or use .csv"
        ) from error


def parquet_engine() -> AbstractContextManager[None]:
    """Turns the error of a missing pyarrow into advice."""
    return needed("pyarrow", "parquet", "Parquet files")


def read_excel(path: Path) -> pd.DataFrame:
    """The first sheet of an Excel file; its first row names the columns."""
    with (
        reading(path, "an Excel file"),
        needed("openpyxl", "excel", "Excel files"),
        open_binary(path) as handle,
    ):
        import openpyxl  # noqa: F401

        with decoder(), pd.ExcelFile(io.BytesIO(handle.read()), engine="openpyxl") as file:
            if len(file.sheet_names) > 1:
                console.warn(
                    f"{path} has {len(file.sheet_names)} sheets; the first, {file.sheet_names[0]!r}, is read"
                )
            # texts stay as they are: 007 is no number
            cells = file.parse(0, dtype=object, na_values=list(EMPTY_CELLS), keep_default_na=False)
            return pd.DataFrame(cells.infer_objects())


def read_database(address: str) -> tuple[pd.DataFrame, str]:
    """A table of a database, and where it came from, without a password.

    Args:
        address: a URL of SQLAlchemy, `#`, and the name of a table or a query that begins with SELECT or WITH.
    """
    url, _, wanted = address.partition("#")
    if not wanted.strip():
        raise InputError(
            f"expected a table or a query after the address of a database, got {_without_password(url)}; "
            "give sqlite:///shop.db#customers, for example"
        )
    with needed("sqlalchemy", "sql", "databases"):
        import sqlalchemy
    source = f"{_without_password(url)}#{wanted}"
    engine = None
    try:
        engine = sqlalchemy.create_engine(url)
        is_query = wanted.split()[0].lower() in ("select", "with")
        with engine.connect() as connection:
            if is_query:
                return pd.read_sql_query(sqlalchemy.text(wanted), connection), source
            return pd.read_sql_table(wanted, connection), source
    except (sqlalchemy.exc.SQLAlchemyError, ValueError, ImportError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise InputError(
            f"cannot read {source} ({reason}); check the address, the name of the table and the driver"
        ) from error
    finally:
        if engine is not None:
            engine.dispose()


def _without_password(url: str) -> str:
    return re.sub(r"(//[^/@:]*):[^@]*@", r"\1:***@", url)


def is_foreign_frame(source: Any) -> bool:
    """Whether this is a table of another library than pandas, also one that is not computed yet."""
    library = type(source).__module__.partition(".")[0].lstrip("_")
    frames = ("DataFrame", "LazyFrame", "DuckDBPyRelation", "Table", "RecordBatch")
    return hasattr(source, "__arrow_c_stream__") or (
        library in ("polars", "duckdb", "dask", "ibis", "pyspark", "modin", "cudf")
        and type(source).__name__ in frames
    )


def as_pandas(source: Any) -> pd.DataFrame:
    """A table of another library as a pandas frame, by narwhals or by the Arrow interchange protocol.

    Columns of whole numbers and of booleans that have gaps keep their type.
    """
    with needed("pyarrow", "frames", "frames of other libraries"):
        import pyarrow
    if hasattr(source, "__arrow_c_stream__"):
        table = pyarrow.table(source)
    else:
        with needed("narwhals", "frames", "frames of other libraries"):
            import narwhals
        table = narwhals.from_native(source).lazy().collect(backend="pyarrow").to_native()
    frame: pd.DataFrame = table.to_pandas()
    for j, column in enumerate(table.columns):
        if column.null_count and str(column.type) in _WITH_GAPS:
            dtype = pd.api.types.pandas_dtype(_WITH_GAPS[str(column.type)])
            frame.isetitem(j, column.to_pandas(types_mapper={column.type: dtype}.get))
    return frame


def library_of(table: Any) -> str | None:
    """The name of the library that holds a table, `numpy` for arrays; None for pandas and for lazy tables."""
    if isinstance(table, pd.DataFrame):
        return None
    if isinstance(table, np.ndarray):
        return NUMPY
    with needed("narwhals", "frames", "frames of other libraries"):
        import narwhals
    like = narwhals.from_native(table, eager_only=True, pass_through=True)
    return str(like.implementation.value) if isinstance(like, narwhals.DataFrame) else None


def in_library(library: str | None, frame: pd.DataFrame) -> Any:
    """A pandas frame as a table of a library, see `library_of`; arrays are of doubles."""
    if library is None:
        return frame
    if library == NUMPY:
        return frame.to_numpy(np.float64)
    with needed("narwhals", "frames", "frames of other libraries"):
        import narwhals
        import pyarrow
    table = pyarrow.Table.from_pandas(frame, preserve_index=False)
    backend: Any = library
    return narwhals.from_arrow(table, backend=backend).to_native()
