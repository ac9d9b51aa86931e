"""Training, from a configuration to the last checkpoint, of one model or of several replicas.

A single run is a sweep of one replica. Training is a function of the checkpoint and the
configuration: batch and key of a step follow from its number, and the decisions of the host are
saved with the arrays.
"""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from spherical_vae.config.sweeps import Replica, program_config
from spherical_vae.data.batch import Batch
from spherical_vae.data.corpus import Corpus
from spherical_vae.data.prefetch import prefetched
from spherical_vae.evaluation.evaluator import Evaluator
from spherical_vae.models.latents.latent import latent_hyperparameters
from spherical_vae.models.vae import build_vae, init_params
from spherical_vae.parallel import hosts
from spherical_vae.parallel.sharding import data_mesh, place, shard_batch, state_shardings
from spherical_vae.random.keys import Purpose, root_key
from spherical_vae.runs.checkpoint import CheckpointStore
from spherical_vae.runs.progress import Progress, check_corpus, from_json, to_json
from spherical_vae.runs.run_directory import RunDirectory, load_run
from spherical_vae.runs.trained_model import (
    EVALUATED,
    TrainedModel,
    TrainedReplica,
    load_origin_model,
    starting_params,
    trained_replicas,
)
from spherical_vae.system.errors import DivergedError, Interrupted, UserError
from spherical_vae.system.jax_settings import settings_of_models
from spherical_vae.system.signals import Termination
from spherical_vae.system.standard_error import tell
from spherical_vae.training import calls
from spherical_vae.training.optimizer import build_optimizer
from spherical_vae.training.schedules import Timetable, check_schedules
from spherical_vae.training.step import (
    Sums,
    TrainState,
    abstract_state,
    empty_sums,
    init_state,
    make_train_step,
    with_first_decoder,
)
from spherical_vae.training.supervisor import ProgressBar, Supervisor

# The item of a checkpoint that training continues from; `EVALUATED` is the other one.
STATE = "state"


def train_model(
    config: ConfigDict, corpus: Corpus, run: RunDirectory, **options: Any
) -> TrainedModel:
    """Trains one model to the end, from the latest checkpoint if there is one; see `Trainer`.

    Returns:
      The model at its best step on validation.

    Raises:
      DivergedError: the loss became NaN or infinite, or validation was never finite.
      Interrupted: a signal stopped training; the state is saved.
    """
    (trained,) = Trainer(config, [Replica("", {}, config)], corpus, run, **options).train()
    if trained.model is None:
        raise DivergedError(
            f"{run.path}: validation was never finite, so no step is best; try a smaller "
            "config.optimizer.learning_rate",
            "never finite on validation",
        )
    return trained.model


def train_replicas(
    config: ConfigDict,
    replicas: Sequence[Replica],
    corpus: Corpus,
    run: RunDirectory,
    **options: Any,
) -> list[TrainedReplica]:
    """Trains replicas together, each as in a single run; see `Trainer`.

    A replica stops alone if validation does not improve for `train.early_stopping` evaluations, or
    if its loss or gradient becomes NaN or infinite.

    Returns:
      Each replica at its best step on validation.

    Raises:
      Interrupted: a signal stopped training; the state is saved.
    """
    return Trainer(config, replicas, corpus, run, **options).train()


def _items(state: Any) -> dict[str, Any]:
    """Returns the items of a checkpoint in which no step is better than that of `state`."""
    return {STATE: state, EVALUATED: state.evaluated}


