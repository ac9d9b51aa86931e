"""Trains and measures what the store lacks of the rows of a table.

A run is trained once, in `WORKDIR/runs/ID`, by training's own resume; what is found goes into the
store at once, so an interrupted command continues where it stopped. Processes that run the same
command share the work: each run is locked by whoever works on it.
"""

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from paper import smoke
from paper.measures.probe import probe_results
from paper.measures.swaps import swap_cosines
from paper.measures.tight import concentrations, tight_bound
from paper.measures.trace import Tracer, read_trace
from paper.specs import Place, Row, Spec, choose
from paper.store import Bounds, Measured, Point, Provenance, Run, Store, Training
from spherical_vae.data import load_corpus
from spherical_vae.data.corpus import Corpus
from spherical_vae.evaluation import metrics
from spherical_vae.evaluation.evaluator import Evaluator
from spherical_vae.evaluation.measures import build_evaluator, measure_model
from spherical_vae.random.keys import Purpose, root_key
from spherical_vae.runs.metrics_log import MetricsLog
from spherical_vae.runs.run_directory import RunDirectory, open_run
from spherical_vae.runs.trained_model import TrainedModel, load_trained, origin_record
from spherical_vae.system.atomic_file import write_atomically
from spherical_vae.system.errors import DivergedError, UserError
from spherical_vae.system.folder_lock import lock_folder
from spherical_vae.system.provenance import circumstances, commit
from spherical_vae.system.standard_error import tell
from spherical_vae.training.trainer import train_model


class Unavailable(Exception):
    """A run or measure that cannot be made here now; the message says why."""


class Busy(Unavailable):
    """A run that another process works on."""


@dataclass
class Runner:
    """Completes rows, one run after another; trains those that are missing only if `training`."""

    place: Place
    store: Store
    training: bool = True
    _corpora: dict[str, Corpus] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.place.scale == "smoke":
            smoke.write_corpora(self.place.tiny_corpora)

    def complete(self, rows: Sequence[Row], seeds: int) -> int:
        """Trains and measures the rows: all trials first, then seed by seed.

        What is unavailable is reported on standard error and left out.

        Returns:
          How many runs could not be made or measured; those that another process works on, or that
          diverged, are not among them.

        Raises:
          Interrupted: a signal came; the same command continues.
          UserError: a configuration is not allowed, or a folder cannot be written.
        """
        commit()  # Looked up now: files may change during a training.
        failed = 0
        for row in rows:
            for spec in row.trials():
                failed += not self._attempt(row.name, spec, None)
        for seed in range(seeds):
            for row in rows:
                trials = [self.store.get(self.place.run_id(spec)) for spec in row.trials()]
                chosen = choose(row, trials)
                if chosen is not None:
                    failed += not self._attempt(row.name, row.spec(chosen, seed), row)
        return failed

    def _attempt(self, name: str, spec: Spec, row: Row | None) -> bool:
        try:
            self._make(spec, row)
        except Unavailable as reason:
            tell(f"{name}, seed {spec.seed}: {reason}")
            return isinstance(reason, Busy)
        return True

    def _make(self, spec: Spec, row: Row | None) -> None:
        """Trains a run unless the store has it, and measures what `row` needs of it."""
        identity = self.place.run_id(spec)
        run = self.store.get(identity)
        if run is not None and (row is None or run.training.diverged or row.is_complete(run)):
            return
        directory = self._directory(spec)
        if run is None and not self.training:
            raise Unavailable("not run")
        resumed = RunDirectory(directory).checkpoints_path.exists()
        if run is None and spec.origin is not None and not resumed:
            self._make(spec.origin, None)
            origin = self.store.get(self.place.run_id(spec.origin))
            if origin is not None and origin.training.diverged:
                raise Unavailable(f"{spec.origin} diverged, so no run can start from it")
            self._require_checkpoint(spec.origin, "so no run can start from it")
        if run is not None:
            self._require_checkpoint(spec, "so it cannot be measured further")
        # Before anything is made: without its files there is nothing to begin.
        self.corpus(self.place.config(spec))
        try:
            lock = lock_folder(directory, ".paper.lock")
        except BlockingIOError:
            raise Busy("another process works on it") from None
        with lock:
            # The process that held the lock may have finished it.
            run = self.store.get(identity, fresh=True)
            if run is None:
                run = self._train(spec, directory, row is not None and "trace" in row.extras)
                self.store.save(run)
            if row is not None and not run.training.diverged and not row.is_complete(run):
                try:
                    self._measure(run, row, spec, directory)
                except UserError as reason:
                    # The other rows do not depend on it.
                    raise Unavailable(str(reason)) from reason

    def _directory(self, spec: Spec) -> Path:
        return self.place.workdir / "runs" / self.place.run_id(spec)

    def _require_checkpoint(self, spec: Spec, consequence: str) -> None:
        directory = self._directory(spec)
        if not RunDirectory(directory).checkpoints_path.exists():
            raise Unavailable(
                f"the checkpoint of {spec} is not in {directory}, {consequence}; delete "
                f"{directory.name}.json from the store to train it again, or begin a store of your "
                "own by --results=FOLDER"
            )

    def corpus(self, config: ConfigDict) -> Corpus:
        """Opens a corpus, once.

        Raises:
          Unavailable: its files are not here, or not as they should be.
        """
        key = json.dumps(dict(config.data.items()), sort_keys=True)
        if key not in self._corpora:
            try:
                self._corpora[key] = load_corpus(config.data)
            except UserError as error:
                raise Unavailable(str(error)) from error
        return self._corpora[key]

    def _train(self, spec: Spec, directory: Path, traced: bool) -> Run:
        config = self.place.config(spec)
        corpus = self.corpus(config)
        tell(f"training {spec}\n  in {directory}")
        tracer = Tracer(config, corpus, directory) if traced else None
        diverged = origin = None
        if spec.origin is not None:
            origin = origin_record(self._directory(spec.origin), directory, config, corpus)
        with (
            open_run(directory, config, origin=origin, corpus=corpus) as opened,
            timed(directory) as starts,
        ):
            try:
                train_model(config, corpus, opened, after_evaluation=tracer)
            except DivergedError as error:
                # A result like any other: the next try would give the same.
                tell(str(error))
                diverged = error.reason
        points, found = validation_curve(directory), dict[str, Any]()
        if not diverged:
            model = self._load(directory)
            best = next(point for point in points if point.step == model.step)
            found = {
                "best_step": model.step,
                "last_step": model.last_step,
                "tokens_seen": model.tokens_seen,
                "parameters": sum(leaf.size for leaf in jax.tree.leaves(model.params)),
                "perplexity": best.perplexity,
                "kl_nats": best.kl_nats,
            }
        seconds = [start["seconds"] for start in starts]
        total = None if None in seconds else round(sum(seconds), 1)
        commits = dict.fromkeys(start["commit"] for start in starts)
        known = None if None in commits else ", ".join(commits)
        return Run(
            spec.config,
            dict(spec.overrides),
            spec.seed,
            self.place.settings(spec),
            corpus.name,
            Training(**found, seconds=total, starts=len(starts), diverged=diverged),
            Provenance(**circumstances() | {"command": spec.command, "commit": known}),
            points,
        )

    def _load(self, directory: Path) -> TrainedModel:
        places = {"manual_dir": self.place.manual_dir} if self.place.manual_dir else None
        return load_trained(directory, places=places)

    def _measure(self, run: Run, row: Row, spec: Spec, directory: Path) -> None:
        """Adds what a row needs to a run, and saves it after each measure.

        Raises:
          Unavailable: the checkpoint is of another training.
          UserError: what the measure needs is not there.
        """
        # Two rows may want different numbers of samples of one run.
        model = replace(self._load(directory), config=self.place.config(spec))
        if model.step != run.training.best_step:
            raise Unavailable(
                f"{directory} holds step {model.step}, the store a run with best step "
                f"{run.training.best_step}: another training"
            )
        evaluator = build_evaluator(model)
        makers: Mapping[str, Callable[[], Any]] = {
            "tight": lambda: tight_bound(model, row.tight_samples),
            "swaps": lambda: swap_cosines(model),
            "probes": lambda: probe_results(model, run.seed, self.place.scale),
            "concentrations": lambda: concentrations(model),
            "trace": lambda: read_trace(directory),
        }
        for name in row.bounds:
            if not row.has_bounds(run, name):
                tell(f"measuring {name}: {row.name}, seed {run.seed}")
                found = measure_bounds(evaluator, model, name, directory)
                run = self._with(run, name, bounds={**run.bounds, name: found})
        for name in row.measures:
            if not row.has_measure(run, name):
                run = self._with(run, name, **{name: makers[name]()})

    def _with(self, run: Run, measure: str, **found: Any) -> Run:
        """Adds what was measured, and its origin, to a run in the store."""
        facts = circumstances()
        origin = Measured(facts["commit"], facts["device"], facts["date"])
        run = replace(run, measured={**(run.measured or {}), measure: origin}, **found)
        self.store.save(run)
        return run


