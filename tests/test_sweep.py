"""A sweep in one process: each replica as its single run, stopping, resuming, and what it leaves.

That a training survives SIGKILL is tested in `test_resume.py`.
"""

import dataclasses
import os
import signal

import jax
import numpy as np
import pytest
from small_models import small_config, small_corpus
from small_run import checkpoint_contents, metrics_without_times

from spherical_vae.config.sweeps import build_replicas, program_config, settings_by_name
from spherical_vae.evaluation import evaluator as evaluation
from spherical_vae.evaluation.evaluator import Evaluator
from spherical_vae.evaluation.measures import build_evaluator, measure_model
from spherical_vae.evaluation.sweep import measure_sweep
from spherical_vae.models.vae import build_vae
from spherical_vae.parallel.sharding import data_mesh
from spherical_vae.runs import trained_model as trained
from spherical_vae.runs.run_directory import open_run
from spherical_vae.runs.trained_model import load_all, load_trained
from spherical_vae.system.errors import Interrupted, UserError
from spherical_vae.training.calls import side_by_side
from spherical_vae.training.trainer import train_model, train_replicas

CONFIG = small_config(
    train__steps=24,
    train__evaluate_every=6,
    train__log_every=4,
    encoder__kind="bag_of_words",
    optimizer__name="sgd",
    optimizer__schedule="plateau",
    dropout_rate=0.3,
    data__buckets=1,
)
# The first goes on to the end, the second learns nothing and stops, the third diverges.
KEYS = ("seed", "latent.concentration", "optimizer.learning_rate", "train.early_stopping")
VALUES = [(0, 15.0, 0.5, 0), (3, 6.0, 1e-30, 1), (3, 6.0, 1e30, 0)]
GOES_ON, STOPS, DIVERGES = range(3)
STOPS_AT = 12
CORPUS = small_corpus(examples=46)
REPLICAS = build_replicas(CONFIG, [dict(zip(KEYS, values, strict=True)) for values in VALUES])


class Programs:
    """Stands in for `jax.jit` of a step: counts traces, keeps the states, stops training.

    Args:
      like: another one, whose program is used again.
      signal_after: calls, after which training is asked to stop.
    """

    def __init__(self, like=None, signal_after=None):
        self.traces, self.history = 0, []
        self._compiled = None if like is None else like._compiled
        self._signal_after = signal_after

    def __call__(self, function, **options):
        def traced(*args):
            self.traces += 1
            return function(*args)

        self._compiled = self._compiled or jax.jit(traced, **options)

        def call(*args):
            states = self._compiled(*args)
            self.history.append(jax.tree.map(np.array, states))
            if len(self.history) == self._signal_after:
                os.kill(os.getpid(), signal.SIGTERM)
            return states

        return call


@dataclasses.dataclass
class Sweep:
    """A trained sweep: where, by what, and what came out."""

    workdir: object
    programs: Programs
    evaluator: Evaluator
    replicas: list


def train(workdir, like=None, signal_after=None):
    """Trains the sweep; with the programs of another one, and stopping, where asked for."""
    programs = Programs(like and like.programs, signal_after)
    if like is None:
        model = build_vae(program_config(CONFIG, REPLICAS), len(CORPUS.vocabulary))
        evaluator = Evaluator(model, CONFIG, CORPUS, data_mesh(CONFIG.train.batch_size))
    else:
        evaluator = like.evaluator
    with open_run(workdir, CONFIG, settings_by_name(REPLICAS)) as run:
        replicas = train_replicas(
            CONFIG,
            REPLICAS,
            CORPUS,
            run,
            evaluator=evaluator,
            compile_step=programs,
        )
    return Sweep(workdir, programs, evaluator, replicas)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    traces, terms = [], evaluation.elbo_terms

    def counted(*args, **options):
        traces.append(1)
        return terms(*args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation, "elbo_terms", counted)
        found = train(tmp_path_factory.mktemp("sweep") / "run")
    assert len(traces) == 1, "one evaluation serves all concentrations"
    assert found.programs.traces == 1, "and one step all replicas"
    return found


def assert_same(found, wanted):
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_array_equal(one, other)


def metrics_of(sweep, number):
    return metrics_without_times(sweep.workdir / "replicas" / REPLICAS[number].name)


@pytest.mark.slow
def test_a_replica_is_its_single_run(sweep, tmp_path):
    replica = REPLICAS[GOES_ON]
    with open_run(tmp_path, replica.config) as run:
        programs = Programs()
        alone = train_model(replica.config, CORPUS, run, compile_step=programs)
    for state, single in zip(sweep.programs.history, programs.history, strict=True):
        assert_same(jax.tree.map(lambda leaf: leaf[GOES_ON], state), single)
    found = sweep.replicas[GOES_ON].model
    assert_same(found.params, alone.params)
    assert (found.step, found.last_step) == (alone.step, alone.last_step)
    assert found.step < found.last_step  # else the best parameters would be any parameters
    assert found.tokens_seen == alone.tokens_seen
    assert metrics_of(sweep, GOES_ON) == metrics_without_times(tmp_path)