class Trainer:
    """Replicas of one model, their compiled step, and the run directory they are saved in."""

    @settings_of_models()
    def __init__(
        self,
        config: ConfigDict,
        replicas: Sequence[Replica],
        corpus: Corpus,
        run: RunDirectory,
        *,
        evaluator: Evaluator | None = None,
        compile_step: Callable[..., Callable[..., TrainState]] = jax.jit,
        after_evaluation: Callable[[int, dict], None] | None = None,
    ) -> None:
        """Builds the programs and restores the latest checkpoint; compiles no step yet.

        Args:
          config: whole and validated; shared by the replicas.
          replicas: of `build_replicas`; for a single run one with the name "".
          corpus: to train on.
          run: of `open_run`.
          evaluator: of validation; None for a new one.
          compile_step: `jax.jit`, or a function like it.
          after_evaluation: called with the step and the evaluated parameters of each replica after
            an evaluation, before the checkpoint of that step is saved.

        Raises:
          UserError: the batch or the vocabulary does not divide over the devices, training is too
            short for its schedules, there are several replicas and several processes, or the
            checkpoint is of another corpus or model.
        """
        if len(replicas) > 1 and jax.process_count() > 1:
            raise UserError(
                f"{len(replicas)} replicas in {jax.process_count()} processes, allowed: several "
                "replicas in one process"
            )
        self._timetable = Timetable(config, len(corpus.splits["train"]))
        for replica in replicas:
            check_schedules(replica.config, self._timetable)
        self._config, self._replicas, self._corpus, self._run = config, replicas, corpus, run
        self._single = not replicas[0].name
        self._after_evaluation = after_evaluation
        self._mesh = data_mesh(config.train.batch_size, config.mesh.model)
        self._model = build_vae(program_config(config, replicas), len(corpus.vocabulary))
        self._optimizer = build_optimizer(config.optimizer)
        self._evaluator = evaluator or Evaluator(self._model, config, corpus, self._mesh)

        one = abstract_state(self._model, self._optimizer, config)
        places = state_shardings(one, self._mesh, self._model.vocabulary_axes)
        self._saved = _items(calls.abstract_replicas(one, places, len(replicas)))
        saved = jax.tree.map(lambda leaf: leaf.sharding, self._saved)
        self._shardings = saved if len(replicas) > 1 else _items(places)
        step = calls.multi_step(make_train_step(self._model, self._optimizer, config))
        self._step = compile_step(
            calls.replica_step(step, len(replicas)),
            donate_argnums=0,
            out_shardings=self._shardings[STATE],
        )
        renew: Callable = partial(with_first_decoder, optimizer=self._optimizer)
        every = renew if len(replicas) == 1 else jax.vmap(renew)
        self._with_first_decoders = jax.jit(
            lambda old, chosen: calls.select(chosen, every(old), old),
            donate_argnums=0,
            out_shardings=self._shardings[STATE],
        )
        self._select = jax.jit(
            calls.select, donate_argnums=2, out_shardings=self._shardings[EVALUATED]
        )
        self._take = jax.jit(calls.take, out_shardings=places.evaluated)
        # The arrays of a single replica as a checkpoint has them, and back.
        self._add_axis = jax.jit(
            lambda items: jax.tree.map(lambda leaf: leaf[None], items), out_shardings=saved
        )
        self._drop_axis = jax.jit(
            lambda items: jax.tree.map(lambda leaf: jnp.squeeze(leaf, 0), items),
            out_shardings=self._shardings,
        )

        self._store = CheckpointStore(run.checkpoints_path)
        self._first_step, items, states = self._restore()
        self._state, self._best = items[STATE], items[EVALUATED]
        logs = [run.replica(replica.name).metrics_log() for replica in replicas]
        self._supervisors = [
            Supervisor(replica.config, self._timetable, state, log, self._first_step)
            for replica, state, log in zip(replicas, states, logs, strict=True)
        ]

    @settings_of_models()
    def train(self) -> list[TrainedReplica]:
        """Trains all replicas to their ends; see `train_model` and `train_replicas`."""
        if self._store.latest_step() is None and hosts.is_first():
            lost = sum(len(one.log.records()) for one in self._supervisors)
            if lost:
                message = (
                    f"there is no checkpoint: training begins anew, {lost} metrics are removed"
                )
                tell(f"{self._run.path}: {message}")
        with contextlib.ExitStack() as logs:
            for one in self._supervisors:
                logs.enter_context(one.log).truncate_after(self._first_step)
            if self._active():
                if self._first_step < self._timetable.total_steps and hosts.is_first():
                    # What was measured at an earlier end is not of this training any more.
                    self._run.results_path.unlink(missing_ok=True)
                self._run_loop(self._first_step)
        states = [one.state for one in self._supervisors]
        best = [self._params(self._best, number) for number in range(len(states))]
        return trained_replicas(self._replicas, self._corpus, self._model, self._mesh, best, states)

    def _run_loop(self, step: int) -> None:
        """Takes the steps that follow `step` steps; pauses where the timetable says so."""
        config, timetable = self._config, self._timetable
        feed = calls.group_into_calls(
            calls.batches_from(self._corpus, config, timetable, step),
            step,
            config.train.steps_per_call,
            timetable.is_pause,
        )
        name = config.name if self._single else f"{config.name}, {len(self._replicas)} replicas"
        since = time.monotonic()
        # The totals of steps before a stop are not of the time since this start.
        examples = np.atleast_1d(jax.device_get(self._state.sums.examples))
        begun_earlier = any(examples[number] > 0 for number, _ in self._active())
        # The settings are those of a thread, and batches are sent by another one.
        send = settings_of_models()(partial(shard_batch, mesh=self._mesh))
        with (
            prefetched(feed, send) as on_devices,
            Termination() as termination,
            ProgressBar(name, step, timetable.total_steps) as bar,
        ):
            for batches in on_devices:
                self._advance(step, batches)
                taken = calls.steps_of(batches)
                step += taken
                bar.advance(taken)
                if timetable.is_log(step):
                    jax.block_until_ready(self._state.sums)  # Steps queue ahead of the device.
                    self._log_train(step, None if begun_earlier else time.monotonic() - since)
                    evaluated = timetable.is_evaluation(step)
                    if evaluated:
                        self._evaluate(step)
                    since, begun_earlier = time.monotonic(), False
                    bar.show(self._supervisors, evaluated)
                # Several processes agree on a stop, at pauses only: elsewhere none of them waits.
                may_stop = not hosts.several() or timetable.is_pause(step)
                stop = hosts.largest(termination.signal or 0) if may_stop else 0
                finished = not self._active()
                if timetable.is_checkpoint(step) or stop or finished:
                    jax.block_until_ready(self._state.sums)
                    begun = time.monotonic()
                    self._save(step)
                    since += time.monotonic() - begun  # It is no time of the steps.
                if stop:
                    raise Interrupted(stop, step)
                if finished:
                    break

    def _advance(self, step: int, batches: Batch) -> None:
        """Takes the steps of a call in every active replica.

        The reset of the decoder belongs to the step that follows it: a checkpoint between the two
        has the state before the reset.
        """
        active = self._mask([not one.state.finished for one in self._supervisors])
        if self._timetable.is_restart(step):
            self._state = self._with_first_decoders(self._state, active)
        hypers = [
            calls.join([one.hyperparameters(step + i) for i in range(calls.steps_of(batches))])
            for one in self._supervisors
        ]
        self._state = self._step(self._state, batches, calls.join(hypers), active)

    def _log_train(self, step: int, seconds: float | None) -> None:
        """Writes the totals of each active replica and starts new ones.

        A replica that diverged is stopped, and keeps its totals. Seconds are of all replicas
        together.
        """
        columns = map(np.atleast_1d, jax.device_get(self._state.sums))
        sums = [Sums(*values) for values in zip(*columns, strict=True)]
        multipliers: list[float | None] = [None] * len(sums)
        if (logs := self._state.log_multiplier) is not None:
            multipliers = np.exp(np.atleast_1d(jax.device_get(logs))).tolist()
        for number, one in self._active():
            bad = int(sums[number].first_bad_step)
            if bad < 0:
                one.log_train(step, sums[number], seconds, multipliers[number])
                continue
            if self._single:
                raise self._diverged(bad + 1)
            one.stop_diverged(step, bad + 1)
            tell(
                f"{self._replicas[number].name}: the loss or its gradient became NaN or infinite "
                f"in step {bad + 1}; it is trained no further",
            )
        fresh = calls.join([old if old.first_bad_step >= 0 else empty_sums() for old in sums])
        self._state = self._state._replace(sums=place(fresh, self._shardings[STATE].sums))

    def _evaluate(self, step: int) -> None:
        """Measures validation in every active replica, and keeps the best parameters."""
        improved = [False] * len(self._supervisors)
        for number, one in self._active():
            start, config = time.monotonic(), one.config
            params = self._params(self._state.evaluated, number)
            nats = self._evaluator.nats(
                params,
                "valid",
                root_key(config.seed, Purpose.SELECT),
                hyper=latent_hyperparameters(config.latent),
                protocol=config.train.protocol,
            )
            improved[number] = one.observe(step, nats, time.monotonic() - start)
            if self._after_evaluation is not None:
                self._after_evaluation(step, params)
        self._best = self._select(self._mask(improved), self._state.evaluated, self._best)

    def _save(self, step: int) -> None:
        """Saves states, progress, and the best parameters: before an evaluation, the latest."""
        if self._single and (bad := int(self._state.sums.first_bad_step)) >= 0:
            raise self._diverged(bad + 1)
        for _, one in self._active():
            one.state = dataclasses.replace(one.state, step=step)
        unmeasured = [one.state.best_step < 0 for one in self._supervisors]
        if any(unmeasured):
            self._best = self._select(self._mask(unmeasured), self._state.evaluated, self._best)
        states = [one.state for one in self._supervisors]
        self._write(step, {STATE: self._state, EVALUATED: self._best}, states)

    def _write(self, step: int, items: dict[str, Any], progress: list[Progress]) -> None:
        items = self._add_axis(items) if len(progress) == 1 else items
        self._run.keep_length()
        self._store.save(step, items, to_json(progress))

    def _restore(self) -> tuple[int, dict[str, Any], list[Progress]]:
        """Returns steps done, items of a checkpoint, and progress to continue from."""
        check_corpus(self._store, self._corpus, self._run.path)
        restored = self._store.restore_latest(self._saved)
        if restored is not None:
            step, items, values = restored
            states = from_json(values)
            if hosts.is_first():
                tell(f"resumed {self._run.path} at step {step}")
            return step, self._drop_axis(items) if len(states) == 1 else items, states
        origin = load_run(self._run.path).origin if self._run.config_path.exists() else None
        items = place(_items(self._initial_states(origin)), self._shardings)
        states = [Progress(self._corpus.fingerprint)] * len(self._replicas)
        if origin is not None:
            # After this the run does not need the other one.
            self._write(0, items, states)
        return 0, items, states

    def _initial_states(self, origin: Mapping[str, Any] | None) -> TrainState:
        """Returns the states before the first step, on the host, from the seeds or another run."""
        counts = self._corpus.vocabulary.train_counts
        params = [init_params(self._model, one.config.seed, counts) for one in self._replicas]
        if origin is not None:
            other = load_origin_model(origin)
            params = [starting_params(other, one) for one in params]
        return calls.join([init_state(one, self._optimizer, self._config) for one in params])

    def _mask(self, chosen: list[bool]) -> Any:
        """Returns an argument of the compiled functions that chooses replicas."""
        return calls.join([np.bool_(one) for one in chosen])

    def _params(self, params: dict, number: int) -> dict:
        """Returns the parameters of one replica, on the device."""
        return params if len(self._supervisors) == 1 else self._take(params, number)

    def _active(self) -> list[tuple[int, Supervisor]]:
        """Returns the number and the supervisor of each replica whose training is not over."""
        return [pair for pair in enumerate(self._supervisors) if not pair[1].state.finished]

    def _diverged(self, bad_step: int) -> DivergedError:
        last = self._store.latest_step()
        saved = "there is no checkpoint yet" if last is None else f"step {last} is saved"
        return DivergedError(
            f"{self._config.name}: the loss or its gradient became NaN or infinite in step "
            f"{bad_step}; {saved} in {self._run.path}; try a smaller "
            "config.optimizer.learning_rate or config.optimizer.clip_norm, in a new --workdir",
            f"diverged in step {bad_step}",
        )
