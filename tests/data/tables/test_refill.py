"""Cells that are filled in the file that they came from."""

import numpy as np
import pandas as pd

from backstory.data.load import load
from backstory.data.tables.cells import Cells
from backstory.data.tables.frames import filled, whole_frame
from backstory.data.tables.layout import Told
from backstory.data.tables.refill import cell_texts, refilled

TEXT = 'id,plan,x,note\n1,"plus, yearly", 2.50 ,"two\nlines"\n2,,,"say ""no"""\n3,free,?,plain\n'


def test_cells_are_filled_around_quotes_and_levels_stay(tmp_path) -> None:
    (tmp_path / "a.csv").write_text(TEXT)
    train = pd.DataFrame({"plan": ["basic", "plus, yearly"] * 10, "x": np.arange(20) / 4})
    schema = load(train).schema.model_copy(
        update={
            "left_out": load(train.assign(id=range(20), note=[f"n{i}" for i in range(20)])).schema.left_out
        }
    )
    data = load(tmp_path / "a.csv", schema=schema)
    fill = np.isnan(data.values)
    assert fill.tolist() == [[False, False], [True, True], [True, True]]
    values = np.where(fill, [1, 1.25], data.values)
    text = refilled(
        tmp_path / "a.csv", Told(), fill, cell_texts(values, fill, data.schema.kinds), data.places, fill
    )
    expected = TEXT.replace("2,,,", '2,"plus, yearly",1.25,').replace("free,?", "free,1.25")
    assert text == expected
    frame = filled(whole_frame(tmp_path / "a.csv", data), Cells.of(values, fill, fill, data))
    assert frame["plan"].tolist() == ["plus, yearly", "plus, yearly", "free"]
    assert frame["x"].tolist() == [2.5, 1.25, 1.25]
    assert frame["note"].tolist() == ["two\nlines", 'say "no"', "plain"]
