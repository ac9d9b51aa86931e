"""Work between device calls for a replica: hyperparameters, records and decisions.

Between two device calls the host computes the hyperparameters of the next steps from its schedules;
at a pause of the timetable it writes records and decides from validation.
"""

import contextlib
import dataclasses
import math
import sys
import time
from collections.abc import Sequence

from ml_collections import ConfigDict
from tqdm import tqdm

from spherical_vae.evaluation import metrics
from spherical_vae.evaluation.metrics import ExampleNats
from spherical_vae.parallel import hosts
from spherical_vae.runs.metrics_log import MetricsLog
from spherical_vae.runs.progress import Progress
from spherical_vae.system.standard_error import tell
from spherical_vae.training.schedules import Timetable, after_validation, kl_weight, learning_rate
from spherical_vae.training.step import Hyperparameters, Sums, hyperparameters

# Least seconds between two lines of progress, if standard error is not a terminal.
_LINE_SECONDS = 30.0


class Supervisor:
    """Schedules, records and decisions of one replica.

    Attributes:
      config: of the replica.
      state: its progress so far.
      log: its metrics.
    """

    def __init__(
        self,
        config: ConfigDict,
        timetable: Timetable,
        state: Progress,
        log: MetricsLog,
        step: int = 0,
    ) -> None:
        self.config, self.log, self._timetable = config, log, timetable
        self.state = self._reopened(state, step)

    def _reopened(self, state: Progress, step: int) -> Progress:
        """Returns the progress that was saved after `step` steps, under this configuration.

        A training that was over continues if it is to be longer now, or more patient. A replica
        that diverged, or stopped before the others, stays as it is.
        """
        if state.diverged_step is not None or state.step != step:
            return state
        over = state.finished and self._is_over(step, state.stale)
        return dataclasses.replace(state, finished=over)

    def hyperparameters(self, step: int) -> Hyperparameters:
        """Returns the hyperparameters of the step that follows `step` steps.

        The KL weight is 0 in the autoencoder phase, and its schedule begins at the end of that
        phase; that of the learning rate begins at step 0.
        """
        config, timetable = self.config, self._timetable
        total, first = timetable.total_steps, timetable.autoencoder_steps
        rate = learning_rate(config.optimizer, step, total, self.state.rate_divisor)
        if step < first:
            return hyperparameters(config, rate, 0.0, 0, autoencoder_phase=True)
        done = step - first
        epoch = done // timetable.steps_per_epoch
        return hyperparameters(
            config, rate, kl_weight(config.kl_weight, epoch, done, total - first), first
        )

    def log_train(
        self, step: int, sums: Sums, seconds: float | None, multiplier: float | None = None
    ) -> None:
        """Writes the totals of the steps since the last train record, which took `seconds`.

        Seconds are None, and the record has none, if the process stopped in that time. The
        multiplier is that of the KL weight after `step`; None without a target of the rate.
        """
        tokens, examples = float(sums.tokens), float(sums.examples)
        seen = self.state.tokens_seen + int(sums.tokens)
        self.state = dataclasses.replace(self.state, tokens_seen=seen)
        hyper = self.hyperparameters(step - 1)
        nats = float(sums.reconstruction_nats) + float(sums.kl_nats)
        speed = {}
        if seconds is not None:
            speed = {"seconds": seconds, "tokens_per_second": tokens / seconds}
        self.log.write(
            step,
            "train",
            epoch=(step - 1) // self._timetable.steps_per_epoch,
            nll_nats=nats / examples,
            reconstruction_nats=float(sums.reconstruction_nats) / examples,
            kl_nats=float(sums.kl_nats) / examples,
            perplexity=_exp(nats / tokens),
            learning_rate=float(hyper.learning_rate),
            kl_weight=float(hyper.kl_weight),
            **({} if multiplier is None else {"kl_multiplier": multiplier}),
            tokens_seen=seen,
            **speed,
        )

    def observe(self, step: int, nats: ExampleNats, seconds: float) -> bool:
        """Records an evaluation on validation, and decides from it.

        Evaluations of the autoencoder phase, its last step included, are recorded only: selection,
        plateau decay and early stopping ignore them.

        Args:
          step: steps done.
          nats: of validation, by the protocol of training.
          seconds: duration of the evaluation.

        Returns:
          Whether this step is the best so far.
        """
        config, state = self.config, self.state
        value = float(nats.nll_nats.sum() / nats.slots.sum())
        if step > self._timetable.autoencoder_steps:
            state = after_validation(state, value, step, config.optimizer)
        self.log.write(
            step,
            "valid",
            protocol=config.train.protocol,
            **metrics.summarise(nats),
            best_step=state.best_step,
            seconds=seconds,
        )
        self.state = dataclasses.replace(
            state, step=step, finished=self._is_over(step, state.stale)
        )
        return state.best_step == step

    def stop_diverged(self, step: int, bad_step: int) -> None:
        """Ends the training of a replica that diverged in step `bad_step`, from 1."""
        self.state = dataclasses.replace(
            self.state, step=step, finished=True, diverged_step=bad_step
        )

    def _is_over(self, step: int, stale: int) -> bool:
        """Returns whether training is over after an evaluation at `step`."""
        patience = self.config.train.early_stopping
        return step >= self._timetable.total_steps or 0 < patience <= stale


