"""scikit-learn estimators: a VAE that imputes, gives densities, finds outliers or makes features.

Rows are arrays or frames of numbers, (n_samples, n_features); every column is taken as continuous, and NaN is
a missing cell, in training too. Or they are a pandas frame with columns of texts, categories or dates: then
all its columns are read as `backstory.load` reads them, what they hold is found out from the training rows
(or `options={"columns": …}` say it), and rows come back as frames.

What an estimator holds is pickled as the files of a run, JSON and safetensors, never as a module of PyTorch.
After training they compute in double precision, so that what is said of a row does not depend on the rows
beside it. Only what is drawn does: imputed means have the noise of draws that go by a row's place.
"""

from typing import Any

BATCH, STEPS = 128, 600  # of a network of the outlier detector


_DETECTOR: dict[str, Any] = {
    "likelihood": "gaussian-predicted",
    "hidden": (64, 64),
    "objective": "iwae",
    "samples": 2,
    "batch_size": BATCH,
    "validation": 0.0,
    "compile": False,
}
