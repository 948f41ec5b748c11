"""The state of a run between two steps: another trainer goes on from it to the same end."""

import json
import time

import pytest
import torch
from test_trainer import GREY, restless, same, table, trainer, untimed, weights

from backstory.errors import InputError
from backstory.training.state import Autosave, State, prefixed, under


class Taken(Autosave):
    """A state at a given point of a run, as it would come back from the disk."""

    def __init__(self, point):
        super().__init__(self.take)
        self.point, self.seen, self.state = point, -1, None

    def due(self, end_of_epoch):
        self.seen += 1
        return self.seen == self.point

    def take(self, state):
        if self.seen == self.point:
            tensors = {name: tensor.clone() for name, tensor in state.tensors.items()}
            self.state = State(tensors, json.loads(json.dumps(state.values)))


def grey():
    return torch.randint(256, (23, 4, 5), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


CASES = {
    "plain": lambda autosave: trainer(validation=table(7, 1), warmup=1, autosave=autosave),
    "without validation": lambda autosave: trainer(lr=0.1, autosave=autosave),
    "best weights": lambda autosave: restless(epochs=30, autosave=autosave),
    "patience": lambda autosave: restless(patience=3, autosave=autosave),
    "binarised, many draws": lambda autosave: trainer(
        grey(), grey()[:5], GREY, {"likelihood": "bernoulli"}, objective="iwae", samples=3, autosave=autosave
    ),
    "draws of the objective": lambda autosave: trainer(objective="mmd", autosave=autosave),
    "skipped steps": lambda autosave: trainer(
        table(23).index_fill(0, torch.tensor([4]), torch.nan), table(7, 1), autosave=autosave
    ),
}


@pytest.mark.parametrize("point", [0, 4, 5, 9])
@pytest.mark.parametrize("case", CASES)
def test_a_run_goes_on_from_any_step_to_the_same_end(case, point):
    """Within an epoch, at its end, after it."""
    whole, taken = CASES[case](None), Taken(point)
    expected = whole.run()
    CASES[case](taken).run()
    resumed = CASES[case](None)
    resumed.load(taken.state)
    history = resumed.run()
    assert same(weights(resumed), weights(whole))
    assert untimed(history) == untimed(expected)
    assert (history.best_epoch, history.skipped, history.stopped) == (
        expected.best_epoch,
        expected.skipped,
        expected.stopped,
    )


def test_only_the_rows_that_are_left_are_visited():
    taken, sizes = Taken(3), []
    trainer(autosave=taken).run()
    run = trainer()
    run.load(taken.state)
    run.run(advance=sizes.append)
    assert sizes == [3] + 2 * [5, 5, 5, 5, 3]


def test_a_time_budget_counts_the_time_before():
    taken = Taken(3)
    trainer(minutes=5.0, autosave=taken).run()
    taken.state.values["elapsed"] = 600.0
    run = trainer(minutes=5.0)
    run.load(taken.state)
    assert run.run().stopped == "time"
    assert len(run.history.epochs) == 1


def test_a_state_of_another_device_is_refused():
    taken = Taken(0)
    trainer(autosave=taken).run()
    taken.state.values["device"] = "cuda"
    with pytest.raises(InputError, match=r"started on device cuda, got cpu; go on with `device` cuda"):
        trainer().load(taken.state)


def test_names_come_back_without_their_prefix():
    tensors = {"a.b": torch.zeros(1), "a.prefix.c": torch.ones(1)}
    assert under("model", {**prefixed("model", tensors), "modelling": torch.zeros(2)}) == tensors


@pytest.mark.parametrize(
    ("since", "cost", "end_of_epoch", "due"),
    [
        (61, 0.0, False, True),
        (59, 0.0, False, False),
        (59, 0.5, True, True),
        (49, 0.5, True, False),
        (0, 0.0, True, True),
    ],
)
def test_when_a_checkpoint_is_due(monkeypatch, since, cost, end_of_epoch, due):
    monkeypatch.setattr(time, "monotonic", lambda: 1000.0)
    autosave = Autosave(lambda state: None, every=60)
    autosave.cost, autosave.last = cost, 1000.0 - since
    assert autosave.due(end_of_epoch) == due
    assert not Autosave(None, every=0).due(end_of_epoch)
