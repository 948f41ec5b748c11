"""Training: every row counts, the best weights are kept, and a bad step does no harm."""

import itertools
import json
import math

import pytest
import torch

from backstory.data.schema import Schema
from backstory.errors import InputError, TrainingFailed
from backstory.models import build
from backstory.models.defaults import ScheduleDefaults, resolve
from backstory.objectives.registry import OBJECTIVES
from backstory.options import ModelOptions, TrainOptions
from backstory.training import schedule
from backstory.training import trainer as train
from backstory.training.schedule import learning_rate
from backstory.training.trainer import Trainer

TABLE = Schema(kind="table", shape=(4,), dtype="float32", columns=("a", "b", "c", "d"))
BINARY = Schema(kind="images", shape=(4, 5), dtype="uint8", levels=2, maximum=1)
GREY = Schema(kind="images", shape=(4, 5), dtype="uint8", levels=256, maximum=255)


def table(rows=23, seed=0):
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(rows, 1, generator=generator)
    return z + 0.3 * torch.randn(rows, 4, generator=generator)


def trainer(rows=None, validation=None, schema=TABLE, model=None, autosave=None, **options):
    schema, resolved = resolve(schema, ModelOptions(**{"latent": 2, "hidden": (8,), **(model or {})}))
    rows = table() if rows is None else rows
    validation = rows[:0] if validation is None else validation
    values = {"epochs": 3, "batch_size": 5, "warmup": 0, "compile": False, **options}
    resolved_options = schedule.resolve(TrainOptions(**values), len(rows), ScheduleDefaults(2e-3))
    vae = build.build(schema, resolved, resolved_options.seed)
    return Trainer(vae, schema, rows, validation, resolved_options, autosave)


def weights(run):
    return {name: value.detach().clone() for name, value in run.vae.state_dict().items()}


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


def untimed(history):
    return [{k: v for k, v in metrics.items() if k != "seconds"} for metrics in history.epochs]


# -- determinism ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_same_seed_same_run(objective):
    state = torch.get_rng_state()
    runs = [trainer(validation=table(7, 1), seed=s, objective=objective, samples=2) for s in (3, 3, 4)]
    histories = []
    for i, run in enumerate(runs):
        torch.manual_seed(i)
        before = torch.get_rng_state()
        histories.append(untimed(run.run()))
        assert torch.equal(torch.get_rng_state(), before)  # the global state is never touched
    torch.set_rng_state(state)
    assert histories[0] == histories[1] != histories[2]
    assert same(weights(runs[0]), weights(runs[1]))
    assert not same(weights(runs[0]), weights(runs[2]))


