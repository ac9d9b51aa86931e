"""What the host does for one run: hyperparameters of a step, records, and decisions from dev."""

import dataclasses
import math

from ml_collections import ConfigDict

from spherical_vae.data.corpus import Corpus
from spherical_vae.evaluation import metrics
from spherical_vae.evaluation.metrics import ExampleNats
from spherical_vae.runs.metrics_log import MetricsLog
from spherical_vae.training.host_state import HostState
from spherical_vae.training.optimizer import Plateau, kl_weight, learning_rate
from spherical_vae.training.schedules import Timetable
from spherical_vae.training.step import Hyperparameters, Sums, hyperparameters


class Bookkeeper:
    """Keeps the books of one run: a single one, or one replica of a sweep.

    Attributes:
      config: of that run.
      host: what it decides by.
    """

    def __init__(
        self,
        config: ConfigDict,
        corpus: Corpus,
        timetable: Timetable,
        host: HostState,
        log: MetricsLog,
    ) -> None:
        self.config = config
        self.host = host
        in_paper_units = config.train.protocol == "paper" and corpus.kind == "sequences"
        self._paper_words = corpus.mean_words if in_paper_units else None
        self._timetable = timetable
        self._log = log

    def hyperparameters(self, step: int) -> Hyperparameters:
        """Returns those of the step after `step` steps.

        The KL weighs nothing in the autoencoder phase, and its schedule is counted from there; that
        of the learning rate is not.
        """
        config, timetable = self.config, self._timetable
        rate = learning_rate(config.optimizer, step, timetable.total_steps, self.host.plateau)
        first = timetable.first_step(step)
        done, total = step - first, timetable.total_steps - first
        weight = 0.0
        if step >= timetable.autoencoder_steps:
            weight = kl_weight(config.kl_weight, timetable.epoch(done), done, total)
        return hyperparameters(config, rate, weight, first)

    def log_train(self, step: int, sums: Sums, seconds: float | None) -> None:
        """Writes the totals since the last line.

        Args:
          step: steps taken.
          sums: of the steps since the last line, on the host.
          seconds: they took; None where a stop lay between, and the record has none.
        """
        self.host = dataclasses.replace(
            self.host, tokens_seen=self.host.tokens_seen + int(sums.tokens)
        )
        hyper = self.hyperparameters(step - 1)
        nats = float(sums.reconstruction_nats) + float(sums.kl_nats)
        speed = (
            {}
            if seconds is None
            else {"seconds": seconds, "tokens_per_second": float(sums.tokens) / seconds}
        )
        self._log.write(
            step,
            "train",
            epoch=self._timetable.epoch(step - 1),
            nll_nats=nats / float(sums.examples),
            reconstruction_nats=float(sums.reconstruction_nats) / float(sums.examples),
            kl_nats=float(sums.kl_nats) / float(sums.examples),
            perplexity=exp(nats / float(sums.tokens)),
            learning_rate=float(hyper.learning_rate),
            kl_weight=float(hyper.kl_weight),
            tokens_seen=self.host.tokens_seen,
            **speed,
        )

    def observe(self, step: int, nats: ExampleNats, seconds: float) -> bool:
        """Records what dev says, and decides what follows from it.

        Nothing follows in the autoencoder phase, its last step included: selection, plateau decay
        and early stopping know of later evaluations alone.

        Args:
          step: steps taken.
          nats: of dev, by the protocol of training.
          seconds: measuring took.

        Returns:
          Whether this step is the best so far.
        """
        config, protocol = self.config, self.config.train.protocol
        value = float(nats.nll_nats.sum() / nats.slots.sum())
        plateau = self.host.plateau
        if not self._timetable.in_autoencoder_phase(step):
            plateau = plateau.observe(value, step, config.optimizer)
        words = self._paper_words
        summary = metrics.summarise(nats) if words is None else metrics.summarise_paper(nats, words)
        self._log.write(
            step,
            "valid",
            protocol=protocol,
            **summary,
            best_step=plateau.best_step,
            seconds=seconds,
        )
        finished = is_over(config, self._timetable, step, plateau)
        self.host = dataclasses.replace(self.host, plateau=plateau, finished=finished)
        return plateau.best_step == step


def is_over(config: ConfigDict, timetable: Timetable, step: int, plateau: Plateau) -> bool:
    """Returns whether training is over where dev was measured after `step` steps."""
    return step >= timetable.total_steps or 0 < config.train.early_stopping <= plateau.stale


def gone_on(host: HostState, config: ConfigDict, timetable: Timetable, step: int) -> HostState:
    """Returns a host state that was saved after `step` steps, with these settings from now on.

    A training that was over is so no more where it shall be longer, or more patient.
    """
    over = host.finished and is_over(config, timetable, step, host.plateau)
    return dataclasses.replace(host, finished=over)


def shown(log_perplexity: float) -> str:
    """Returns what a progress bar says of the best dev value so far."""
    return "-" if math.isinf(log_perplexity) else f"perplexity {exp(log_perplexity):.1f}"


def exp(value: float) -> float:
    """Returns e^value, finite for every value."""
    return math.exp(min(value, 700.0))
