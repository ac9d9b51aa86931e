"""The walk through the steps of a training, and a single run of it, resumed where one was begun.

Everything that training will do is a function of the checkpoint and the configuration: batch and
key of a step follow from its number, and what is decided from dev is saved with the state.
"""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Protocol, runtime_checkable

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict
from tqdm import tqdm

from spherical_vae.data.batches import epoch_batches
from spherical_vae.data.corpus import Batch, Corpus
from spherical_vae.data.prefetch import prefetched
from spherical_vae.evaluation.evaluator import Evaluator, corpus_boundaries
from spherical_vae.models.vae import VOCABULARY_AXES, build_vae, init_params
from spherical_vae.parallel import hosts
from spherical_vae.parallel.sharding import (
    data_mesh,
    place,
    replicated,
    shard_batch,
    state_shardings,
)
from spherical_vae.random.keys import Purpose, root_key
from spherical_vae.runs.checkpoint import CheckpointStore, DamagedCheckpointError
from spherical_vae.runs.run_directory import RunDirectory, load_origin
from spherical_vae.runs.trained_model import TrainedModel, load_params
from spherical_vae.system.errors import DivergedError, Interrupted
from spherical_vae.system.jax_settings import settings_of_models
from spherical_vae.system.signals import Termination
from spherical_vae.training.bookkeeping import Bookkeeper, gone_on, shown
from spherical_vae.training.chunks import Chunk, chunks, make_call, stack_hyperparameters
from spherical_vae.training.host_state import HostState, host_states
from spherical_vae.training.optimizer import (
    Plateau,
    build_optimizer,
    refuse_endless_warmup,
    refuse_short_cycles,
)
from spherical_vae.training.schedules import Timetable
from spherical_vae.training.step import (
    TrainState,
    abstract_state,
    empty_sums,
    init_state,
    make_train_step,
    with_new_decoder,
)


@runtime_checkable
class Session(Protocol):
    """What is trained: one run, or the replicas of a sweep; it holds the state on the devices."""

    @property
    def finished(self) -> bool:
        """Whether training is over."""
        ...

    @property
    def status(self) -> str:
        """How dev stands, in a few words."""
        ...

    def advance(self, step: int, chunk: Chunk) -> None:
        """Takes the steps of a chunk, whose batches are on the devices, after `step` steps."""
        ...

    def wait(self) -> None:
        """Returns when the steps that were taken are done; they are queued ahead of the device."""
        ...

    def log_train(self, step: int, seconds: float | None) -> None:
        """Writes the totals since the last call, and their seconds if known; starts new ones."""
        ...

    def evaluate(self, step: int) -> None:
        """Measures dev, and decides what follows from it."""
        ...

    def save(self, step: int) -> None:
        """Saves everything."""
        ...


def walk(
    session: Session, timetable: Timetable, feed: Iterator[Chunk], step: int, name: str
) -> None:
    """Trains from `step` to the end.

    Args:
      session: what is trained.
      timetable: what happens when.
      feed: the chunks from `step` on, on the devices; they end where the timetable has a pause.
      step: steps already taken.
      name: for the progress bar.

    Raises:
      Interrupted: a signal came; the state is saved.
    """
    since = time.monotonic()
    # Totals that were begun before a stop are of more time than this.
    begun_earlier = step > 0 and not timetable.is_log(step)
    bar = tqdm(
        total=timetable.total_steps,
        initial=step,
        desc=name,
        unit="step",
        file=sys.stderr,
        dynamic_ncols=True,
        disable=not hosts.is_first(),
    )
    with Termination() as termination, bar:
        for chunk in feed:
            session.advance(step, chunk)
            step += chunk.steps
            bar.update(chunk.steps)
            if timetable.is_log(step):
                session.wait()
                session.log_train(step, None if begun_earlier else time.monotonic() - since)
                since, begun_earlier = time.monotonic(), False
                bar.set_postfix_str(f"dev {session.status}", refresh=False)
            if timetable.is_evaluation(step):
                session.evaluate(step)
                since = time.monotonic()
            stop = asked_to_stop(termination, timetable, step)
            if timetable.is_checkpoint(step) or stop or session.finished:
                session.save(step)
            if stop:
                raise Interrupted(stop, step)
            if session.finished:
                break


