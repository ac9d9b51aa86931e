"""The training loop: steps, dev, checkpoints and logs, resumed where a run directory holds them.

Everything that training will do is a function of the checkpoint and the configuration: batch and
key of a step follow from its number, and what is decided from dev is saved with the state.
"""

import contextlib
import dataclasses
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict
from tqdm import tqdm

from spherical_vae import metrics
from spherical_vae.checkpoint import CheckpointStore, DamagedCheckpointError
from spherical_vae.data.batches import batches_per_epoch, epoch_batches
from spherical_vae.data.corpus import Batch, Corpus
from spherical_vae.errors import UserError
from spherical_vae.evaluation import Evaluator, corpus_boundaries
from spherical_vae.host_state import HostState
from spherical_vae.keys import Purpose, root_key
from spherical_vae.metrics_log import MetricsLog
from spherical_vae.optim import Plateau, build_optimizer, kl_weight, learning_rate
from spherical_vae.run_directory import RunDirectory
from spherical_vae.sharding import data_mesh, replicated, shard_batch
from spherical_vae.termination import Termination
from spherical_vae.train_step import (
    Hyperparameters,
    TrainState,
    empty_sums,
    init_state,
    make_train_step,
)
from spherical_vae.trained import TrainedModel
from spherical_vae.vae import build_vae, init_params


class Interrupted(Exception):
    """A signal asked training to stop; everything is saved.

    Attributes:
      signal: its number.
    """

    def __init__(self, number: int, step: int) -> None:
        super().__init__(f"stopped by signal {number} after step {step}; the state is saved")
        self.signal = number


@dataclass(frozen=True)
class Timetable:
    """When things happen, in steps; a function of the configuration and the size of train."""

    steps_per_epoch: int
    total_steps: int
    log_every: int
    evaluate_every: int
    checkpoint_every: int

    @classmethod
    def of(cls, settings: ConfigDict, examples: int) -> "Timetable":
        """Returns the timetable of `config.train` for a number of training examples."""
        per_epoch = batches_per_epoch(examples, settings.batch_size)
        return cls(
            steps_per_epoch=per_epoch,
            total_steps=settings.steps or per_epoch * settings.epochs,
            log_every=settings.log_every,
            evaluate_every=settings.evaluate_every or per_epoch,
            checkpoint_every=settings.checkpoint_every,
        )

    def is_log(self, step: int) -> bool:
        """Whether a train record is written after `step` steps."""
        return step % self.log_every == 0 or self.is_evaluation(step)

    def is_evaluation(self, step: int) -> bool:
        """Whether dev is measured after `step` steps."""
        return step % self.evaluate_every == 0 or step == self.total_steps

    def is_checkpoint(self, step: int) -> bool:
        """Whether the state is saved after `step` steps."""
        periodic = self.checkpoint_every > 0 and step % self.checkpoint_every == 0
        return periodic or self.is_evaluation(step)


