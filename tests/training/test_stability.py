"""The average of the weights, and steps that are left out or made smaller."""

import math
import types

import pytest
import torch
from test_model import SMALL, digits
from test_state import Taken
from test_trainer import same, table, trainer, untimed, weights

import backstory
from backstory import InputError
from backstory.runs import checkpoint
from backstory.training.average import Average
from backstory.training.spikes import Spikes
from backstory.training.update import Adam


def test_the_average_is_the_recursion():
    parameter = torch.nn.Parameter(torch.zeros(2))
    average, expected = Average([parameter], 0.5), 0.0
    for t in range(1, 9):
        parameter.data.fill_(float(t))
        average.update(t)
        decay = min(0.5, (1 + t) / (10 + t))
        expected = decay * expected + (1 - decay) * t
    assert average.means[0].tolist() == pytest.approx([expected] * 2)
    with average.in_place():
        assert parameter.tolist() == pytest.approx([expected] * 2)
    assert parameter.tolist() == [8.0, 8.0]
    assert average.means[0].tolist() == pytest.approx([expected] * 2)


def test_validation_and_the_model_use_the_average():
    plain, averaged = (trainer(table(50), table(20, 1), lr=0.02, ema=ema) for ema in (None, 0.9))
    lines = [run.run().epochs for run in (plain, averaged)]
    for a, b in zip(*lines, strict=True):  # the steps are the same, what is judged is not
        assert a["objective"] == b["objective"]
        assert a["validation_objective"] != b["validation_objective"]
    assert not same(weights(plain), weights(averaged))
    again = averaged.evaluate()["validation_objective"]
    assert again == max(line["validation_objective"] for line in lines[1])


def test_a_large_gradient_is_scaled_down():
    run, norms, step = trainer(clip=0.01), [], Adam.update

    def recorded(optimiser):
        norms.append(float(torch.nn.utils.get_total_norm([p.grad for p in run.updates.parameters])))
        return step(optimiser)

    run.updates.optimiser.update = types.MethodType(recorded, run.updates.optimiser)
    run.run()
    assert len(norms) == 15
    assert max(norms) <= 0.01 * (1 + 1e-4)
    assert same(weights(trainer(clip=1e9)), weights(trainer()))


def test_what_is_a_spike():
    spikes = Spikes(5.0)
    assert not any(spikes.is_spike(norm) for norm in [1e6] + 20 * [1.0])  # nothing to compare with at first
    assert spikes.is_spike(5.1)
    assert not spikes.is_spike(4.9)
    new = [spikes.is_spike(100.0) for _ in range(100)]  # a lasting change
    assert new[0]
    assert not new[-1]


def test_a_spike_is_skipped_and_counted():
    rows = table(100)
    rows[7] *= 1e4
    run = trainer(rows, table(7, 1), batch_size=2, skip_spikes=20.0)
    before, step = [], run._step

    def recorded(*arguments):
        here, spikes = weights(run), run.history.spikes
        step(*arguments)
        before.append((run.history.spikes > spikes, same(here, weights(run))))

    run._step = recorded
    history = run.run()
    assert history.spikes == sum(line["spikes"] for line in history.epochs) >= 2
    assert history.skipped == 0
    assert [skipped for skipped, _ in before] == [unchanged for _, unchanged in before]
    assert math.isfinite(history.epochs[-1]["objective"])


@pytest.mark.parametrize("point", [3, 5, 9])
def test_a_run_goes_on_with_its_average_and_its_norms(point):
    def make(autosave=None):
        options = {"ema": 0.95, "clip": 1.0, "skip_spikes": 1.05, "lr": 0.02, "epochs": 8}
        return trainer(validation=table(7, 1), autosave=autosave, **options)

    whole, taken, resumed = make(), Taken(point), make()
    expected = whole.run()
    make(taken).run()
    resumed.load(taken.state)
    assert untimed(resumed.run()) == untimed(expected)
    assert expected.spikes > 0
    assert same(weights(resumed), weights(whole))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ema": 1.0}, "ema has to be between 0 and 1"),
        ({"clip": 0.0}, "clip has to be positive"),
        ({"skip_spikes": 1.0}, "skip_spikes has to be above 1"),
    ],
)
def test_refused_options(options, message):
    with pytest.raises(InputError, match=message):
        trainer(**options)


# -- metrics as a table ------------------------------------------------------------------------------


def test_metrics_as_a_table(tmp_path):
    backstory.fit(digits(), tmp_path / "run", **SMALL)
    table = backstory.load(tmp_path / "run" / "metrics.csv")
    lines = checkpoint.read_metrics(tmp_path / "run")
    assert table.schema.columns == tuple(name for name in lines[0] if name != "kl_per_unit")
    assert table.values[:, 1].tolist() == [line["elbo"] for line in lines]
