"""One step of training: its gradient, its draws, and the graph that it may be compiled into."""

import itertools
import shutil

import pytest
import torch
from test_trainer import GREY, table, trainer, weights

from backstory.data.stored import Stored
from backstory.errors import InputError
from backstory.objectives.registry import OBJECTIVES
from backstory.options import TrainOptions
from backstory.training import compile
from backstory.training.compile import decide, pays

CPU = torch.device("cpu")


def grey(rows=24):
    return torch.randint(256, (rows, 4, 5), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


def run_of(objective, **options):
    samples = 4 if objective in ("iwae", "miwae", "renyi", "dreg") else 1
    model = {"likelihood": "bernoulli", "hidden": (8,), "latent": 3}
    return trainer(grey(), grey(6), GREY, model, objective=objective, samples=samples, epochs=2, **options)


# -- gradients --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_gradient_is_that_of_the_mean_objective(objective):
    run = run_of(objective)
    values = torch.as_tensor(run.rows.values)[:7]
    batch = run.bound.batch(Stored(values), 7, torch.Generator().manual_seed(1))
    outcome = run.step(batch, torch.tensor(0.5), 7, torch.Generator().manual_seed(2))
    found = [p.grad.clone() for p in run.updates.parameters]
    run.vae.zero_grad()
    parts = run.bound(batch, 0.5, len(run.rows), torch.Generator().manual_seed(2))
    (-parts.objective.mean()).backward()
    expected = [torch.zeros_like(p) if p.grad is None else p.grad for p in run.updates.parameters]
    parts = parts._replace(objective=parts.objective.detach(), reconstruction=parts.reconstruction.detach())
    for a, b in zip(found, expected, strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-6)
    assert float(outcome.norm) == pytest.approx(float(torch.nn.utils.get_total_norm(expected)), rel=1e-4)
    sums = (parts.objective, parts.reconstruction, parts.kl.detach())
    assert outcome.sums.tolist() == pytest.approx([*(float(s.sum()) for s in sums), 7], rel=1e-4)
    assert not outcome.failed


def test_a_step_that_is_not_finite_is_marked_and_adds_nothing():
    run = trainer(table(30))
    values = table(5).index_fill(0, torch.tensor([2]), torch.nan)
    batch = run.bound.batch(Stored(values), 5, torch.Generator().manual_seed(1))
    outcome = run.step(batch, torch.tensor(1.0), 5, run.generator)
    assert outcome.failed == 1
    assert outcome.sums.tolist() == 4 * [0]


@pytest.mark.parametrize("world", [1, 2, 3, 7])
def test_processes_share_out_the_draws_of_a_whole_batch(world):
    """Also where there are more of them than rows."""
    bound, values = run_of("iwae").bound, grey(5)
    whole = bound.batch(Stored(values), 5, torch.Generator().manual_seed(1))
    for rank in range(world):
        part = bound.batch(Stored(values[rank::world]), 5, torch.Generator().manual_seed(1), rank, world)
        assert torch.equal(part.x, whole.x[rank::world])
        assert torch.equal(part.noise, whole.noise[:, rank::world])


def test_bfloat16_is_close_and_keeps_single_precision_outside_the_networks():
    full, low = (run_of("elbo", precision=precision) for precision in ("float32", "bf16"))
    values = grey(20)
    batch = full.bound.batch(Stored(values), 20, torch.Generator().manual_seed(1))
    a, b = (run.bound(batch, 1.0, 24) for run in (full, low))
    assert b.objective.dtype == torch.float32
    assert not torch.equal(a.objective, b.objective)
    assert torch.allclose(a.objective, b.objective, rtol=0.02)
    history = low.run()
    assert history.epochs[-1]["skipped"] == 0


# -- compilation ------------------------------------------------------------------------------------------


class Clock:
    """A clock on which so many seconds pass whenever it is looked at."""

    def __init__(self, seconds):
        self.now, self.seconds = 0.0, seconds

    def perf_counter(self):
        self.now += self.seconds
        return self.now


compiler = pytest.mark.skipif(not compile._has_compiler(CPU), reason="there is no C++ compiler here")


@compiler
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("objective", ["elbo", "iwae"])
def test_a_compiled_run_ends_where_an_eager_one_does(objective):
    """Up to rounding: an epoch has full batches, which are compiled, and a short one, which is not."""
    eager, compiled = (run_of(objective, compile=choice, batch_size=10) for choice in (False, True))
    lines = [run.run().epochs for run in (eager, compiled)]
    assert compiled.step.graph is not None
    for a, b in zip(*lines, strict=True):
        assert a["objective"] == pytest.approx(b["objective"], rel=1e-4)
        assert a["validation_elbo"] == pytest.approx(b["validation_elbo"], rel=1e-4)
    for name, value in weights(eager).items():
        assert torch.allclose(value, weights(compiled)[name], rtol=1e-3, atol=1e-4)


def test_a_compiler_that_fails_costs_one_line(caplog, monkeypatch):
    def broken(*arguments, **settings):
        raise RuntimeError("no such file: g++\nand a long trace")

    monkeypatch.setattr(torch, "compile", lambda function, **settings: broken)
    run, plain = run_of("elbo", compile=True), run_of("elbo")
    run.run()
    plain.run()
    assert [r.getMessage() for r in caplog.records] == [
        "training goes on without compilation, which failed: no such file: g++"
    ]
    assert all(torch.equal(value, weights(plain)[name]) for name, value in weights(run).items())


def test_a_release_of_torch_that_cannot_compile_a_step_costs_one_line(caplog, monkeypatch):
    monkeypatch.delattr(torch.compiler, compile.GUARDS)
    run, plain = run_of("elbo", compile=True), run_of("elbo")
    run.run()
    plain.run()
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(
        f"training goes on without compilation, which failed: torch {torch.__version__} does not"
    )
    assert all(torch.equal(value, weights(plain)[name]) for name, value in weights(run).items())


def test_long_runs_are_compiled_where_that_pays(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/g++")
    long, short = (
        TrainOptions(epochs=n, batch_size=10, objective="elbo") for n in (compile.LEAST_STEPS // 100, 2)
    )
    assert decide(long, 1000, CPU).compile is True
    assert decide(short, 1000, CPU).compile is False
    for minutes, choice in ((0.5, False), (10.0, None)):  # None: its steps have to be timed first
        assert decide(long.model_copy(update={"minutes": minutes}), 1000, CPU).compile is choice
    for choice, options in itertools.product((True, False), (long, short)):
        asked = options.model_copy(update={"compile": choice})
        assert decide(asked, 1000, CPU).compile is choice
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert decide(long, 1000, CPU).compile is False


@pytest.mark.parametrize(
    ("epochs", "seconds", "choice"), [(None, 1e-3, True), (None, 2.0, False), (5, 1e-3, False)]
)
def test_a_run_of_minutes_is_compiled_where_they_allow_enough_steps(monkeypatch, epochs, seconds, choice):
    """Steps of 2 s make 105 steps in 3.5 minutes; five epochs make 500."""
    monkeypatch.setattr(compile, "time", Clock(seconds))
    options = TrainOptions(epochs=epochs, minutes=3.5, batch_size=10, objective="elbo")
    assert pays(options, 1000, lambda: None) is choice


@pytest.mark.parametrize("objective", ["dreg", "score", "mmd"])
def test_objectives_that_cannot_be_compiled(objective):
    options = TrainOptions(epochs=10**6, batch_size=1, objective=objective)
    assert decide(options, 100, CPU).compile is False
    with pytest.raises(InputError, match=f"objective {objective} cannot be compiled"):
        decide(options.model_copy(update={"compile": True}), 100, CPU)


@compiler
@pytest.mark.filterwarnings("ignore")
def test_a_compiled_step_marks_what_is_not_finite():
    run = trainer(table(30), compile=True)
    for bad in (torch.nan, torch.inf, None):
        values = table(5) if bad is None else table(5).index_fill(0, torch.tensor([2]), bad)
        batch = run.bound.batch(Stored(values), 5, torch.Generator().manual_seed(1))
        outcome = run.step(batch, torch.tensor(1.0), 5, run.generator)
        assert run.step.graph is not None
        assert bool(outcome.failed) == (bad is not None)
        assert (outcome.sums.tolist() == 4 * [0]) == (bad is not None)