class Trainer:
    """One run: model, compiled step, timetable, and the run directory they write to."""

    def __init__(self, config: ConfigDict, corpus: Corpus, run: RunDirectory) -> None:
        """Builds everything; compiles nothing yet.

        Args:
          config: whole and validated.
          corpus: to train on.
          run: open and locked.

        Raises:
          UserError: a batch that does not divide over the devices, a damaged checkpoint.
        """
        self._config = config
        self._corpus = corpus
        self._train = corpus.splits["train"]
        self._timetable = Timetable.of(config.train, len(self._train))
        self._boundaries = corpus_boundaries(corpus, config.data.buckets)
        self._mesh = data_mesh(config.train.batch_size)
        self._model = build_vae(config, len(corpus.vocabulary))
        self._optimizer = build_optimizer(config.optimizer)
        self._step = jax.jit(
            make_train_step(self._model, self._optimizer, config.train), donate_argnums=0
        )
        self._evaluator = Evaluator(self._model, config, corpus)
        self._run = run
        self._store = CheckpointStore(run.checkpoints_path)

    def train(self) -> TrainedModel:
        """Trains to the end, from the latest checkpoint if there is one.

        Raises:
          UserError: the loss became NaN or infinite, or the corpus is not that of the checkpoint.
          Interrupted: a signal came; the state is saved.
        """
        state, host = self._restore()
        with self._run.metrics_log() as log:
            log.truncate_after(int(state.step))
            if not host.finished:
                state, host = self._advance(state, host, log)
        return self._result(state, host)

    def _restore(self) -> tuple[TrainState, HostState]:
        self._refuse_other_corpus()
        counts = self._corpus.vocabulary.train_counts
        params = init_params(self._model, self._config.seed, counts)
        state = jax.device_put(init_state(params, self._optimizer), replicated(self._mesh))
        found = self._store.restore_latest(state)
        if found is None:
            return state, HostState(Plateau(), 0, False, self._corpus.fingerprint())
        step, state, values = found
        tqdm.write(f"resumed {self._run.path} at step {step}", file=sys.stderr)
        return state, HostState.from_json(values)

    def _refuse_other_corpus(self) -> None:
        # Before any array is read: those of another vocabulary would be refused for their shapes.
        for step in reversed(self._store.steps()):
            with contextlib.suppress(DamagedCheckpointError):
                host = HostState.from_json(self._store.restore_host(step))
                host.refuse_other_corpus(self._corpus, self._run.path)
                return

    def _advance(
        self, state: TrainState, host: HostState, log: MetricsLog
    ) -> tuple[TrainState, HostState]:
        config, timetable = self._config, self._timetable
        step, since = int(state.step), time.monotonic()
        bar = tqdm(
            total=timetable.total_steps,
            initial=step,
            desc=config.name,
            unit="step",
            file=sys.stderr,
            dynamic_ncols=True,
        )
        with Termination() as termination, bar:
            for batch in self._batches(step):
                state = self._step(state, shard_batch(batch, self._mesh), self._hyper(step, host))
                step += 1
                bar.update()
                if timetable.is_log(step):
                    state, host = self._log_train(state, host, log, since)
                    since = time.monotonic()
                    bar.set_postfix_str(f"dev {_shown(host.plateau.best)}", refresh=False)
                if timetable.is_evaluation(step):
                    host = self._evaluate(state, host, log)
                    since = time.monotonic()
                if timetable.is_checkpoint(step) or termination.signal or host.finished:
                    self._refuse_bad_steps(state)
                    self._store.save(step, state, host.to_json())
                if termination.signal:
                    raise Interrupted(termination.signal, step)
                if host.finished:
                    break
        return state, host

    def _batches(self, step: int) -> Iterator[Batch]:
        """Yields the batches from a step on, without end."""
        epoch, start = divmod(step, self._timetable.steps_per_epoch)
        while True:
            yield from epoch_batches(
                self._train,
                self._config.train.batch_size,
                self._boundaries,
                seed=self._config.data.seed,
                epoch=epoch,
                start=start,
            )
            epoch, start = epoch + 1, 0

    def _hyper(self, step: int, host: HostState) -> Hyperparameters:
        config = self._config
        rate = learning_rate(config.optimizer, step, self._timetable.total_steps, host.plateau)
        return Hyperparameters(
            seed=jnp.uint32(config.seed),
            learning_rate=jnp.float32(rate),
            concentration=jnp.float32(config.latent.concentration),
            kl_weight=jnp.float32(kl_weight(config.kl_weight, self._epoch(step))),
            dropout_rate=jnp.float32(config.dropout_rate),
        )

    def _epoch(self, step: int) -> int:
        return step // self._timetable.steps_per_epoch

    def _log_train(
        self, state: TrainState, host: HostState, log: MetricsLog, since: float
    ) -> tuple[TrainState, HostState]:
        """Writes the totals since the last line and starts new ones."""
        self._refuse_bad_steps(state)
        sums = jax.device_get(state.sums)
        step, seconds = int(state.step), time.monotonic() - since
        host = dataclasses.replace(host, tokens_seen=host.tokens_seen + int(sums.tokens))
        hyper = self._hyper(step - 1, host)
        nats = float(sums.reconstruction_nats) + float(sums.kl_nats)
        log.write(
            step,
            "train",
            epoch=self._epoch(step - 1),
            nll_nats=nats / float(sums.examples),
            reconstruction_nats=float(sums.reconstruction_nats) / float(sums.examples),
            kl_nats=float(sums.kl_nats) / float(sums.examples),
            perplexity=_exp(nats / float(sums.tokens)),
            learning_rate=float(hyper.learning_rate),
            kl_weight=float(hyper.kl_weight),
            tokens_seen=host.tokens_seen,
            seconds=seconds,
            tokens_per_second=float(sums.tokens) / seconds,
        )
        fresh = jax.device_put(empty_sums(), replicated(self._mesh))
        return state._replace(sums=fresh), host

    def _evaluate(self, state: TrainState, host: HostState, log: MetricsLog) -> HostState:
        """Measures dev, and decides what follows from it."""
        config, step, start = self._config, int(state.step), time.monotonic()
        protocol = config.train.protocol
        nats = self._evaluator.nats(
            state.params, "valid", root_key(config.seed, Purpose.SELECT), protocol=protocol
        )
        value = float(nats.nll_nats.sum() / nats.slots.sum())
        plateau = host.plateau.observe(value, step, config.optimizer)
        in_paper_units = protocol == "paper" and self._corpus.kind == "sequences"
        summarise = metrics.summarise_paper if in_paper_units else metrics.summarise
        log.write(
            step,
            "valid",
            protocol=protocol,
            **summarise(nats),
            best_step=plateau.best_step,
            seconds=time.monotonic() - start,
        )
        patience = config.train.early_stopping
        finished = step >= self._timetable.total_steps or 0 < patience <= plateau.stale
        return dataclasses.replace(host, plateau=plateau, finished=finished)

    def _refuse_bad_steps(self, state: TrainState) -> None:
        bad = int(state.sums.first_bad_step)
        if bad >= 0:
            last = self._store.latest_step()
            kept = "there is no checkpoint yet" if last is None else f"step {last} is saved"
            raise UserError(
                f"{self._config.name}: the loss or its gradient became NaN or infinite in step "
                f"{bad + 1}; {kept} in {self._run.path}; try a smaller "
                "config.optimizer.learning_rate or config.optimizer.clip_norm, in a new --workdir"
            )

    def _result(self, state: TrainState, host: HostState) -> TrainedModel:
        best = host.plateau.best_step
        if best < 0:
            raise UserError(
                f"{self._run.path}: dev was never finite, so no step is best; try a smaller "
                "config.optimizer.learning_rate"
            )
        last = int(state.step)
        params = state.params if best == last else self._store.restore(best, state).params
        return TrainedModel(
            self._config, self._corpus, self._model, params, best, last, host.tokens_seen
        )


def _shown(log_perplexity: float) -> str:
    return "-" if math.isinf(log_perplexity) else f"perplexity {_exp(log_perplexity):.1f}"


def _exp(value: float) -> float:
    return math.exp(min(value, 700.0))
