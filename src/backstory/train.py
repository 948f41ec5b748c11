"""Training: maximise an objective over the rows of a data set that stays in memory.

Rows are visited in a new random order each epoch, the last short batch included. Each step ascends the
batch mean of the objective with Adam. Validation uses the same objective with the final β and the same
draws in every epoch, so that epochs can be compared; the best weights are kept as a copy. Between any two
steps the whole run is a `State`, from which another `Trainer` goes on to the same end, bit for bit.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict

import torch
from torch import Tensor

from backstory import console
from backstory.data.schema import Schema
from backstory.diagnostics import code_use
from backstory.errors import InputError, TrainingFailed
from backstory.objectives import OBJECTIVES, arguments
from backstory.schedule import TrainOptions, learning_rate, warmup_end, warmup_fraction
from backstory.stability import Average, Spikes
from backstory.state import (
    Autosave,
    History,
    Metrics,
    Position,
    State,
    load_optimiser,
    optimiser_tensors,
    prefixed,
    under,
)
from backstory.vae import VAE, Terms

MAX_FAILURES = 20  # steps in a row
PROBE_ROWS = 2_000  # rows that show the use of the codes where there is no validation set
EVALUATION_BATCH = 500


class Trainer:
    """One training run of one model. `run` may be called once.

    Args:
        vae: the model, on the device where training happens; trained in place.
        schema: how stored rows become the model's x.
        rows, validation: stored values, (N, *shape) and (V, *shape), V may be 0.
        options: from `resolve`.
        autosave: what to do with the run's state, and how often.

    Raises:
        InputError: for an objective that this model does not have.
    """

    def __init__(
        self,
        vae: VAE,
        schema: Schema,
        rows: Tensor,
        validation: Tensor,
        options: TrainOptions,
        autosave: Autosave | None = None,
    ):
        self.vae, self.schema, self.options = vae, schema, options
        self.device = vae.shift.device
        self.rows, self.validation = rows.to(self.device), validation.to(self.device)
        self.objective, self.supplied = OBJECTIVES[options.objective], set(arguments(options.objective))
        self.generator = torch.Generator(self.device).manual_seed(options.seed)
        self.optimiser = torch.optim.Adam(vae.parameters(), fused=True)
        self.parameters = [p for p in vae.parameters() if p.requires_grad]
        self.epochs, self.warmup = options.epochs or 1, options.warmup or 0
        self.batch_size, self.highest_lr = options.batch_size or 1, options.lr or 1e-3
        self.autosave = autosave or Autosave()
        self.history, self.position = History(), Position()
        self.order = self.generator.get_state()  # from which the order of this epoch is drawn
        self.sums = torch.zeros(3, device=self.device)  # over the epoch: objective, reconstruction, KL
        self.best: dict[str, Tensor] | None = None
        self.best_value = -math.inf
        self.failures, self.taken = 0, 0  # steps in a row that failed, steps in all that did not
        self.average = None if options.ema is None else Average(self.parameters, options.ema)
        self.spikes = None if options.skip_spikes is None else Spikes(options.skip_spikes)
        self._try_objective()
        self.started = time.monotonic()

    def _try_objective(self) -> None:
        """The objective of two rows, for its complaints about the model, the draws or its arguments."""
        self.vae.eval()
        generator = torch.Generator(self.device).manual_seed(self.options.seed)
        x = self.schema.prepare(self.rows[:2], generator)
        terms = self.vae.terms(x, samples=self.options.samples, generator=generator)
        self._objective(terms, 1.0, len(self.rows), generator)

    def _objective(self, terms: Terms, warmup: float, rows: int, generator: torch.Generator) -> Tensor:
        """The objective's values; it is given what its signature names of what training alone knows.

        Args:
            warmup: fraction of the warm-up that is done, which scales β.
            rows: number of rows of the set that the batch is from.
        """
        beta = warmup * self.options.beta
        known = {"beta": beta, "warmup": warmup, "rows": rows, "generator": generator}
        supplied = {name: value for name, value in known.items() if name in self.supplied}
        return self.objective(terms, **supplied, **self.options.objective_args)

    # -- the run as a state ---------------------------------------------------------------------------------

    def state(self) -> State:
        """The run between two steps; its tensors are the live ones."""
        tensors = {
            **prefixed("model", self.vae.state_dict()),
            **prefixed("best", self.best or {}),
            **prefixed("average", self.average.tensors() if self.average else {}),
            **prefixed("optimiser", optimiser_tensors(self.optimiser)),
            "generator": self.generator.get_state(),
            "order": self.order,
            "sums": self.sums,
        }
        now = time.monotonic()
        seconds = self.position.seconds + now - self.epoch_started
        values = {
            "position": {**asdict(self.position), "seconds": seconds},
            "history": asdict(self.history),
            "best_value": self.best_value,
            "failures": self.failures,
            "taken": self.taken,
            "norms": list(self.spikes.norms) if self.spikes else [],
            "device": self.device.type,
            "lr": self.optimiser.param_groups[0]["lr"],
            "elapsed": now - self.started,
        }
        return State(tensors, values)

    def load(self, state: State) -> None:
        """Take up a run where `state` left it; the trainer has to be made with the same arguments.

        Raises:
            InputError: for a state from another kind of device, whose generator draws other numbers.
        """
        tensors, values = state.tensors, state.values
        if values["device"] != self.device.type:
            raise InputError(
                f"the run was started on device {values['device']}, got {self.device.type}; "
                f"go on with --device {values['device']}"
            )
        self.vae.load_state_dict(under("model", tensors))
        load_optimiser(self.optimiser, under("optimiser", tensors))
        self.optimiser.param_groups[0]["lr"] = values["lr"]
        self.best = {name: v.to(self.device) for name, v in under("best", tensors).items()} or None
        self.generator.set_state(tensors["generator"])
        self.order, self.sums = tensors["order"], tensors["sums"].to(self.device)
        self.position, self.history = Position(**values["position"]), History(**values["history"])
        self.best_value, self.failures = values["best_value"], values["failures"]
        self.taken = values["taken"]
        if self.average:
            self.average.load(under("average", tensors))
        if self.spikes:
            self.spikes = Spikes(self.spikes.factor, values["norms"])
        self.started = time.monotonic() - values["elapsed"]

    # -- the run --------------------------------------------------------------------------------------------

    def run(
        self,
        on_epoch: Callable[[Metrics], None] = lambda metrics: None,
        advance: Callable[[int], None] = lambda rows: None,
    ) -> History:
        """Train; the model is left in evaluation mode with the best weights.

        Ctrl-C is answered after the step that is going on, with a last checkpoint.

        Args:
            on_epoch: called with the metrics of each epoch.
            advance: called with the number of rows of each step.

        Raises:
            TrainingFailed: after 20 steps in a row without a finite loss and gradient, or if no epoch's
                validation objective was finite.
            KeyboardInterrupt: if there is nothing to keep yet.
        """
        try:
            with console.patient_interrupt() as self.interrupted:
                self._train(on_epoch, advance)
        except KeyboardInterrupt:
            if self.best is None:  # nothing was learned that would be worth keeping
                raise
            self.history.stopped = "interrupted"
        if self.best is None:
            raise TrainingFailed(
                "no epoch had a finite validation objective; "
                "try a smaller --lr, or look for extreme values in the data"
            )
        self.vae.load_state_dict(self.best)
        self.vae.eval()
        return self.history

    def _train(self, on_epoch: Callable[[Metrics], None], advance: Callable[[int], None]) -> None:
        self.epoch_started = time.monotonic()
        if self.autosave.write is not None:
            self.autosave.save(self.state())  # from now on there is something to go on from
        for epoch in range(self.position.epoch, self.epochs + 1):
            metrics = self._epoch(epoch, advance)
            self.history.epochs.append(metrics)
            last = self._stop(epoch) or epoch == self.epochs
            self.position, self.order = Position(epoch + 1), self.generator.get_state()
            self.epoch_started = time.monotonic()
            self.sums.zero_()
            on_epoch(metrics)
            if last:
                break
            self._between_steps(end_of_epoch=True)

    def _judge(self, epoch: int) -> Metrics:
        """What validation says of the weights that would be kept, which are copied if they are the best."""
        with self.average.in_place() if self.average else nullcontext():
            metrics = self._evaluate()
            self._keep_if_best(epoch, metrics)
        return metrics

    def _keep_if_best(self, epoch: int, metrics: Metrics) -> None:
        value = metrics.get("validation_objective", math.inf)
        # Epochs of the warm-up compete too: their weights are judged at the final β like all others.
        if value > self.best_value or value == math.inf:
            self.best_value, self.history.best_epoch = value, epoch
            self.best = {name: v.detach().clone() for name, v in self.vae.state_dict().items()}

    def _stop(self, epoch: int) -> bool:
        waited = epoch - max(self.history.best_epoch, warmup_end(self.warmup, self.options.warmup_cycles))
        if waited >= (self.options.patience or math.inf) and epoch < self.epochs:
            self.history.stopped = "no improvement"
        elif self._time_progress() >= 1:
            self.history.stopped = "time"
        return self.history.stopped != "finished"

    def _time_progress(self) -> float:
        if self.options.minutes is None:
            return 0.0
        return (time.monotonic() - self.started) / (60 * self.options.minutes)

    def _between_steps(self, end_of_epoch: bool = False) -> None:
        """Where a checkpoint may be taken, and an interrupt is answered."""
        asked = self.interrupted()
        if asked or self.autosave.due(end_of_epoch):
            self.autosave.save(self.state())
        if asked:
            raise KeyboardInterrupt

    def _batches(self) -> Iterator[Tensor]:
        """Row numbers of the steps of this epoch that are still to do."""
        here = self.generator.get_state()
        self.generator.set_state(self.order)
        order = torch.randperm(len(self.rows), generator=self.generator, device=self.device)
        if self.position.step:
            self.generator.set_state(here)
        yield from order.split(self.batch_size)[self.position.step :]

    def _epoch(self, epoch: int, advance: Callable[[int], None]) -> Metrics:
        position = self.position
        self.vae.train()
        warmup = warmup_fraction(epoch, self.warmup, self.options.warmup_cycles)
        steps = math.ceil(len(self.rows) / self.batch_size)
        for index in self._batches():
            progress = max((epoch - 1 + position.step / steps) / self.epochs, self._time_progress())
            values = self._step(index, warmup, learning_rate(progress, self.highest_lr))
            if values is not None:
                self.sums += values
                position.rows += len(index)
            position.step += 1
            advance(len(index))
            self._between_steps()
            if self._time_progress() >= 1:
                break
        means = dict(
            zip(
                ("objective", "reconstruction", "kl"),
                (self.sums / max(position.rows, 1)).tolist(),
                strict=True,
            )
        )
        return {
            "epoch": epoch,
            "elbo": means["reconstruction"] - means["kl"],
            **means,
            **self._judge(epoch),
            "beta": warmup * self.options.beta,
            "lr": self.optimiser.param_groups[0]["lr"],
            "skipped": position.skipped,
            **({"spikes": position.spikes} if self.spikes else {}),
            "seconds": position.seconds + time.monotonic() - self.epoch_started,
        }

    def _step(self, index: Tensor, warmup: float, lr: float) -> Tensor | None:
        """One step of Adam; batch sums of objective, reconstruction and KL, or None if it was skipped."""
        x = self.schema.prepare(self.rows[index], self.generator)
        terms = self.vae.terms(x, samples=self.options.samples, generator=self.generator)
        objective = self._objective(terms, warmup, len(self.rows), self.generator)
        self.optimiser.zero_grad(set_to_none=True)
        (-objective.mean()).backward()
        norm = torch.nn.utils.get_total_norm([p.grad for p in self.parameters if p.grad is not None])
        if not bool(torch.isfinite(norm) & torch.isfinite(objective.detach().sum())):
            self._count_failure()
            return None
        self.failures = 0
        if self.spikes and self.spikes.is_spike(float(norm)):
            self.history.spikes += 1
            self.position.spikes += 1
            return None
        if self.options.clip is not None:
            torch.nn.utils.clip_grads_with_norm_(self.parameters, self.options.clip, norm)
        self.optimiser.param_groups[0]["lr"] = lr
        self.optimiser.step()
        self.taken += 1
        if self.average:
            self.average.update(self.taken)
        return _sums(objective, terms)

    def _count_failure(self) -> None:
        self.history.skipped += 1
        self.position.skipped += 1
        self.failures += 1
        if self.failures >= MAX_FAILURES:
            raise TrainingFailed(
                f"training stopped: {self.failures} steps in a row had a loss or gradient that was not "
                "finite; try a smaller --lr, or look for extreme values in the data"
            )

    @torch.no_grad()
    def _evaluate(self) -> Metrics:
        """Validation values with the final β, and the use of the codes; the same draws in every epoch."""
        self.vae.eval()
        generator = torch.Generator(self.device).manual_seed(self.options.seed + 1)
        rows = self.validation if len(self.validation) else self.rows[:PROBE_ROWS]
        sums, means, kls = torch.zeros(3, device=self.device), [], []
        for part in rows.split(EVALUATION_BATCH):
            x = self.schema.prepare(part, generator)
            terms = self.vae.terms(x, samples=self.options.samples, generator=generator)
            sums += _sums(self._objective(terms, 1.0, len(rows), generator), terms)
            means.append(terms.posterior.mean)
            kls.append(terms.kl_per_unit)
        use = code_use(
            torch.cat(means), None if kls[0] is None else torch.cat([k for k in kls if k is not None])
        )
        metrics: Metrics = {}
        if len(self.validation):
            objective, reconstruction, kl = (sums / len(rows)).tolist()
            metrics = {
                "validation_objective": objective,
                "validation_elbo": reconstruction - kl,
                "validation_reconstruction": reconstruction,
                "validation_kl": kl,
            }
        per_unit = None if use.kl_per_unit is None else use.kl_per_unit.tolist()
        return {**metrics, "kl_per_unit": per_unit, "active_units": use.active_units}


def _sums(objective: Tensor, terms: Terms) -> Tensor:
    """Sums over the batch of the objective, log p(x|z) and the KL."""
    parts = (objective, terms.log_likelihood.mean(0), terms.kl)
    return torch.stack([part.detach().sum() for part in parts])
