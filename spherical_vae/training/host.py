"""The host's part of training one replica: hyperparameters, records, and decisions.

Between two device calls the host computes the hyperparameters of the next steps from its schedules;
where the timetable has a pause it writes records and decides from validation.
"""

import dataclasses
import math
from collections.abc import Sequence

from ml_collections import ConfigDict

from spherical_vae.data.corpus import Corpus
from spherical_vae.evaluation import metrics
from spherical_vae.evaluation.metrics import ExampleNats
from spherical_vae.runs.host_state import HostState
from spherical_vae.runs.metrics_log import MetricsLog
from spherical_vae.training.optimizer import Timetable, after_validation, kl_weight, learning_rate
from spherical_vae.training.step import Hyperparameters, Sums, hyperparameters


class ReplicaHost:
    """Schedules, records and decisions of one replica.

    Attributes:
      config: of the replica.
      state: its host state.
      log: its metrics.
    """

    def __init__(
        self,
        config: ConfigDict,
        corpus: Corpus,
        timetable: Timetable,
        state: HostState,
        log: MetricsLog,
    ) -> None:
        self.config = config
        self.state = state
        self.log = log
        in_paper_units = config.train.protocol == "paper" and corpus.kind == "sequences"
        self._paper_words = corpus.mean_words if in_paper_units else None
        self._timetable = timetable

    def hyperparameters(self, step: int) -> Hyperparameters:
        """Returns those of the step after `step` steps.

        The KL weight is 0 in the autoencoder phase, and its schedule is counted from the end of
        that phase; the learning rate's is not.
        """
        config, timetable = self.config, self._timetable
        total = timetable.total_steps
        rate = learning_rate(config.optimizer, step, total, self.state.rate_divisor)
        first = timetable.first_step(step)
        done = step - first
        weight = 0.0
        if step >= timetable.autoencoder_steps:
            weight = kl_weight(config.kl_weight, timetable.epoch(done), done, total - first)
        fixed = config.decoder.tied_embeddings and step < timetable.autoencoder_steps
        return hyperparameters(config, rate, weight, first, fixed)

    def log_train(self, step: int, sums: Sums, seconds: float | None) -> None:
        """Writes the totals since the last train record.

        Args:
          step: steps taken.
          sums: of the steps since the last record, on the host.
          seconds: their duration; None if a stop lay between, and the record has none.
        """
        tokens = float(sums.tokens)
        self.state = dataclasses.replace(
            self.state, tokens_seen=self.state.tokens_seen + int(sums.tokens)
        )
        hyper = self.hyperparameters(step - 1)
        nats = float(sums.reconstruction_nats) + float(sums.kl_nats)
        speed = {}
        if seconds is not None:
            speed = {"seconds": seconds, "tokens_per_second": tokens / seconds}
        self.log.write(
            step,
            "train",
            epoch=self._timetable.epoch(step - 1),
            nll_nats=nats / float(sums.examples),
            reconstruction_nats=float(sums.reconstruction_nats) / float(sums.examples),
            kl_nats=float(sums.kl_nats) / float(sums.examples),
            perplexity=exp(nats / tokens),
            learning_rate=float(hyper.learning_rate),
            kl_weight=float(hyper.kl_weight),
            tokens_seen=self.state.tokens_seen,
            **speed,
        )

    def observe(self, step: int, nats: ExampleNats, seconds: float) -> bool:
        """Records an evaluation on validation, and decides from it.

        Evaluations of the autoencoder phase, its last step included, are recorded only: selection,
        plateau decay and early stopping ignore them.

        Args:
          step: steps taken.
          nats: of validation, by the protocol of training.
          seconds: duration of the evaluation.

        Returns:
          Whether this step is the best so far.
        """
        config, state = self.config, self.state
        value = float(nats.nll_nats.sum() / nats.slots.sum())
        if not self._timetable.in_autoencoder_phase(step):
            state = after_validation(state, value, step, config.optimizer)
        words = self._paper_words
        summary = metrics.summarise(nats) if words is None else metrics.summarise_paper(nats, words)
        self.log.write(
            step,
            "valid",
            protocol=config.train.protocol,
            **summary,
            best_step=state.best_step,
            seconds=seconds,
        )
        finished = is_over(config, self._timetable, step, state.stale)
        self.state = dataclasses.replace(state, step=step, finished=finished)
        return state.best_step == step

    def stop_diverged(self, step: int, bad_step: int) -> None:
        """Ends the training of a replica that diverged.

        Args:
          step: steps taken.
          bad_step: number of the first bad step, from 1.
        """
        self.state = dataclasses.replace(
            self.state, step=step, finished=True, diverged_step=bad_step
        )


def is_over(config: ConfigDict, timetable: Timetable, step: int, stale: int) -> bool:
    """Returns whether training is over after an evaluation at `step`.

    Args:
      config: of the replica.
      timetable: of the training.
      step: steps taken.
      stale: evaluations in a row without improvement.
    """
    return step >= timetable.total_steps or 0 < config.train.early_stopping <= stale


def resumed(state: HostState, config: ConfigDict, timetable: Timetable, step: int) -> HostState:
    """Returns a host state that was saved after `step` steps, under the settings of now.

    A training that was over goes on if it is to be longer, or more patient. A replica that diverged
    or stopped before the others stays as it is.
    """
    if state.diverged_step is not None or state.step != step:
        return state
    over = state.finished and is_over(config, timetable, step, state.stale)
    return dataclasses.replace(state, finished=over)


def progress(hosts: Sequence[ReplicaHost]) -> str:
    """Returns the best validation perplexities so far, for a progress bar."""
    best = [host.state.best for host in hosts if math.isfinite(host.state.best)]
    values = [f"{exp(value):.1f}" for value in sorted({min(best), max(best)})] if best else ["-"]
    active = sum(not host.state.finished for host in hosts)
    several = "" if len(hosts) == 1 else f", {active} of {len(hosts)} active"
    return f"validation perplexity {' to '.join(values)}{several}"


def exp(value: float) -> float:
    """Returns e^value, finite for every value."""
    return math.exp(min(value, 700.0))
