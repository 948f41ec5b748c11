"""Pythae's trainer on the same networks, in an environment of its own (`pip install pythae`)."""

import time
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pythae.data.datasets import BaseDataset
from pythae.models import IWAE, VAE, IWAEConfig, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from pythae.trainers.training_callbacks import TrainingCallback
from torch import Tensor

from workers import torch_loops
from workers.serve import Answer, Segment, serve
from workers.workload import Job, Workload


class Encoder(BaseEncoder):
    def __init__(self, w: Workload):
        super().__init__()
        self.layers = torch_loops.encoder(w)

    def forward(self, x: Tensor) -> ModelOutput:
        mean, log_variance = self.layers(x).chunk(2, dim=1)
        return ModelOutput(embedding=mean, log_covariance=log_variance)


class Decoder(BaseDecoder):
    def __init__(self, w: Workload):
        super().__init__()
        self.layers = torch_loops.decoder(w)

    def forward(self, z: Tensor) -> ModelOutput:
        return ModelOutput(reconstruction=torch.sigmoid(self.layers(z)))


class Binarised:
    """Binarises each batch as a whole, which Pythae leaves to its data sets, row by row."""

    def forward(self, inputs: Any, **kwargs: Any) -> ModelOutput:
        inputs["data"] = torch.bernoulli(inputs["data"])
        return super().forward(inputs, **kwargs)


class BinarisedVAE(Binarised, VAE):
    pass


class BinarisedIWAE(Binarised, IWAE):
    pass


class Clock(TrainingCallback):
    """When each epoch began, and when the last one was over."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_epoch_begin(self, *args: Any, **kwargs: Any) -> None:
        self.times.append(time.perf_counter())

    def on_epoch_end(self, *args: Any, **kwargs: Any) -> None:
        self.end = time.perf_counter()


def model(w: Workload) -> VAE:
    shared: dict[str, Any] = {"input_dim": (1, 28, 28), "latent_dim": w.latent, "reconstruction_loss": "bce"}
    if w.samples == 1:
        return BinarisedVAE(VAEConfig(**shared), Encoder(w), Decoder(w))
    config = IWAEConfig(**shared, number_samples=w.samples)
    return BinarisedIWAE(config, Encoder(w), Decoder(w))


def make(job: Job) -> Segment:
    torch.set_num_threads(job.threads)
    images = torch.from_numpy(np.load(job.data)).float().div(255).unsqueeze(1)
    data = BaseDataset(images, torch.zeros(len(images)))

    def segment(epochs: int) -> Answer:
        clock = Clock()
        config = BaseTrainerConfig(
            output_dir=str(Path(job.folder) / "pythae"),
            num_epochs=1 + epochs,
            per_device_train_batch_size=job.workload.batch,
            learning_rate=1e-3,
            no_cuda=True,
        )
        BaseTrainer(model(job.workload), data, training_config=config, callbacks=[clock]).train()
        seconds = [after - before for before, after in pairwise([*clock.times, clock.end])][1:]
        return {"samples": epochs * len(images), "seconds": sum(seconds), "epochs": 1 + epochs}

    return segment


if __name__ == "__main__":
    serve(make, {"pythae": version("pythae"), "torch": torch.__version__})
