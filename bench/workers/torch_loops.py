"""The loop that tutorials teach, and the same mathematics written for speed."""

import math
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from workers.serve import Segment, serve, timed
from workers.workload import CHANNELS, PIXELS, SIDES, Job, Workload, decoder_widths, encoder_widths

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "silu": nn.SiLU}


def dense(widths: list[int], activation: type[nn.Module]) -> list[nn.Module]:
    """Affine maps with an activation between any two."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), activation()]
    return layers[:-1]


def encoder(w: Workload) -> nn.Sequential:
    """Images (B, 1, 28, 28) to means and log-variances, (B, 2·latent)."""
    activation, layers = ACTIVATIONS[w.activation], []
    if w.network == "conv":
        for fine, coarse in pairwise(CHANNELS):
            layers += [nn.Conv2d(fine, coarse, 4, stride=2, padding=1), activation()]
    return nn.Sequential(*layers, nn.Flatten(), *dense(encoder_widths(w), activation))


def decoder(w: Workload) -> nn.Sequential:
    """z, (B, latent), to logits, (B, 784)."""
    activation = ACTIVATIONS[w.activation]
    layers = dense(decoder_widths(w), activation)
    if w.network == "conv":
        layers += [nn.Unflatten(1, (CHANNELS[-1], SIDES[-1], SIDES[-1]))]
        for coarse, fine in pairwise(CHANNELS[::-1]):
            layers += [activation(), nn.ConvTranspose2d(coarse, fine, 4, stride=2, padding=1)]
    return nn.Sequential(*layers, nn.Flatten())


class VAE(nn.Module):
    """The model, with its loss: minus the bound, summed over a batch."""

    def __init__(self, w: Workload):
        super().__init__()
        self.encoder, self.decoder, self.samples = encoder(w), decoder(w), w.samples

    def forward(self, x: Tensor) -> Tensor:
        mean, log_variance = self.encoder(x).chunk(2, dim=1)
        std = torch.exp(0.5 * log_variance)
        x = x.view(-1, PIXELS)
        if self.samples == 1:
            z = mean + torch.randn_like(std) * std
            cross_entropy = F.binary_cross_entropy_with_logits(self.decoder(z), x, reduction="sum")
            return cross_entropy - 0.5 * torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp())
        noise = torch.randn(self.samples, *mean.shape)
        z = mean + noise * std
        logits = self.decoder(z.flatten(0, 1)).view(self.samples, -1, PIXELS)
        cross_entropy = F.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none")
        # log p(z) − log q(z|x), in which the constants cancel
        log_ratio = 0.5 * (noise.pow(2) - z.pow(2) + log_variance).sum(-1)
        log_weight = log_ratio - cross_entropy.sum(-1)
        return (math.log(self.samples) - torch.logsumexp(log_weight, dim=0)).sum()


def tutorial(job: Job) -> Segment:
    """A loader of float images, `torch.bernoulli`, Adam as it comes, and the loss of every step."""
    w = job.workload
    images = torch.from_numpy(np.load(job.data)).float().div(255).unsqueeze(1)
    loader = DataLoader(TensorDataset(images), batch_size=w.batch, shuffle=True)
    model = VAE(w)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)

    def epoch() -> float:
        model.train()
        total = 0.0
        for (batch,) in loader:
            optimiser.zero_grad()
            loss = model(torch.bernoulli(batch))
            loss.backward()
            total += loss.item()
            optimiser.step()
        return total / len(images)

    return timed(epoch, len(images))


def tuned(job: Job) -> Segment:
    """Images stay bytes in memory, binarised by a comparison of bytes; fused Adam; the loss once an epoch."""
    w = job.workload
    images = torch.from_numpy(np.load(job.data)).unsqueeze(1)
    model = VAE(w)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)

    def epoch() -> float:
        total = torch.zeros(())
        for rows in torch.randperm(len(images)).split(w.batch):
            batch = images[rows]
            # P(v > r) = v / 255 for r uniform on 0 … 254
            noise = torch.empty_like(batch).random_(0, 255)
            loss = model((batch > noise).float())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += loss.detach()
        return float(total) / len(images)

    return timed(epoch, len(images))


LOOPS = {"tutorial": tutorial, "tuned": tuned}


def make(job: Job) -> Segment:
    torch.set_num_threads(job.threads)
    torch.manual_seed(job.seed)
    return LOOPS[job.options["loop"]](job)


if __name__ == "__main__":
    serve(make, {"torch": torch.__version__})