def walk_from(
    session: Session,
    config: ConfigDict,
    corpus: Corpus,
    timetable: Timetable,
    mesh: Mesh,
    step: int,
    name: str,
) -> None:
    """Trains from `step` to the end on the batches of a corpus; see `walk`."""
    batches = batches_from(corpus, config, timetable, step)
    found = chunks(batches, step, config.train.steps_per_call, timetable.is_pause)
    with prefetched(found, partial(shard_batch, mesh=mesh)) as feed:
        walk(session, timetable, feed, step, name)


def asked_to_stop(termination: Termination, timetable: Timetable, step: int) -> int:
    """Returns the signal that asks for a stop after `step` steps, 0 for none.

    Several processes agree on it, and only where the host has anything to do at all: elsewhere none
    of them waits for the others.
    """
    if hosts.several() and not timetable.is_pause(step):
        return 0
    return hosts.largest(termination.signal or 0)


def batches_from(
    corpus: Corpus, config: ConfigDict, timetable: Timetable, step: int
) -> Iterator[Batch]:
    """Yields the batches of training from a step on, without end."""
    boundaries = corpus_boundaries(corpus, config.data.buckets)
    epoch, start = divmod(step, timetable.steps_per_epoch)
    while True:
        yield from epoch_batches(
            corpus.splits["train"],
            config.train.batch_size,
            boundaries,
            seed=config.data.seed,
            epoch=epoch,
            start=start,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )
        epoch, start = epoch + 1, 0


