"""Recorded functions give what the functions give, to the bit, or are not recorded."""

import itertools

import pytest
import torch
from test_trainer import table, trainer, weights
from torch import nn

from backstory.training.recording import Recorded

INPUTS = [torch.linspace(-2, 3, 12).view(3, 4) * k for k in range(1, 6)]


def outcomes(function):
    """The recorded function and what it gives for each input, beside what the function itself gives."""
    recorded = Recorded()
    return recorded, [(recorded([x], lambda x=x: function(x)), function(x)) for x in INPUTS]


def is_same(pairs):
    return all(torch.equal(a, b) for found, expected in pairs for a, b in zip(found, expected, strict=True))


def gradient_of_a_network():
    layers = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2))
    for parameter in layers.parameters():
        nn.init.constant_(parameter, 0.1)
    parameters = list(layers.parameters())

    def function(x):
        loss = layers(x).square().mean() + torch.where(x > 0, x, 2.0).log().sum()
        return loss.detach(), *torch.autograd.grad(loss, parameters)

    return function, parameters


def test_a_recording_replays_forward_and_backward_pass_with_the_parameters_of_the_moment():
    function, parameters = gradient_of_a_network()
    recorded, pairs = outcomes(function)
    assert recorded.recording is not None
    assert is_same(pairs)
    with torch.no_grad():
        parameters[0].mul_(3)
    (x, *_) = INPUTS
    assert is_same([(recorded([x], lambda: pytest.fail("was computed")), function(x))])


FUNCTIONS = {
    "views": lambda x: (x.t().t().view(12), x.t().reshape(-1), x[1:, 2], x.expand(2, 3, 4), x.unbind(1)[2]),
    "changes of its own": lambda x: (x.clone().add_(1).mul_(x), x.exp().sub_(1, alpha=0.5)),
    "several results": lambda x: (*x.max(1), *torch.split(x, 2, 1), torch.stack(x.unbind(0), 1)),
    "scalars first": lambda x: (2**x, 1 - x, torch.pow(2.0, x), torch.where(x > 1, 0.0, x)),
    "numbers as an index": lambda x: (x[torch.tensor([2, 0])], x.index_select(1, torch.tensor([3]))),
    "new tensors": lambda x: (torch.ones(3) + x[:, 0], torch.full_like(x, float("inf")), torch.tensor([7.0])),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_is_recorded(name):
    recorded, pairs = outcomes(FUNCTIONS[name])
    assert recorded.recording is not None
    assert is_same(pairs)


outside, calls = torch.zeros(3, 4), itertools.count()
REFUSED = {
    "a choice by a value": lambda x: (x + 1,) if float(x.sum()) > 10 else (x,),
    "a shape by a value": lambda x: (x[x > 0].sum(),),
    "a change of an input": lambda x: (x.add_(0),),
    "a change of another tensor": lambda x: (outside.copy_(x).clone(),),
    "a count in Python": lambda x: (x * next(calls),),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_recorded(name):
    recorded, _ = outcomes(REFUSED[name])
    assert recorded.recording is None


def test_draws_are_not_recorded():
    generator = torch.Generator().manual_seed(0)
    recorded = Recorded()
    found = [recorded([x], lambda: (torch.randn(2, generator=generator),)) for x in INPUTS]
    generator.manual_seed(0)
    assert all(torch.equal(draw, torch.randn(2, generator=generator)) for (draw,) in found)


@pytest.mark.parametrize("objective", ["elbo", "iwae", "dreg", "score", "mmd", "tcvae"])
@pytest.mark.parametrize("options", [{}, {"clip": 0.5, "ema": 0.9}, {"skip_spikes": 5.0}])
def test_a_run_ends_with_the_weights_of_one_that_records_nothing(objective, options):
    samples = 3 if objective in ("iwae", "dreg") else 1
    plain, run = (
        trainer(table(33), objective=objective, samples=samples, batch_size=5, **options) for _ in "ab"
    )
    plain.step.recorded = None
    lines = [r.run().epochs for r in (plain, run)]
    assert (run.step.recorded.recording is None) == (objective == "mmd")
    assert [x["objective"] for x in lines[0]] == [x["objective"] for x in lines[1]]
    assert all(torch.equal(value, weights(run)[name]) for name, value in weights(plain).items())
