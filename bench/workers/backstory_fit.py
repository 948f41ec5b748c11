"""`backstory.fit` as the command line calls it, with a folder for the run and freed memory kept.

Its time is that of the run's metrics.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

import backstory
from workers.serve import Answer, Segment, serve
from workers.workload import Job, Workload


def options(w: Workload) -> dict[str, Any]:
    """The workload in the words of `fit`."""
    if w.network == "conv":
        network: dict[str, Any] = {"network": "conv"}
    else:
        network = {"network": "plain", "hidden": w.hidden, "activation": w.activation}
    objective = {"objective": "iwae", "samples": w.samples} if w.samples > 1 else {"objective": "elbo"}
    return {"likelihood": "bernoulli", "latent": w.latent, "batch_size": w.batch, **network, **objective}


def make(job: Job) -> Segment:
    torch.set_num_threads(job.threads)
    backstory.keep_memory()
    images, run = np.load(job.data), Path(job.folder) / "run"
    chosen = {"validation": 0.0, "seed": job.seed, "device": "cpu", **options(job.workload), **job.options}

    def segment(epochs: int) -> Answer:
        # the first epoch of a run warms up, or compiles, and is left out
        backstory.fit(images, run, epochs=1 + epochs, force=True, **chosen)
        lines = (run / "metrics.jsonl").read_text().splitlines()
        seconds = [json.loads(line)["seconds"] for line in lines[1:]]
        assert len(seconds) == epochs
        return {"samples": epochs * len(images), "seconds": sum(seconds), "epochs": 1 + epochs}

    return segment


if __name__ == "__main__":
    serve(make, {"backstory": backstory.__version__, "torch": torch.__version__})