def test_a_replica_that_stopped_changes_no_more_while_others_go_on(sweep):
    def states(number):
        return [jax.tree.map(lambda leaf: leaf[number], state) for state in sweep.programs.history]

    stopped = states(STOPS)
    assert [int(state.step) for state in stopped] == [*range(1, STOPS_AT), *[STOPS_AT] * 13]
    for later in stopped[STOPS_AT:]:
        assert_same(later.params, stopped[STOPS_AT - 1].params)
    assert [int(state.step) for state in states(GOES_ON)] == list(range(1, 25))
    assert metrics_of(sweep, STOPS)[-1]["step"] == STOPS_AT
    assert sweep.replicas[STOPS].model.step == STOPS_AT - 6
    assert sweep.replicas[STOPS].model.last_step == STOPS_AT


def test_a_replica_that_diverges_stops_alone(sweep):
    assert [replica.diverged_step for replica in sweep.replicas] == [None, None, 2]
    assert sweep.replicas[DIVERGES].model is None
    assert not (sweep.workdir / "replicas" / REPLICAS[DIVERGES].name / "metrics.jsonl").exists()


def test_resumed_it_ends_as_if_it_had_never_stopped(sweep, tmp_path):
    for calls in (3, 8):
        with pytest.raises(Interrupted):
            train(tmp_path, like=sweep, signal_after=calls)
    train(tmp_path, like=sweep)
    assert checkpoint_contents(tmp_path) == checkpoint_contents(sweep.workdir)
    for number in (GOES_ON, STOPS):
        folder = tmp_path / "replicas" / REPLICAS[number].name
        assert metrics_without_times(folder) == metrics_of(sweep, number)


def test_replicas_are_found_again(sweep, monkeypatch):
    monkeypatch.setattr(trained, "load_corpus", lambda settings: CORPUS)
    for found, wanted in zip(load_all(sweep.workdir), sweep.replicas, strict=True):
        assert found.replica.settings == wanted.replica.settings
        assert found.diverged_step == wanted.diverged_step
        if wanted.model is not None:
            assert_same(found.model.params, wanted.model.params)
            assert found.model.step == wanted.model.step
            again = load_trained(sweep.workdir, wanted.replica.name)
            assert again.config == wanted.replica.config
            assert_same(again.params, wanted.model.params)


@pytest.mark.parametrize("replica", [None, "seed=0"])
def test_a_replica_must_be_named_and_there(sweep, replica):
    with pytest.raises(UserError, match=f"allowed for the sweep in .*: {REPLICAS[0].name} "):
        load_trained(sweep.workdir, replica)


@pytest.mark.slow
def test_at_once_as_on_accelerators_the_same_comes_out(sweep, tmp_path, monkeypatch):
    monkeypatch.setattr("spherical_vae.training.calls.in_turn", side_by_side)
    at_once = train(tmp_path / "run")
    for number in (GOES_ON, STOPS):
        found, wanted = (metrics_of(one, number) for one in (at_once, sweep))
        for record, expected in zip(found, wanted, strict=True):
            assert record.keys() == expected.keys()
            for key, value in expected.items():
                close = pytest.approx(value, rel=1e-4) if isinstance(value, float) else value
                assert record[key] == close, key
    assert [replica.diverged_step for replica in at_once.replicas] == [None, None, 2]
    last = at_once.programs.history[-1]
    assert list(last.step[[GOES_ON, STOPS]]) == [24, STOPS_AT]


@pytest.mark.slow
def test_each_replica_is_measured_as_a_single_run_and_once(sweep, monkeypatch):
    def measured_again(*arguments, **options):
        raise AssertionError

    with open_run(sweep.workdir, CONFIG, settings_by_name(REPLICAS)) as run:
        results = measure_sweep(sweep.replicas, "test", cache=run)
        other = [
            dataclasses.replace(one, model=one.model and dataclasses.replace(one.model, params={}))
            for one in sweep.replicas
        ]
        with monkeypatch.context() as patch:
            patch.setattr("spherical_vae.evaluation.sweep.measure_model", measured_again)
            assert measure_sweep(sweep.replicas, "test", cache=run) == results
            for asked in ((other, {}), (sweep.replicas, {"seed": 1})):
                with pytest.raises(AssertionError):
                    measure_sweep(asked[0], "test", cache=run, **asked[1])
    model = sweep.replicas[STOPS].model
    wanted, _ = measure_model(build_evaluator(model), model, "test")
    found = results.replicas[STOPS].result
    assert found.keys() == wanted.keys()
    for key, value in wanted.items():
        expected = pytest.approx(value, rel=1e-5) if isinstance(value, float) else value
        assert found[key] == expected, key
    assert results.replicas[GOES_ON].result["kl_nats"] != found["kl_nats"]
    assert results.replicas[DIVERGES].result is None
    assert results.replicas[DIVERGES].diverged_step == 2


def test_another_sweep_or_a_single_run_is_refused(sweep):
    others = {"another order": REPLICAS[::-1], "fewer": REPLICAS[:2]}
    for replicas in others.values():
        with pytest.raises(UserError, match=r"--sweep: replicas .* given; use another --workdir"):
            open_run(sweep.workdir, CONFIG, settings_by_name(replicas))
    with pytest.raises(UserError, match="a single run given; use another --workdir"):
        open_run(sweep.workdir, CONFIG)


def test_a_sweep_of_which_nothing_is_finite_is_told(sweep):
    with pytest.raises(UserError, match="every replica diverged"):
        measure_sweep(sweep.replicas[DIVERGES:], "test")
