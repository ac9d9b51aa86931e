"""Training, from a configuration to the last checkpoint, of one model or of several replicas.

A single run is a sweep of one replica. Training is a function of the checkpoint and the
configuration: batch and key of a step follow from its number, and the decisions of the host are
saved with the arrays.
"""

import contextlib
import dataclasses
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict
from tqdm import tqdm

from spherical_vae.config.sweeps import Replica, program_config
from spherical_vae.data.corpus import Corpus
from spherical_vae.data.prefetch import prefetched
from spherical_vae.evaluation.evaluator import Evaluator
from spherical_vae.models.latents.latent import latent_hyperparameters
from spherical_vae.models.vae import build_vae, init_params
from spherical_vae.parallel import hosts
from spherical_vae.parallel.sharding import data_mesh, place, state_shardings
from spherical_vae.random.keys import Purpose, root_key
from spherical_vae.runs.checkpoint import CheckpointStore
from spherical_vae.runs.progress import Progress, from_json, to_json
from spherical_vae.runs.run_directory import RunDirectory, load_origin
from spherical_vae.runs.trained_model import (
    EVALUATED,
    TrainedModel,
    TrainedReplica,
    check_corpus,
    load_origin_model,
    starting_params,
    trained_replicas,
)
from spherical_vae.system.errors import DivergedError, Interrupted, UserError
from spherical_vae.system.jax_settings import settings_of_models
from spherical_vae.system.signals import Termination
from spherical_vae.training import calls
from spherical_vae.training.calls import Call
from spherical_vae.training.optimizer import build_optimizer
from spherical_vae.training.schedules import Timetable, check_schedules
from spherical_vae.training.step import (
    TrainState,
    abstract_state,
    empty_sums,
    init_state,
    make_train_step,
)
from spherical_vae.training.supervisor import ProgressBar, Supervisor, resumed

# The item of a checkpoint that training continues from; `EVALUATED` is the other one.
STATE = "state"


