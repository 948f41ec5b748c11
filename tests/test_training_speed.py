"""bench/training_speed.py: the products are those of a step, and a small measurement gives a sound record."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from backstory.data.arrays import from_array
from backstory.models import build
from backstory.models.defaults import resolve
from backstory.objectives.registry import OBJECTIVES
from backstory.options import ModelOptions

BENCH = Path(__file__).parents[1] / "bench"
NAMES = ("W1", "W2a", "W2b", "W2c", "W3")


@pytest.fixture(autouse=True)
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))


def counted(step) -> int:
    """Operations of the products and convolutions in a step, as PyTorch counts them."""
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops()


@pytest.mark.parametrize("name", NAMES)
def test_operations_are_those_of_every_way_to_take_a_step(name):
    from training_speed import WORKLOADS
    from workers import backstory_fit, products, torch_loops
    from workers.workload import operations

    w = WORKLOADS[name]
    w = replace(w, batch=4, samples=min(w.samples, 3))
    maps = products.bare_step(w)
    assert counted(lambda: products.run(maps)) == operations(w)

    x = torch.zeros(w.batch, 1, 28, 28)
    model = torch_loops.VAE(w)
    assert counted(lambda: model(x).backward()) == operations(w)

    options = backstory_fit.options(w)
    samples, objective = options.pop("samples", 1), OBJECTIVES[options.pop("objective")]
    del options["batch_size"]
    images = np.zeros((2, 28, 28), np.uint8)
    images[0] = np.arange(784).reshape(28, 28) % 256
    schema, resolved = resolve(from_array(images).schema, ModelOptions(**options))
    vae = build.build(schema, resolved)
    terms = vae.terms
    assert counted(lambda: objective(terms(x[:, 0], samples=samples)).sum().backward()) == operations(w)


@pytest.mark.parametrize(("name", "loop"), [("W1", "tutorial"), ("W2c", "tuned"), ("W3", "tuned")])
def test_loops_train(name, loop, tmp_path):
    from training_speed import WORKLOADS, synthetic
    from workers import torch_loops
    from workers.workload import Job

    synthetic(tmp_path / "images.npy", 40, 0)
    job = Job(WORKLOADS[name], str(tmp_path / "images.npy"), str(tmp_path), 1, 0, {"loop": loop})
    answer = torch_loops.make(Job.read(job.write()))(2)
    assert answer["samples"] == 80
    assert answer["epochs"] == 2
    assert answer["seconds"] > 0


def test_importance_weighted_loss_with_equal_draws_is_the_sampled_bound(monkeypatch):
    """With the same noise in every draw, log-mean-exp is log w itself."""
    from workers.torch_loops import VAE
    from workers.workload import Workload

    w = Workload(batch=3, hidden=(8,), latent=2, samples=4)
    model, x = VAE(w).requires_grad_(False), torch.bernoulli(torch.full((3, 1, 28, 28), 0.3))
    noise = torch.randn(1, 3, 2)
    monkeypatch.setattr(torch, "randn", lambda *shape: noise.expand(*shape))
    mean, log_variance = model.encoder(x).chunk(2, 1)
    q = torch.distributions.Normal(mean, torch.exp(0.5 * log_variance))
    z = q.mean + noise[0] * q.stddev
    p = torch.distributions.Bernoulli(logits=model.decoder(z))
    prior = torch.distributions.Normal(0.0, 1.0).log_prob(z) - q.log_prob(z)
    expected = p.log_prob(x.flatten(1)).sum() + prior.sum()
    assert float(model(x)) == pytest.approx(-float(expected), rel=1e-5)


def test_synthetic_images_have_the_ink_of_mnist(tmp_path):
    from training_speed import synthetic

    synthetic(tmp_path / "images.npy", 300, 0)
    images = np.load(tmp_path / "images.npy")
    assert images.dtype == np.uint8
    assert np.mean(images > 0) == pytest.approx(0.19, abs=0.01)
    assert np.mean(images) / 255 == pytest.approx(0.13, abs=0.01)


def test_a_measurement_leaves_a_record_and_a_picture(tmp_path, monkeypatch, capsys):
    import training_speed

    monkeypatch.setattr(training_speed, "LEAST_SECONDS", 1e-3)
    shared = ["--threads", "1", "--repeats", "1", "--rows", "256", "--contenders", "tuned eager"]
    shared += ["--output", str(tmp_path / "speed.json")]
    training_speed.main([*shared, "--workloads", "W1"])
    record = json.loads((tmp_path / "speed.json").read_text())
    found = record["workloads"]["W1"]["contenders"]["tuned eager"]
    assert found["ratios"][0] == found["fraction_of_bare_products"] > 0
    assert found["versions"]["torch"] == torch.__version__
    assert record["command"].startswith("python bench/training_speed.py --threads 1")
    assert "W1" in capsys.readouterr().out

    record["growth"] = {axis: {"20": record["workloads"]["W1"]} for axis in ("batch size", "width", "rows")}
    training_speed.draw(record, tmp_path / "growth.png")
    assert (tmp_path / "growth.png").stat().st_size < 150_000


def test_a_worker_that_fails_says_why(tmp_path):
    from training_speed import Contender, parse, started
    from workers.workload import Workload

    a = parse(["--threads", "1"])
    w = Workload(batch=2, hidden=(8,), latent=2)
    with (
        started(Contender("nowhere"), w, tmp_path, tmp_path / "scratch", a) as worker,
        pytest.raises(SystemExit, match="No module named"),
    ):
        worker.ready()
