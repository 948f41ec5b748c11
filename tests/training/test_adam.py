"""Adam has the results of `torch.optim.Adam`, to the bit."""

import pytest
import torch

from backstory.training.adam import Adam

RATES = (0.1, 0.05, 0.03, 0.02)


def parameters():
    return [torch.nn.Parameter(torch.arange(3.0)), torch.nn.Parameter(torch.ones(2, 2).mT)]


def give_gradients(some, step):
    """The second parameter has none at first."""
    some[0].grad = torch.tensor([1.0, -2.0, 0.5 * step])
    some[1].grad = torch.full((2, 2), 0.1 * step) if step > 1 else None


@pytest.mark.parametrize("fused", [True, None])
def test_as_by_pytorch(fused):
    ours, theirs = parameters(), parameters()
    adam, optimiser = Adam(ours, fused=fused), torch.optim.Adam(theirs, fused=fused)
    for step, rate in enumerate(RATES):
        give_gradients(ours, step)
        give_gradients(theirs, step)
        adam.lr = optimiser.param_groups[0]["lr"] = rate
        adam.update()
        optimiser.step()
    assert all(map(torch.equal, ours, theirs))
    state = {
        f"{i}.{k}": v for i, of_one in optimiser.state_dict()["state"].items() for k, v in of_one.items()
    }
    tensors = adam.tensors()
    assert tensors.keys() == state.keys()
    assert all(torch.equal(tensors[name], state[name]) for name in state)


@pytest.mark.parametrize("fused", [True, None])
def test_on_from_its_state(fused):
    whole, halved = parameters(), parameters()
    adam = through = Adam(halved, fused=fused)
    straight = Adam(whole, fused=fused)
    for step in range(4):
        if step == 2:  # the other order in memory
            state = {
                name: value.clone(memory_format=torch.contiguous_format)
                for name, value in adam.tensors().items()
            }
            through = Adam(halved, fused=fused)
            through.load(state)
        for some, one in ((whole, straight), (halved, through)):
            give_gradients(some, step)
            one.update()
    assert all(map(torch.equal, whole, halved))