def train_model(
    config: ConfigDict, corpus: Corpus, run: RunDirectory, **options: Any
) -> TrainedModel:
    """Trains one model to the end, from the latest checkpoint if there is one.

    Args:
      config: whole and validated.
      corpus: to train on.
      run: of `open_run`.
      **options: keyword arguments of `Trainer`.

    Returns:
      The model at its best step on validation.

    Raises:
      DivergedError: the loss became NaN or infinite, or validation was never finite.
      UserError: as `Trainer`.
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
    """
    return Trainer(config, replicas, corpus, run, **options).train()


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
        vectorised: bool | None = None,
        evaluator: Evaluator | None = None,
        compile_step: Callable[..., Callable[..., TrainState]] = jax.jit,
        put: Callable[[Call, Mesh], Call] = calls.put_on_mesh,
        after_evaluation: Callable[[int, dict], None] | None = None,
    ) -> None:
        """Builds the programs and restores the latest checkpoint; compiles no step yet.

        Args:
          config: whole and validated; shared by the replicas.
          replicas: of `build_replicas`; for a single run one with the name "".
          corpus: to train on.
          run: of `open_run`.
          vectorised: whether several replicas take their steps at once; see `replica_step`.
          evaluator: of validation; None for a new one.
          compile_step: `jax.jit`, or a function like it.
          put: puts the batches of a call on the devices; called in the thread that prefetches.
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
        self._timetable = Timetable.of(config, len(corpus.splits["train"]))
        for replica in replicas:
            check_schedules(replica.config, self._timetable)
        self._config, self._replicas, self._corpus, self._run = config, replicas, corpus, run
        self._single = not replicas[0].name
        self._put, self._after_evaluation = put, after_evaluation
        self._mesh = data_mesh(config.train.batch_size, config.mesh.model)
        self._model = build_vae(program_config(config, replicas), len(corpus.vocabulary))
        self._optimizer = build_optimizer(config.optimizer)
        self._evaluator = evaluator or Evaluator(self._model, config, corpus, self._mesh)

        one = abstract_state(self._model, self._optimizer, config)
        places = state_shardings(one, self._mesh, self._model.vocabulary_axes)
        self._saved = calls.abstract_replicas(one, places, len(replicas))
        saved = jax.tree.map(lambda leaf: leaf.sharding, self._saved)
        self._shardings = saved if len(replicas) > 1 else places
        step = calls.multi_step(make_train_step(self._model, self._optimizer, config))
        self._step = compile_step(
            calls.replica_step(step, len(replicas), vectorised),
            donate_argnums=0,
            out_shardings=self._shardings,
        )
        best = self._shardings.evaluated
        jit = partial(jax.jit, donate_argnums=0)
        renew = partial(calls.with_first_decoders, optimizer=self._optimizer)
        self._with_first_decoders = jit(renew, out_shardings=self._shardings)
        self._keep = jit(
            lambda old, new, chosen: calls.select(chosen, new, old), out_shardings=best
        )
        self._take = jax.jit(calls.take, out_shardings=places.evaluated)
        # The arrays of a single replica as a checkpoint has them, and back.
        self._add_axis = jax.jit(
            lambda trees: jax.tree.map(lambda leaf: leaf[None], trees),
            out_shardings=(saved, saved.evaluated),
        )
        self._drop_axis = jax.jit(
            lambda trees: jax.tree.map(lambda leaf: jnp.squeeze(leaf, 0), trees),
            out_shardings=(self._shardings, best),
        )

        self._store = CheckpointStore(run.checkpoints_path)
        self._first_step, self._state, self._best, states = self._restore()
        logs = [run.replica(replica.name).metrics_log() for replica in replicas]
        self._supervisors = [
            Supervisor(replica.config, corpus, self._timetable, state, log)
            for replica, state, log in zip(replicas, states, logs, strict=True)
        ]

    @settings_of_models()
    def train(self) -> list[TrainedReplica]:
        """Trains all replicas to their ends.

        Returns:
          Each replica at its best step on validation.

        Raises:
          DivergedError: the loss of a single run became NaN or infinite.
          Interrupted: a signal stopped training; the state is saved.
        """
        with contextlib.ExitStack() as logs:
            for one in self._supervisors:
                logs.enter_context(one.log).truncate_after(self._first_step)
            if self._active():
                self._run_loop(self._first_step)
        states = [one.state for one in self._supervisors]
        best = [self._params(self._best, number) for number in range(len(states))]
        return trained_replicas(self._replicas, self._corpus, self._model, self._mesh, best, states)

    def _run_loop(self, step: int) -> None:
        """Takes the steps that follow `step` steps; pauses where the timetable says so."""
        config, timetable = self._config, self._timetable
        batches = calls.batches_from(self._corpus, config, timetable, step)
        feed = calls.group_into_calls(
            batches, step, config.train.steps_per_call, timetable.is_pause
        )
        name = config.name if self._single else f"{config.name}, {len(self._replicas)} replicas"
        since = time.monotonic()
        # The totals of steps before a stop are not of the time since this start.
        begun_earlier = step > 0 and not timetable.is_log(step)
        with (
            prefetched(feed, lambda call: self._put(call, self._mesh)) as on_devices,
            Termination() as termination,
            ProgressBar(name, step, timetable.total_steps) as bar,
        ):
            for call in on_devices:
                self._advance(step, call)
                step += call.steps
                bar.advance(call.steps)
                if timetable.is_log(step):
                    jax.block_until_ready(self._state.sums)  # Steps queue ahead of the device.
                    self._log_train(step, None if begun_earlier else time.monotonic() - since)
                    since, begun_earlier = time.monotonic(), False
                evaluated = timetable.is_evaluation(step)
                if evaluated:
                    self._evaluate(step)
                    since = time.monotonic()
                if timetable.is_log(step):
                    bar.show(self._supervisors, evaluated)
                # Several processes agree on a stop, at pauses only: elsewhere none of them waits.
                may_stop = not hosts.several() or timetable.is_pause(step)
                stop = hosts.largest(termination.signal or 0) if may_stop else 0
                finished = not self._active()
                if timetable.is_checkpoint(step) or stop or finished:
                    self._save(step)
                if stop:
                    raise Interrupted(stop, step)
                if finished:
                    break

    def _advance(self, step: int, call: Call) -> None:
        """Takes the steps of a call in every active replica.

        The reset of the decoder belongs to the step that follows it: a checkpoint between the two
        has the state before the reset.
        """
        active = self._mask([not one.state.finished for one in self._supervisors])
        if self._timetable.is_restart(step):
            self._state = self._with_first_decoders(self._state, active)
        hypers = [
            calls.join([one.hyperparameters(step + i) for i in range(call.steps)])
            for one in self._supervisors
        ]
        self._state = self._step(self._state, call.batches, calls.join(hypers), active)

    def _log_train(self, step: int, seconds: float | None) -> None:
        """Writes the totals of each active replica and starts new ones.

        A replica that diverged is stopped, and keeps its totals. Seconds are of all replicas
        together.
        """
        sums = calls.split(jax.device_get(self._state.sums), len(self._supervisors))
        for number in self._active():
            bad = int(sums[number].first_bad_step)
            if bad < 0:
                self._supervisors[number].log_train(step, sums[number], seconds)
                continue
            if self._single:
                raise self._diverged(bad + 1)
            self._supervisors[number].stop_diverged(step, bad + 1)
            tqdm.write(
                f"{self._replicas[number].name}: the loss or its gradient became NaN or infinite "
                f"in step {bad + 1}; it is trained no further",
                file=sys.stderr,
            )
        fresh = calls.join([one if one.first_bad_step >= 0 else empty_sums() for one in sums])
        self._state = self._state._replace(sums=place(fresh, self._shardings.sums))

    def _evaluate(self, step: int) -> None:
        """Measures validation in every active replica, and keeps the best parameters."""
        improved = [False] * len(self._supervisors)
        for number in self._active():
            start = time.monotonic()
            config = self._replicas[number].config
            params = self._params(self._state.evaluated, number)
            nats = self._evaluator.nats(
                params,
                "valid",
                root_key(config.seed, Purpose.SELECT),
                hyper=latent_hyperparameters(config.latent),
                protocol=config.train.protocol,
            )
            seconds = time.monotonic() - start
            improved[number] = self._supervisors[number].observe(step, nats, seconds)
            if self._after_evaluation is not None:
                self._after_evaluation(step, params)
        self._best = self._keep(self._best, self._state.evaluated, self._mask(improved))

    def _save(self, step: int) -> None:
        """Saves states, progress, and the best parameters: before an evaluation, the latest."""
        if self._single and (bad := int(self._state.sums.first_bad_step)) >= 0:
            raise self._diverged(bad + 1)
        for number in self._active():
            one = self._supervisors[number]
            one.state = dataclasses.replace(one.state, step=step)
        unmeasured = [one.state.best_step < 0 for one in self._supervisors]
        if any(unmeasured):
            self._best = self._keep(self._best, self._state.evaluated, self._mask(unmeasured))
        states = [one.state for one in self._supervisors]
        self._write(step, self._state, self._best, states)

    def _write(self, step: int, state: TrainState, best: dict, progress: list[Progress]) -> None:
        if len(progress) == 1:
            state, best = self._add_axis((state, best))
        self._store.save(step, {STATE: state, EVALUATED: best}, to_json(progress))

    def _restore(self) -> tuple[int, TrainState, dict, list[Progress]]:
        """Returns steps done, states, best parameters and progress to continue from."""
        check_corpus(self._store, self._corpus, self._run.path)
        restored = self._store.restore_latest(
            {STATE: self._saved, EVALUATED: self._saved.evaluated}
        )
        if restored is not None:
            step, items, values = restored
            states = [
                resumed(state, replica.config, self._timetable, step)
                for state, replica in zip(from_json(values), self._replicas, strict=True)
            ]
            if hosts.is_first():
                tqdm.write(f"resumed {self._run.path} at step {step}", file=sys.stderr)
            state, best = items[STATE], items[EVALUATED]
            if len(states) == 1:
                state, best = self._drop_axis((state, best))
            return step, state, best, states
        origin = load_origin(self._run.path) if self._run.config_path.exists() else None
        initial = self._initial_states(origin)
        state = place(initial, self._shardings)
        best = place(initial.evaluated, self._shardings.evaluated)
        states = [Progress(self._corpus.fingerprint)] * len(self._replicas)
        if origin is not None:
            # After this the run does not need the other one.
            self._write(0, state, best, states)
        return 0, state, best, states

    def _initial_states(self, origin: Mapping[str, Any] | None) -> TrainState:
        """Returns the states before the first step, on the host, from the seeds or another run."""
        counts = self._corpus.vocabulary.train_counts
        params = [init_params(self._model, one.config.seed, counts) for one in self._replicas]
        if origin is not None:
            other = load_origin_model(origin)
            params = [starting_params(other, one) for one in params]
        joined: TrainState = calls.join(
            [init_state(one, self._optimizer, self._config) for one in params]
        )
        return joined

    def _mask(self, chosen: list[bool]) -> Any:
        """Returns an argument of the compiled functions that chooses replicas."""
        return calls.join([np.bool_(one) for one in chosen])

    def _params(self, params: dict, number: int) -> dict:
        """Returns the parameters of one replica, on the device."""
        one: dict = params if len(self._supervisors) == 1 else self._take(params, number)
        return one

    def _active(self) -> list[int]:
        """Returns the numbers of the replicas whose training is not over."""
        return [number for number, one in enumerate(self._supervisors) if not one.state.finished]

    def _diverged(self, bad_step: int) -> DivergedError:
        last = self._store.latest_step()
        saved = "there is no checkpoint yet" if last is None else f"step {last} is saved"
        return DivergedError(
            f"{self._config.name}: the loss or its gradient became NaN or infinite in step "
            f"{bad_step}; {saved} in {self._run.path}; try a smaller "
            "config.optimizer.learning_rate or config.optimizer.clip_norm, in a new --workdir",
            f"diverged in step {bad_step}",
        )
