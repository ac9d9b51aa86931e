"""Training of several runs at once, which differ by a few settings and share batches and programs.

Which settings may differ is said in `sweep_settings.py`, how a step of all is taken in
`replicas.py`; here is the session that `loop.walk` drives, and what it decides for each replica.
"""

import dataclasses
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from spherical_vae.data.corpus import Corpus
from spherical_vae.evaluation.evaluator import Evaluator
from spherical_vae.models.latents.latent import latent_hyperparameters
from spherical_vae.models.vae import build_vae, init_params
from spherical_vae.parallel.sharding import data_mesh, place, state_shardings
from spherical_vae.random.keys import Purpose, root_key
from spherical_vae.runs.checkpoint import CheckpointStore
from spherical_vae.runs.run_directory import RunDirectory
from spherical_vae.runs.trained_model import TrainedReplica, trained_replicas
from spherical_vae.system.errors import UserError
from spherical_vae.system.jax_settings import settings_of_models
from spherical_vae.training.bookkeeping import Bookkeeper, exp, gone_on
from spherical_vae.training.chunks import Chunk, make_call, stack_hyperparameters
from spherical_vae.training.host_state import HostState, host_states
from spherical_vae.training.loop import refuse_other_corpus, walk_from
from spherical_vae.training.optimizer import (
    Plateau,
    build_optimizer,
    refuse_endless_warmup,
    refuse_short_cycles,
)
from spherical_vae.training.replicas import (
    abstract_sweep_state,
    in_turn,
    init_sweep_state,
    keep_best,
    side_by_side,
    stack,
    take,
    with_new_decoders,
    without_sums,
)
from spherical_vae.training.schedules import Timetable
from spherical_vae.training.step import TrainState, abstract_state, init_state, make_train_step
from spherical_vae.training.sweep_settings import Replica, program_config