class ProgressBar(contextlib.AbstractContextManager["ProgressBar"]):
    """Progress of training on standard error: a bar on a terminal, elsewhere single lines.

    If nobody reads them any more, training goes on without.

    A line is written before the first step, which is compiled, and at an evaluation; between these
    30 seconds after the last line at the earliest. The time of that first step is in no speed.
    """

    def __init__(self, name: str, step: int, total: int) -> None:
        self._name, self._step, self._total = name, step, total
        self._lines = hosts.is_first() and not (sys.stderr and sys.stderr.isatty())
        self._last: tuple[float, int] | None = None
        if self._lines and step < total:
            self._tell("the first step is being compiled")
        self._bar = tqdm(
            total=total,
            initial=step,
            desc=name,
            unit="step",
            file=sys.stderr,
            dynamic_ncols=True,
            disable=self._lines or not hosts.is_first(),
        )

    def __exit__(self, *exception: object) -> None:
        with contextlib.suppress(OSError):
            self._bar.close()

    def advance(self, steps: int) -> None:
        """Counts steps."""
        self._step += steps
        with contextlib.suppress(OSError):
            self._bar.update(steps)
        if self._last is None:
            self._last = time.monotonic(), self._step

    def show(self, replicas: Sequence[Supervisor], evaluated: bool) -> None:
        """Shows the best validation perplexities so far, after an evaluation or between two."""
        best = [one.state.best for one in replicas if math.isfinite(one.state.best)]
        parts = []
        if best:
            values = [f"{_exp(value):.1f}" for value in sorted({min(best), max(best)})]
            parts.append(f"validation perplexity {' to '.join(values)}")
        if len(replicas) > 1:
            active = sum(not one.state.finished for one in replicas)
            parts.append(f"{active} of {len(replicas)} active")
        self._bar.set_postfix_str(", ".join(parts), refresh=False)
        now, (then, before) = time.monotonic(), self._last or (0.0, self._step)
        if self._lines and (evaluated or now - then >= _LINE_SECONDS):
            if self._step > before:
                parts.insert(0, f"{(self._step - before) / max(now - then, 1e-9):.3g} steps/s")
            self._tell(", ".join(parts))
            self._last = now, self._step

    def _tell(self, text: str) -> None:
        step = f"{self._name}: step {self._step} of {self._total}"
        tell(", ".join(filter(None, [step, text])))


def _exp(value: float) -> float:
    """Returns e^value, finite for every value."""
    return math.exp(min(value, 700.0))