# -- rows -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "batch_size"), [(23, 5), (20, 5), (7, 100), (5, 1)])
def test_every_row_is_visited_once_in_every_epoch(rows, batch_size):
    run = trainer(table(rows), batch_size=batch_size)
    seen, sizes, step = [], [], run.step

    def watched(batch, *arguments):
        seen.append(batch.x.clone())
        return step(batch, *arguments)

    watched.graph = None
    run.step = watched
    run.run(advance=sizes.append)
    per_epoch = [min(batch_size, rows)] * (rows // batch_size) + [rows % batch_size] * (rows % batch_size > 0)
    per_epoch = per_epoch if batch_size <= rows else [rows]
    assert sizes == 3 * per_epoch
    epochs = torch.cat(seen).view(3, rows, 4)
    for epoch in epochs:
        assert torch.equal(epoch[epoch[:, 0].argsort()], table(rows)[table(rows)[:, 0].argsort()])
    assert not torch.equal(epochs[0], epochs[1])  # in another order


@pytest.mark.parametrize("rows", [3, 23])
def test_a_row_counts_the_same_in_a_short_batch_of_the_report(rows):
    """With nothing learned, the epoch's figures are means over rows whatever the batches."""
    figures = []
    for batch_size in (1, 5, 23):
        run = trainer(table(rows), batch_size=batch_size, lr=1e-30, model={"posterior": "delta"})
        figures.append(run.run().epochs[0]["reconstruction"])
    assert figures == pytest.approx([figures[0]] * 3, rel=1e-5)


# -- what is reported -------------------------------------------------------------------------------------


def test_metrics_of_an_epoch():
    run = trainer(validation=table(7, 1), warmup=2, epochs=4, beta=0.5)
    lines = []
    history = run.run(on_epoch=lines.append)
    assert lines == history.epochs
    for epoch, line in enumerate(lines, 1):
        assert json.loads(json.dumps(line, allow_nan=False)) == line
        assert {"objective", "elbo", "reconstruction", "kl", "beta", "lr", "skipped", "seconds"} <= set(line)
        assert line["epoch"] == epoch
        assert line["beta"] == pytest.approx(0.5 * min(1, epoch / 3))
        assert line["elbo"] == pytest.approx(line["reconstruction"] - line["kl"])
        assert line["objective"] == pytest.approx(
            line["reconstruction"] - line["beta"] * line["kl"], rel=1e-5
        )
        parts = {name: line[f"validation_{name}"] for name in ("objective", "elbo", "reconstruction", "kl")}
        assert parts["elbo"] == pytest.approx(parts["reconstruction"] - parts["kl"])
        # Validation is judged at the final β from the first epoch on
        assert parts["objective"] == pytest.approx(parts["reconstruction"] - 0.5 * parts["kl"], rel=1e-5)
        assert sum(line["kl_per_unit"]) == pytest.approx(parts["kl"], rel=1e-5)
        assert len(line["kl_per_unit"]) == 2
        assert 0 <= line["active_units"] <= 2


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_figures_are_sums_over_entries_and_nats(objective):
    """A Bernoulli model that knows nothing has −D ln 2, and no mean over pixels."""
    rows = torch.randint(2, (23, 4, 5), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    run = trainer(rows, rows[:6], BINARY, lr=1e-30, epochs=1, objective=objective)
    torch.nn.init.zeros_(run.vae.decoder.layers[-1].weight)
    torch.nn.init.zeros_(run.vae.decoder.layers[-1].bias)
    line = run.run().epochs[0]
    for name in ("reconstruction", "validation_reconstruction"):
        assert line[name] == pytest.approx(-20 * math.log(2), rel=1e-6)


def test_the_objective_of_validation_is_that_of_training():
    values = {}
    for objective, samples in (("elbo", 1), ("iwae", 1), ("iwae", 50)):
        run = trainer(table(50), table(300, 1), objective=objective, samples=samples, lr=1e-30, epochs=1)
        values[objective, samples] = run.run().epochs[0]
    assert values["iwae", 50]["validation_objective"] > values["iwae", 50]["validation_elbo"] + 0.01
    assert values["iwae", 50]["objective"] > values["iwae", 50]["elbo"] + 0.01
    elbo = values["elbo", 1]
    assert elbo["validation_objective"] == pytest.approx(elbo["validation_elbo"], rel=1e-5)
    assert values["iwae", 1]["validation_objective"] == pytest.approx(elbo["validation_elbo"], rel=0.05)


@pytest.mark.parametrize("schema", [TABLE, GREY])
def test_validation_draws_are_the_same_in_every_epoch(schema):
    """Without learning, all epochs are judged equal to the last bit, dynamic binarisation included."""
    rows, model = table(), None
    if schema is GREY:
        rows = torch.randint(256, (23, 4, 5), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
        model = {"likelihood": "bernoulli"}
    run = trainer(rows, rows[:11], schema, model, lr=1e-30, warmup=2)
    lines = untimed(run.run())
    names = [name for name in lines[0] if name.startswith("validation_")]
    assert len(names) == 4
    for line in lines[1:]:
        assert {name: line[name] for name in names} == {name: lines[0][name] for name in names}
    assert lines[0]["elbo"] != lines[1]["elbo"]  # training draws anew


def test_training_binarises_anew():
    rows = torch.full((6, 4, 5), 128, dtype=torch.uint8)
    run = trainer(rows, schema=GREY, model={"likelihood": "bernoulli"}, batch_size=6)
    seen, terms = [], run.vae.terms

    def recorded(observation, samples, **kwargs):
        seen.append(observation.x.clone())
        return terms(observation, samples, **kwargs)

    run.vae.terms = recorded
    run.run()
    for a, b in itertools.combinations(seen[::2], 2):  # training steps; the others show the use of codes
        assert not torch.equal(a, b)
    assert set(torch.stack(seen).unique().tolist()) == {0.0, 1.0}


# -- the weights that are kept ----------------------------------------------------------------------------


def restless(**options):
    """A run whose σ shrinks to that of its rows, so that its best weights are not the last ones."""
    values = {"lr": 0.1, "epochs": 40, "patience": 100, **options}
    return trainer(0.1 * table(8), 2 * table(40, 1), **values)


def test_the_best_weights_are_a_copy():
    run, live = restless(), []
    history = run.run(on_epoch=lambda metrics: live.append(weights(run)))
    values = [line["validation_objective"] for line in history.epochs]
    assert history.best_epoch == values.index(max(values)) + 1
    assert history.best_epoch < len(values)  # training went on and did not change them
    assert same(weights(run), live[history.best_epoch - 1])
    assert not same(weights(run), live[-1])
    assert history.stopped == "finished"
    assert not run.vae.training
    # What validation reported is what the returned model gives
    again = run.evaluate()
    assert again["validation_objective"] == max(values)


def test_without_validation_the_last_weights_are_kept():
    run, live = trainer(lr=0.1), []
    history = run.run(on_epoch=lambda metrics: live.append(weights(run)))
    assert history.best_epoch == 3
    assert same(weights(run), live[-1])
    assert not any(name.startswith("validation") for name in history.epochs[0])
    assert len(history.epochs[0]["kl_per_unit"]) == 2


def test_the_last_weights_are_kept_on_request():
    run, live = restless(patience=None, keep="last"), []
    history = run.run(on_epoch=lambda metrics: live.append(weights(run)))
    values = [line["validation_objective"] for line in history.epochs]
    assert history.best_epoch == len(values) > values.index(max(values)) + 1
    assert same(weights(run), live[-1])


def test_the_last_weights_are_kept_that_are_finite(monkeypatch):
    run = restless(patience=None, keep="last", epochs=4)
    values = iter([1.0, 2.0, math.nan, -math.inf])
    monkeypatch.setattr(run, "evaluate", lambda: {"validation_objective": next(values)})
    assert run.run().best_epoch == 2


@pytest.mark.parametrize(("warmup", "epochs"), [(0, 4), (5, 8)])
def test_early_stopping_waits_for_patience_after_the_warm_up(warmup, epochs):
    run = trainer(validation=table(7, 1), lr=1e-30, patience=3, epochs=50, warmup=warmup)
    history = run.run()
    assert history.stopped == "no improvement"
    assert history.best_epoch == 1
    assert len(history.epochs) == epochs


def test_no_early_stopping_without_validation():
    history = trainer(lr=1e-30, patience=1, epochs=9).run()
    assert history.stopped == "finished"
    assert len(history.epochs) == 9


def test_an_interrupt_keeps_the_best_weights():
    run, live, steps = restless(), [], itertools.count(1)

    def advance(rows):
        if next(steps) == 2 * 30 + 1:  # in the middle of the 31st epoch
            raise KeyboardInterrupt

    history = run.run(on_epoch=lambda metrics: live.append(weights(run)), advance=advance)
    assert history.stopped == "interrupted"
    assert len(history.epochs) == 30
    values = [line["validation_objective"] for line in history.epochs]
    assert history.best_epoch == values.index(max(values)) + 1
    assert same(weights(run), live[history.best_epoch - 1])
    assert not run.vae.training


def test_an_interrupt_in_the_first_epoch_leaves_nothing_to_keep():
    def advance(rows):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer().run(advance=advance)


def test_a_validation_value_that_is_never_finite_is_a_failure():
    validation = table(7, 1)
    validation[0, 0] = math.nan
    with pytest.raises(TrainingFailed, match="validation"):
        trainer(table(30), validation, epochs=2).run()


# -- bad steps --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [math.nan, math.inf, 1e30])
def test_a_step_that_is_not_finite_is_skipped_and_counted(bad):
    rows = table(30)
    rows[4, 2] = bad
    run = trainer(rows, table(7, 1), batch_size=3, epochs=4)
    start, terms, before = weights(run), run.vae.terms, []

    def recorded(observation, samples, **kwargs):
        x = observation.x
        before.append((bool(torch.isfinite(x).all() and (x.abs() < 1e20).all()), weights(run)))
        return terms(observation, samples, **kwargs)

    run.vae.terms = recorded
    history = run.run()
    assert history.skipped == 4
    assert [line["skipped"] for line in history.epochs] == [1, 1, 1, 1]
    assert json.dumps(history.epochs, allow_nan=False)
    assert all(torch.isfinite(value).all() for value in weights(run).values())
    assert not same(start, weights(run))
    for (fine, here), (_, following) in itertools.pairwise(before):
        if not fine:  # a skipped step changes nothing at all
            assert same(here, following)


def test_skipped_rows_do_not_count_in_the_means():
    rows = table(30)
    options = {"batch_size": 1, "lr": 1e-30, "epochs": 1, "model": {"posterior": "delta"}}
    clean = trainer(rows[:-1], table(7, 1), **options).run().epochs[0]
    rows[-1] = math.nan
    dirty = trainer(rows, table(7, 1), **options).run().epochs[0]
    assert dirty["reconstruction"] == pytest.approx(clean["reconstruction"], rel=1e-5)


def test_a_run_that_keeps_failing_stops_with_advice():
    steps = []
    run = trainer(torch.full((200, 4), math.nan), table(7, 1), batch_size=2)
    with pytest.raises(
        TrainingFailed, match=r"20 steps in a row .* not finite; try a smaller `lr`"
    ) as caught:
        run.run(advance=steps.append)
    assert len(steps) == 19
    assert "\n" not in str(caught.value)


def test_failures_that_are_not_in_a_row_do_not_stop_a_run():
    rows = table(60)
    rows[::2] = math.nan
    history = trainer(rows, table(7, 1), batch_size=1, epochs=2).run()
    assert history.skipped == 60
    assert history.stopped == "finished"


# -- schedule ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("epochs", "rate"), [(10, 3e-3), (30, 3e-3), (480, 0.75e-3)])
def test_long_runs_have_a_lower_learning_rate(epochs, rate):
    rows = 64_000  # 500 steps in an epoch
    options = schedule.resolve(TrainOptions(epochs=epochs), rows, ScheduleDefaults(3e-3))
    assert options.lr == pytest.approx(rate)
    given = schedule.resolve(TrainOptions(epochs=epochs, lr=5e-3), rows, ScheduleDefaults(3e-3))
    assert given.lr == 5e-3


def test_learning_rate_is_one_cycle():
    progress = [i / 1000 for i in range(1001)]
    rates = [learning_rate(p, 3e-3) for p in progress]
    assert max(rates) == pytest.approx(3e-3)
    top = rates.index(max(rates))
    assert progress[top] == pytest.approx(0.1)
    assert all(a < b for a, b in itertools.pairwise(rates[1 : top + 1]))
    assert all(a > b for a, b in itertools.pairwise(rates[top:]))
    assert 0 < rates[0] < 1e-4
    assert rates[-1] == pytest.approx(0, abs=1e-9)
    assert learning_rate(1.7, 3e-3) == pytest.approx(0, abs=1e-9)


def test_learning_rate_stays_before_it_falls():
    rates = [learning_rate(i / 1000, 3e-3, 0.7) for i in range(1001)]
    assert rates[100:701] == pytest.approx([3e-3] * 601)
    assert all(a > b for a, b in itertools.pairwise(rates[700:]))
    assert rates[-1] == pytest.approx(0, abs=1e-9)


def test_a_run_goes_through_the_cycle():
    run = trainer(table(20), lr=1e-2, epochs=20)
    rates = [line["lr"] for line in run.run().epochs]
    assert max(rates) == pytest.approx(1e-2, rel=0.02)
    assert rates.index(max(rates)) in (1, 2)
    assert rates[-1] < 1e-4


def test_warm_up_raises_beta_linearly():
    run = trainer(warmup=4, beta=2.0, epochs=6)
    assert [line["beta"] for line in run.run().epochs] == pytest.approx([0.4, 0.8, 1.2, 1.6, 2.0, 2.0])


def test_cyclical_warm_up():
    """Fu et al. 2019, fig. 1: in each cycle a rise and as long at the top; a rise of no cycle is cut."""
    fractions = [schedule.warmup_fraction(epoch, 3, 2) for epoch in range(1, 12)]
    assert fractions == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1, 0.25, 0.5, 0.75, 1, 1])
    assert schedule.warmup_end(3, 2) == 9
    for warmup, epoch in itertools.product((0, 1, 4), range(1, 12)):
        assert schedule.warmup_fraction(epoch, warmup) == pytest.approx(min(1, epoch / (warmup + 1)))
    run = trainer(warmup=2, warmup_cycles=2, beta=2.0, epochs=7)
    betas = [line["beta"] for line in run.run().epochs]
    assert betas == pytest.approx([2 / 3, 4 / 3, 2, 2, 2 / 3, 4 / 3, 2])


def test_cycles_fill_the_run_by_default():
    options = schedule.resolve(TrainOptions(warmup_cycles=4, epochs=80), 100, ScheduleDefaults(2e-3))
    assert options.warmup == 10  # Fu et al. 2019: M cycles over the run, half of each a rise
    assert schedule.warmup_end(10, 4) == 70


def test_early_stopping_waits_for_the_last_cycle():
    run = trainer(validation=table(7, 1), lr=1e-30, patience=2, epochs=50, warmup=2, warmup_cycles=3)
    assert len(run.run().epochs) == 12


class Clock:
    """A clock on which a second passes whenever it is looked at."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        self.now += 1
        return self.now


def test_a_time_budget_ends_the_run_with_its_learning_rate_run_down(monkeypatch):
    monkeypatch.setattr(train, "time", Clock())
    run = trainer(table(50), minutes=5, epochs=1000, lr=1e-2)
    history = run.run()
    assert history.stopped == "time"
    assert 2 < len(history.epochs) < 100
    rates = [line["lr"] for line in history.epochs]
    assert max(rates) > 8e-3
    assert rates[-1] < 1e-4
    assert json.dumps(history.epochs, allow_nan=False)


def test_minutes_alone_are_the_length_of_the_run(monkeypatch):
    """All of the time is used, β rises over a quarter of it, and the learning rate falls to zero."""
    monkeypatch.setattr(train, "time", Clock())
    run = trainer(validation=table(7, 1), minutes=5, epochs=None, warmup=None, beta=2.0, lr=1e-2)
    history = run.run()
    assert history.stopped == "time"
    assert run.spent >= 1
    betas = torch.tensor([line["beta"] for line in history.epochs])
    spent = torch.tensor([line["seconds"] for line in history.epochs]).cumsum(0) / 300
    rising = betas < 2
    assert 0.15 < rising.double().mean() < 0.25
    assert torch.allclose(betas[rising], 2 * 4 * spent[rising], atol=0.2)
    assert history.epochs[-1]["lr"] < 1e-4


def test_the_warm_up_of_a_limited_run_follows_the_limit_that_comes_first():
    by_epochs = trainer(table(50), minutes=1e6, epochs=8, warmup=None).run()
    assert by_epochs.stopped == "finished"
    betas = [line["beta"] for line in by_epochs.epochs]
    assert betas[0] < 0.5 < betas[1] < 1 == betas[2] == betas[-1]


def test_cycles_of_a_run_of_minutes():
    plan = schedule.Schedule(1e-3, 0.1, None, None, cycles=3)
    at = {0.0: 0, 1 / 12: 0.5, 1 / 6: 1, 0.25: 1, 5 / 12: 0.5, 0.6: 1, 0.75: 0.5, 5 / 6: 1, 1.0: 1}
    assert [plan.warmup_fraction(1, p) for p in at] == pytest.approx(list(at.values()))
    assert not plan.is_warm(1, 0.6)
    assert plan.is_warm(1, 0.84)


def test_the_clock_starts_after_the_set_up(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(train, "time", clock)
    run = trainer(table(50), minutes=5, epochs=None, warmup=None)
    run.step.graph = lambda batch, warmup, count: run.step._gradient(batch, warmup, count)

    def compiling():
        clock.now += 1e6

    monkeypatch.setattr(run, "_try_step", compiling)
    assert len(run.run().epochs) > 2


def test_patience_that_is_given_also_ends_a_run_of_minutes():
    run = trainer(validation=table(7, 1), lr=1e-30, patience=3, minutes=5, epochs=None, warmup=0)
    history = run.run()
    assert (history.stopped, len(history.epochs)) == ("no improvement", 4)
    options = schedule.resolve(TrainOptions(minutes=5), 100, ScheduleDefaults(2e-3, patience=150))
    assert (options.epochs, options.patience, options.warmup) == (None, None, None)


def test_a_budget_too_short_for_a_step_still_gives_a_model():
    run = trainer(validation=table(7, 1), minutes=1e-9)
    history = run.run()
    assert history.stopped == "time"
    assert len(history.epochs) == 1
    assert all(torch.isfinite(value).all() for value in weights(run).values())


# -- objectives -------------------------------------------------------------------------------------------


def watched(run):
    """What the objective is given, as (training, arguments)."""
    calls, objective = [], run.bound.objective

    def recorded(terms, **given):
        numbers = {k: float(v) if isinstance(v, torch.Tensor) else v for k, v in given.items()}
        calls.append((run.vae.training, numbers))
        return objective(terms, **given)

    run.bound.objective = recorded
    return calls


def test_an_objective_is_given_what_its_signature_names():
    run = trainer(
        validation=table(7, 1), objective="tcvae", objective_args={"alpha": 0.5}, beta=6.0, warmup=2, epochs=3
    )
    calls = watched(run)
    run.run()
    assert [given for training, given in calls if training][::5] == [
        {"beta": pytest.approx(beta), "rows": 23, "alpha": 0.5, "gamma": 1.0} for beta in (2, 4, 6)
    ]
    validated = [given for training, given in calls if not training and given["rows"] == 7]
    assert validated == 3 * [{"beta": 6.0, "rows": 7, "alpha": 0.5, "gamma": 1.0}]


def test_the_capacity_rises_and_validation_has_the_final_one():
    given_args = {"capacity": 3.0, "gamma": 2.0}
    run = trainer(validation=table(7, 1), objective="capacity", objective_args=given_args, warmup=3, epochs=4)
    calls = watched(run)
    lines = run.run().epochs
    fractions = [given["warmup"] for training, given in calls if training][::5]
    assert fractions == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert all(given["warmup"] == 1 for training, given in calls if not training)
    # |mean − C| is at most the mean of |KL − C|
    line = lines[-1]
    highest = line["validation_reconstruction"] - 2 * abs(line["validation_kl"] - 3)
    assert line["validation_objective"] <= highest + 1e-4


def test_draws_of_the_prior_come_from_the_run_s_own_generator():
    run = trainer(validation=table(7, 1), objective="mmd")
    calls = watched(run)
    run.run()
    assert all(given["generator"] is run.generator for training, given in calls if training)
    assert all(given["generator"] is not run.generator for training, given in calls if not training)


@pytest.mark.parametrize(
    ("options", "model", "message"),
    [
        ({"objective": "iwae", "samples": 5}, {"posterior": "delta"}, r"iwae needs a density .* autoencoder"),
        ({"objective": "free-bits"}, {"prior": "mixture"}, r"free-bits needs the KL of each unit of z"),
        (
            {"objective": "miwae", "samples": 6, "objective_args": {"averages": 4}},
            {},
            r"averages has to be a whole number that divides the number of draws, 6, got 4",
        ),
        ({"objective": "mmd", "objective_args": {"width": -1}}, {}, r"width has to be positive"),
    ],
)
def test_an_objective_that_does_not_suit_the_model_is_refused_before_training(options, model, message):
    with pytest.raises(InputError, match=message):
        trainer(model=model, **options)


@pytest.mark.parametrize(("samples", "notes"), [(1, 1), (2, 0)])
def test_a_bound_of_many_draws_with_one_is_noted(samples, notes, caplog):
    schedule.resolve(TrainOptions(objective="dreg", samples=samples), 100, ScheduleDefaults(2e-3))
    assert len(caplog.messages) == notes
    assert all("single draw" in message and "`samples`" in message for message in caplog.messages)


# -- learning ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_training_improves_the_objective(objective):
    run = trainer(table(200), table(50, 1), objective=objective, samples=3, epochs=10, batch_size=10, lr=2e-2)
    lines = run.run().epochs
    assert lines[-1]["validation_objective"] > lines[0]["validation_objective"] + 0.5


@pytest.mark.parametrize("prior", ["normal", "mixture"])
@pytest.mark.parametrize("posterior", ["gaussian", "delta"])
def test_every_posterior_with_every_prior(posterior, prior):
    run = trainer(validation=table(7, 1), model={"posterior": posterior, "prior": prior})
    line = run.run().epochs[-1]
    assert math.isfinite(line["validation_elbo"])
    assert (line["kl"] == 0) == (posterior == "delta")
    assert (line["kl_per_unit"] is None) == (posterior == "gaussian" and prior == "mixture")


# -- options ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "batch_size"), [(10, 10), (100, 32), (499, 32), (1797, 64), (60_000, 128)])
def test_what_is_left_to_the_size_of_the_data(rows, batch_size):
    options = schedule.resolve(TrainOptions(), rows, ScheduleDefaults(2e-3))
    assert options.batch_size == batch_size
    assert 10 <= options.epochs <= 1000
    assert options.warmup < options.epochs
    assert options.lr == 2e-3
    assert options.patience >= 10
    assert schedule.resolve(options, rows, ScheduleDefaults(1.0)) == options
    assert schedule.resolve(TrainOptions(batch_size=10_000), rows, ScheduleDefaults(2e-3)).batch_size == min(
        rows, 10_000
    )


def test_zero_is_a_choice_and_not_a_gap():
    options = schedule.resolve(TrainOptions(warmup=0, beta=0.0), 100, ScheduleDefaults(2e-3))
    assert (options.warmup, options.beta) == (0, 0.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objective": "elob"}, r"objective is one of auto, elbo, .*, got 'elob'; did you mean 'elbo'"),
        ({"objective_args": {"alpha": 1}}, r"objective elbo takes no arguments, got 'alpha'"),
        (
            {"objective": "renyi", "samples": 2, "objective_args": {"alhpa": 1}},
            r"an argument of objective renyi is one of alpha, got 'alhpa'; did you mean 'alpha'",
        ),
        (
            {"objective": "tcvae", "objective_args": {"rows": 5}},
            r"objective tcvae is one of alpha, gamma, got 'rows'",
        ),
        (
            {"objective": "capacity", "objective_args": {"gamma": math.inf}},
            r"gamma has to be a finite number, got inf",
        ),
        ({"objective": "capacity", "beta": 2.0}, r"objective capacity has no beta; .* gamma, capacity"),
        ({"warmup_cycles": 0}, r"warmup_cycles has to be at least 1, got 0"),
        ({"warmup_cycles": 3, "warmup": 4, "epochs": 20}, r"3 warm-up cycles .* need at least 21 epochs"),
        ({"warmup_cycles": 2, "epochs": 3}, r"2 warm-up cycles .* need at least 4 epochs, got .* 3 epochs"),
        ({"samples": 0}, r"samples has to be at least 1, got 0"),
        ({"epochs": 0}, r"epochs has to be at least 1, got 0"),
        ({"batch_size": 0}, r"batch_size has to be at least 1, got 0"),
        ({"warmup": -1}, r"warmup has to be at least 0, got -1"),
        ({"patience": 0}, r"patience has to be at least 1, got 0"),
        ({"beta": -0.5}, r"beta has to be at least 0, got -0.5"),
        ({"beta": math.nan}, r"beta has to be .*, got nan"),
        ({"beta": math.inf}, r"beta has to be .*, got inf"),
        ({"lr": 0.0}, r"lr has to be positive, got 0"),
        ({"lr": math.nan}, r"lr has to be positive, got nan"),
        ({"minutes": -1.0}, r"minutes has to be positive, got -1"),
        ({"minutes": math.inf}, r"minutes has to be positive, got inf"),
    ],
)
def test_refused_options(options, message):
    with pytest.raises(InputError, match=message):
        schedule.resolve(TrainOptions(**options), 100, ScheduleDefaults(2e-3))