class SweepTrainer:
    """Replicas trained together, each as it would be in a single run.

    A replica whose dev stays without improvement stops, and so does one whose loss or gradient
    becomes NaN or infinite; the state of a replica that stopped does not change any more. Whether
    it diverged is looked at where train records are written, so that a resumed sweep decides as an
    uninterrupted one.
    """

    @settings_of_models()
    def __init__(
        self,
        config: ConfigDict,
        replicas: Sequence[Replica],
        corpus: Corpus,
        run: RunDirectory,
        *,
        vectorised: bool | None = None,
    ) -> None:
        """Builds everything; compiles nothing yet.

        Args:
          config: what the replicas have in common.
          replicas: of `build_replicas`.
          corpus: to train on.
          run: open and locked.
          vectorised: whether the replicas take their steps at once rather than in turn; None for
            what suits the device.

        Raises:
          UserError: a batch or a vocabulary that does not divide over the devices, a part of
            training that is too long for it, or several processes.
        """
        if jax.process_count() > 1:
            raise UserError(
                f"--sweep: {jax.process_count()} processes given, allowed: one, on all its devices"
            )
        self._config = config
        self._replicas = replicas
        self._corpus = corpus
        self._run = run
        self._timetable = Timetable.of(config, len(corpus.splits["train"]))
        total = self._timetable.total_steps
        for replica in replicas:
            refuse_endless_warmup(replica.config.optimizer, total)
            refuse_short_cycles(replica.config.kl_weight, total - self._timetable.autoencoder_steps)
        self._mesh = data_mesh(config.train.batch_size, config.mesh.model)
        self._model = build_vae(program_config(config, replicas), len(corpus.vocabulary))
        self._optimizer = build_optimizer(config.optimizer)
        one = abstract_state(self._model, self._optimizer, config)
        places = state_shardings(one, self._mesh, self._model.vocabulary_axes)
        placed = jax.tree.map(
            lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
            one,
            places,
        )
        self._abstract = abstract_sweep_state(placed, len(replicas))
        self._shardings = jax.tree.map(lambda leaf: leaf.sharding, self._abstract)
        step = make_call(make_train_step(self._model, self._optimizer, config))
        if vectorised is None:
            vectorised = jax.default_backend() != "cpu"
        every_step = side_by_side(step) if vectorised else in_turn(step)
        states, best = self._shardings
        self._call = jax.jit(every_step, donate_argnums=0, out_shardings=states)
        self._without_sums = jax.jit(without_sums, donate_argnums=0, out_shardings=states)
        self._with_new_decoders = jax.jit(with_new_decoders, donate_argnums=0, out_shardings=states)
        self._keep_best = jax.jit(keep_best, donate_argnums=0, out_shardings=best)
        self._take = jax.jit(take, out_shardings=places.params)
        self._evaluator = Evaluator(self._model, config, corpus, self._mesh)
        self._store = CheckpointStore(run.checkpoints_path)
        self._state: Any = None
        self._books: list[Bookkeeper] = []

    @settings_of_models()
    def train(self) -> list[TrainedReplica]:
        """Trains all replicas to their ends, from the latest checkpoint if there is one.

        Returns:
          Each replica at its best step on dev.

        Raises:
          UserError: the corpus is not that of the checkpoint.
          Interrupted: a signal came; the state is saved.
        """
        hosts, step = self._restore()
        with ExitStack() as logs:
            for replica, host in zip(self._replicas, hosts, strict=True):
                folder = self._run.replica(replica.name)
                folder.path.mkdir(parents=True, exist_ok=True)
                log = logs.enter_context(folder.metrics_log())
                log.truncate_after(step)
                books = Bookkeeper(replica.config, self._corpus, self._timetable, host, log)
                self._books.append(books)
            if not self.finished:
                name = f"{self._config.name}, {len(hosts)} replicas"
                walk_from(self, self._config, self._corpus, self._timetable, self._mesh, step, name)
        hosts = [books.host for books in self._books]
        return trained_replicas(
            self._replicas, self._corpus, self._model, self._mesh, self._state, hosts
        )

    @property
    def finished(self) -> bool:
        """Whether the training of all replicas is over."""
        return not self._in_training()

    @property
    def status(self) -> str:
        """The best dev values so far, and how many replicas are in training."""
        best = [books.host.plateau.best for books in self._books]
        finite = [exp(value) for value in best if np.isfinite(value)]
        shown = f"perplexity {min(finite):.1f} to {max(finite):.1f}" if finite else "-"
        return f"{shown}, {len(self._in_training())} of {len(best)} in training"

    def advance(self, step: int, chunk: Chunk) -> None:
        """Takes the steps of a chunk in every replica that is in training, as a single run does."""
        active = np.zeros(len(self._books), bool)
        active[self._in_training()] = True
        if self._timetable.is_restart(step):
            initial = place(stack(self._initial_states()), self._shardings.replicas)
            states = self._with_new_decoders(self._state.replicas, initial, active)
            self._state = self._state._replace(replicas=states)
        hypers = stack(
            [
                stack_hyperparameters([books.hyperparameters(step + i) for i in range(chunk.steps)])
                for books in self._books
            ]
        )
        states = self._call(self._state.replicas, chunk.batches, hypers, active)
        self._state = self._state._replace(replicas=states)

    def wait(self) -> None:
        """Waits for the device."""
        jax.block_until_ready(self._state.replicas.sums)

    def log_train(self, step: int, seconds: float | None) -> None:
        """Writes each replica's totals since its last line, and stops those that diverged.

        Seconds, and the tokens a second, are of a time in which all replicas were trained.
        """
        sums = jax.device_get(self._state.replicas.sums)
        bad = sums.first_bad_step
        for number in self._in_training():
            books = self._books[number]
            if bad[number] < 0:
                books.log_train(step, jax.tree.map(lambda x, i=number: x[i], sums), seconds)
                continue
            books.host = dataclasses.replace(books.host, finished=True)
            tqdm.write(
                f"{self._replicas[number].name}: the loss or its gradient became NaN or infinite "
                f"in step {bad[number] + 1}; it is trained no further",
                file=sys.stderr,
            )
        # A replica that diverged keeps its totals, which say in which step it did.
        states = self._without_sums(self._state.replicas, bad < 0)
        self._state = self._state._replace(replicas=states)

    def evaluate(self, step: int) -> None:
        """Measures dev in every replica that is in training, and decides what follows from it."""
        improved = np.zeros(len(self._books), bool)
        for number in self._in_training():
            start = time.monotonic()
            config = self._replicas[number].config
            nats = self._evaluator.nats(
                self._take(self._state.replicas.evaluated, number),
                "valid",
                root_key(config.seed, Purpose.SELECT),
                hyper=latent_hyperparameters(config.latent),
                protocol=config.train.protocol,
            )
            improved[number] = self._books[number].observe(step, nats, time.monotonic() - start)
        best = self._keep_best(self._state.best, self._state.replicas.evaluated, improved)
        self._state = self._state._replace(best=best)

    def save(self, step: int) -> None:
        """Saves the states of all replicas, their best parameters and host states."""
        hosts = [books.host.to_json() for books in self._books]
        self._store.save(step, self._state, {"replicas": hosts})

    def _in_training(self) -> list[int]:
        return [number for number, books in enumerate(self._books) if not books.host.finished]

    def _initial_states(self) -> list[TrainState]:
        counts = self._corpus.vocabulary.train_counts
        return [
            init_state(
                init_params(self._model, replica.config.seed, counts), self._optimizer, self._config
            )
            for replica in self._replicas
        ]

    def _restore(self) -> tuple[list[HostState], int]:
        refuse_other_corpus(self._store, self._corpus, self._run)
        found = self._store.restore_latest(self._abstract)
        if found is None:
            states = self._initial_states()
            self._state = place(init_sweep_state(states), self._shardings)
            fresh = HostState(Plateau(), 0, False, self._corpus.fingerprint())
            return [fresh] * len(states), 0
        step, self._state, values = found
        tqdm.write(f"resumed {self._run.path} at step {step}", file=sys.stderr)
        # Those that diverged, or stopped before the others, stay as they are.
        bad = np.asarray(self._state.replicas.sums.first_bad_step)
        steps = np.asarray(self._state.replicas.step)
        hosts = [
            gone_on(host, replica.config, self._timetable, step) if one < 0 and at == step else host
            for host, replica, one, at in zip(
                host_states(values), self._replicas, bad, steps, strict=True
            )
        ]
        return hosts, step