class Trainer:
    """One run: model, compiled step, timetable, and the run directory they write to."""

    @settings_of_models()
    def __init__(
        self,
        config: ConfigDict,
        corpus: Corpus,
        run: RunDirectory,
        observe: Callable[[int, dict], None] | None = None,
    ) -> None:
        """Builds everything; compiles nothing yet.

        Args:
          config: whole and validated.
          corpus: to train on.
          run: open and locked.
          observe: called with the step and the measured parameters after every evaluation on
            validation, before the checkpoint of that step; a resumed run may repeat a step.

        Raises:
          UserError: a batch or a vocabulary that does not divide over the devices, or a part of
            training that is too long for it.
        """
        self._config = config
        self._corpus = corpus
        self._timetable = Timetable.of(config, len(corpus.splits["train"]))
        total = self._timetable.total_steps
        refuse_endless_warmup(config.optimizer, total)
        refuse_short_cycles(config.kl_weight, total - self._timetable.autoencoder_steps)
        self._mesh = data_mesh(config.train.batch_size, config.mesh.model)
        self._model = build_vae(config, len(corpus.vocabulary))
        self._optimizer = build_optimizer(config.optimizer)
        abstract = abstract_state(self._model, self._optimizer, config)
        self._shardings = state_shardings(abstract, self._mesh, VOCABULARY_AXES)
        step = make_train_step(self._model, self._optimizer, config)
        self._call = jax.jit(make_call(step), donate_argnums=0, out_shardings=self._shardings)
        self._evaluator = Evaluator(self._model, config, corpus, self._mesh)
        self._run = run
        self._observe = observe
        self._store = CheckpointStore(run.checkpoints_path)
        self._state: Any = None
        self._books: Any = None

    @settings_of_models()
    def train(self) -> TrainedModel:
        """Trains to the end, from the latest checkpoint if there is one.

        Raises:
          DivergedError: the loss became NaN or infinite, or dev was never finite.
          UserError: the corpus is not that of the checkpoint.
          Interrupted: a signal came; the state is saved.
        """
        config, timetable = self._config, self._timetable
        self._state, host = self._restore()
        step = int(self._state.step)
        with self._run.metrics_log() as log:
            log.truncate_after(step)
            self._books = Bookkeeper(config, self._corpus, timetable, host, log)
            if not host.finished:
                walk_from(self, config, self._corpus, timetable, self._mesh, step, config.name)
        return self._result()

    @property
    def finished(self) -> bool:
        """Whether training is over."""
        return self._books.host.finished

    @property
    def status(self) -> str:
        """The best dev value so far."""
        return shown(self._books.host.plateau.best)

    def advance(self, step: int, chunk: Chunk) -> None:
        """Takes the steps of a chunk, after resetting the decoder where it is due.

        It is part of the step that follows: a checkpoint of that place is of the state before it.
        """
        if self._timetable.is_restart(step):
            self._state = with_new_decoder(self._state, self._initial_state())
        hypers = [self._books.hyperparameters(step + i) for i in range(chunk.steps)]
        self._state = self._call(self._state, chunk.batches, stack_hyperparameters(hypers))

    def wait(self) -> None:
        """Waits for the device."""
        jax.block_until_ready(self._state.sums)

    def log_train(self, step: int, seconds: float | None) -> None:
        """Writes the totals since the last line and starts new ones."""
        self._refuse_bad_steps()
        self._books.log_train(step, jax.device_get(self._state.sums), seconds)
        fresh = place(empty_sums(), replicated(self._mesh))
        self._state = self._state._replace(sums=fresh)

    def evaluate(self, step: int) -> None:
        """Measures dev, and decides what follows from it."""
        start = time.monotonic()
        nats = self._evaluator.nats(
            self._state.evaluated,
            "valid",
            root_key(self._config.seed, Purpose.SELECT),
            protocol=self._config.train.protocol,
        )
        self._books.observe(step, nats, time.monotonic() - start)
        if self._observe is not None:
            self._observe(step, self._state.evaluated)

    def save(self, step: int) -> None:
        """Saves state and host state."""
        self._refuse_bad_steps()
        self._store.save(step, self._state, self._books.host.to_json())

    def _initial_state(self) -> TrainState:
        # Of the seed, also where the run starts from the weights of another one.
        counts = self._corpus.vocabulary.train_counts
        params = init_params(self._model, self._config.seed, counts)
        state: TrainState = place(
            init_state(params, self._optimizer, self._config), self._shardings
        )
        return state

    def _restore(self) -> tuple[TrainState, HostState]:
        refuse_other_corpus(self._store, self._corpus, self._run)
        state = self._initial_state()
        found = self._store.restore_latest(state)
        if found is None:
            host = HostState(Plateau(), 0, False, self._corpus.fingerprint())
            origin = load_origin(self._run.path) if self._run.config_path.exists() else None
            if origin is not None:
                params = load_params(origin)
                state = place(init_state(params, self._optimizer, self._config), self._shardings)
                # From here on the run needs the other one no more.
                self._store.save(0, state, host.to_json())
            return state, host
        step, state, values = found
        if hosts.is_first():
            tqdm.write(f"resumed {self._run.path} at step {step}", file=sys.stderr)
        return state, gone_on(HostState.from_json(values), self._config, self._timetable, step)

    def _refuse_bad_steps(self) -> None:
        bad = int(self._state.sums.first_bad_step)
        if bad >= 0:
            last = self._store.latest_step()
            kept = "there is no checkpoint yet" if last is None else f"step {last} is saved"
            raise DivergedError(
                f"{self._config.name}: the loss or its gradient became NaN or infinite in step "
                f"{bad + 1}; {kept} in {self._run.path}; try a smaller "
                "config.optimizer.learning_rate or config.optimizer.clip_norm, in a new --workdir",
                f"diverged in step {bad + 1}",
            )

    def _result(self) -> TrainedModel:
        host, state = self._books.host, self._state
        best = host.plateau.best_step
        if best < 0:
            raise DivergedError(
                f"{self._run.path}: dev was never finite, so no step is best; try a smaller "
                "config.optimizer.learning_rate",
                "never finite on dev",
            )
        last = int(state.step)
        found = state if best == last else self._store.restore(best, state)
        return TrainedModel(
            self._config,
            self._corpus,
            self._model,
            found.evaluated,
            best,
            last,
            host.tokens_seen,
            self._mesh,
        )


def refuse_other_corpus(store: CheckpointStore, corpus: Corpus, run: RunDirectory) -> None:
    """Raises `UserError` if the latest checkpoint is of another corpus.

    Before any array is read: those of another vocabulary would be refused for their shapes.
    """
    for step in reversed(store.steps()):
        with contextlib.suppress(DamagedCheckpointError):
            states = host_states(store.restore_host(step))
            states[0].refuse_other_corpus(corpus, run.path)
            return