def measure_bounds(evaluator: Evaluator, model: TrainedModel, name: str, directory: Path) -> Bounds:
    """Measures `SPLIT/PROTOCOL`, or `SPLIT/elbo`: the ELBO alone.

    Its samples have seed 0, as those of `python -m spherical_vae.evaluate`.
    The importance-weighted bound takes long: what is measured of it is kept in the run's directory,
    and a later call continues.
    """
    split, protocol = name.split("/")
    if protocol == "elbo":
        nats = evaluator.nats(model.params, split, root_key(0, Purpose.EVALUATE))
        found: dict[str, Any] = metrics.summarise(nats) | {"step": model.step}
        if model.corpus.kind != "sequences":
            found |= metrics.summarise_documents(nats)
    else:
        kept = directory / f"{split}-{evaluator.importance_samples}.examples.json"
        examples = kept if protocol == "honest" else None
        found, nats = measure_model(evaluator, model, split, protocol=protocol, examples=examples)
    values = nats.nll_nats if nats.iw_nll_nats is None else nats.iw_nll_nats
    known = Bounds.__dataclass_fields__.keys() & found.keys()
    return Bounds(
        **{key: found[key] for key in known},
        # Hundredths are far below the standard error of a mean.
        nats=tuple(round(float(value), 2) for value in values),
    )


def validation_curve(directory: Path) -> tuple[Point, ...]:
    """Returns the evaluations on validation that a run has logged, oldest first."""
    log = MetricsLog(RunDirectory(directory).metrics_path)
    return tuple(
        Point(line["step"], line["kl_nats"], line["perplexity"])
        for line in log.records()
        if line["split"] == "valid"
    )


@contextlib.contextmanager
def timed(directory: Path) -> Iterator[list[dict[str, Any]]]:
    """Times a start of a training, of which an interruption makes several.

    Yields:
      `seconds` and `commit` of all starts; the seconds of this one are None until the context ends.
    """
    path = directory / "starts.json"
    starts = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    starts.append({"seconds": None, "commit": commit()})
    # A start that is killed is counted, its duration is unknown.
    write_atomically(path, json.dumps(starts) + "\n")
    begun = time.monotonic()
    try:
        yield starts
    finally:
        starts[-1]["seconds"] = round(time.monotonic() - begun, 1)
        write_atomically(path, json.dumps(starts) + "\n")
