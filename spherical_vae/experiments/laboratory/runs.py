"""From a configuration and a seed to a trained model and its measures, made once and kept.

A run lives in a folder named after its configuration, so experiments that need the same run share
it, and one that was interrupted goes on by training's own resume.
"""

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from spherical_vae.config.command_line import load_config_file
from spherical_vae.config.sweeps import settings_by_name
from spherical_vae.config.validation import validate
from spherical_vae.data import load_corpus
from spherical_vae.data.corpus import Corpus
from spherical_vae.evaluation.evaluator import Evaluator
from spherical_vae.experiments.laboratory.address import address
from spherical_vae.experiments.laboratory.gathering import read_sweep
from spherical_vae.experiments.laboratory.provenance import ROOT, commit
from spherical_vae.experiments.laboratory.run import Run
from spherical_vae.experiments.laboratory.scales import shrink
from spherical_vae.experiments.laboratory.starts import timed
from spherical_vae.experiments.laboratory.training_record import dev_curve, training_record
from spherical_vae.experiments.laboratory.turns import Taken, Turns
from spherical_vae.random.keys import Purpose, root_key
from spherical_vae.runs.run_directory import RunDirectory, load_config, open_run
from spherical_vae.runs.trained_model import TrainedModel
from spherical_vae.system.atomic_file import write_atomically
from spherical_vae.system.errors import DivergedError, UserError
from spherical_vae.training.trainer import train_model, train_replicas

CONFIGS = ROOT / "configs"
# The seed of the draws of every evaluation, that of `python -m spherical_vae.evaluate`.
EVALUATION_SEED = 0
# Of runs by their address: what is known, by its name in `Laboratory.kept`.
Known = Mapping[str, Mapping[str, Mapping[str, Any]]]


class Unavailable(Exception):
    """A run that is not there and may not or cannot be made now; the message says why."""


class Elsewhere(Unavailable):
    """Another process is at it."""


class Laboratory:
    """Trains and measures runs below one folder.

    Attributes:
      folder: the working directory of all experiments.
      scale: smoke, cpu or full.
      seeds: of every row, 0 to seeds - 1.
      turns: the runs that this process is at.
    """

    def __init__(
        self,
        folder: Path,
        scale: str,
        seeds: int,
        manual_dir: str = "",
        training: bool = True,
        only: str = "",
        sweeps: bool | None = None,
        known: Known | None = None,
    ) -> None:
        """Makes nothing yet.

        Args:
          folder: the working directory of all experiments.
          scale: smoke, cpu or full.
          seeds: of every row.
          manual_dir: folder with the files of published corpora.
          training: whether runs that are missing may be trained.
          only: rows whose name does not contain this text are left out.
          sweeps: whether missing runs are trained together where they can be; None for where that
            pays, on accelerators. On a CPU it saves compilation only, and what is interrupted has
            no run that is whole.
          known: of runs that have not been trained here.
        """
        commit()  # Looked up now: files may change while a run is trained.
        self.folder = folder
        self.scale = scale
        self.seeds = seeds
        self._manual_dir = manual_dir
        self._training = training
        self._only = only
        self._corpora: dict[str, Corpus] = {}
        self._sweeps = sweeps
        self._known = known or {}
        self.turns = Turns()
        self._models: dict[Path, dict[str, TrainedModel]] = {}

    def wants(self, name: str) -> bool:
        """Returns whether a row of this name is to be made."""
        return self._only in name

    def config(self, run: Run) -> ConfigDict:
        """Returns the configuration of a run at this scale, whole and validated."""
        name, colon, variant = run.config.partition(":")
        if not CONFIGS.is_dir():
            raise UserError(
                f"{CONFIGS}: not here; experiments are run in a clone, with its configs"
            )
        config = load_config_file(f"{CONFIGS / name}.py{colon}{variant}")
        config.update_from_flattened_dict(dict(run.overrides))
        config.seed = run.seed
        config.data.manual_dir = self._manual_dir
        if self.scale == "smoke":
            shrink(config, self.folder / "tiny_corpora")
        validate(config)
        return config.lock()

    def directory(self, config: ConfigDict) -> Path:
        """Returns the folder of a run: its name, and a digest of what is set."""
        return self.folder / "runs" / f"{config.name}-{address(config)}"

    def corpus(self, config: ConfigDict) -> Corpus:
        """Opens a corpus, once.

        Raises:
          Unavailable: its files are not here.
        """
        key = json.dumps(dict(config.data.items()), sort_keys=True)
        if key not in self._corpora:
            try:
                self._corpora[key] = load_corpus(config.data)
            except UserError as error:
                # Its message names folders of this machine, which do not belong into a record.
                print(f"{config.data.name}: {error}", file=sys.stderr)
                raise Unavailable(f"the files of {config.data.name} are not here") from error
        return self._corpora[key]

    def train(self, run: Run, trainer: Callable[..., TrainedModel] = train_model) -> dict[str, Any]:
        """Trains a run unless that is done.

        Args:
          run: to train.
          trainer: by which; one that trains as `train_model` does and writes down more.

        Returns:
          Its record: what was trained, where, when and for how long, and how dev went.

        Raises:
          Unavailable: the corpus is missing, or the run is and may not be trained.
          Elsewhere: another process is at it.
          Interrupted: a signal came; the next call goes on.
        """
        if self._training and not self.is_trained(run):
            self.corpus(self.config(run))
        record = self.kept(run, "trained", lambda: self._trained_record(run, trainer))
        # Another row may have written the same settings otherwise, or left out what is configured.
        return record if "sweep" in record else {**record, "command": run.command}

    def trained_here(self, run: Run) -> dict[str, Any]:
        """Returns what `train` does of a run of which more is here than its record.

        Raises:
          Unavailable: as `train`; also where the run is known only.
        """
        record = self.train(run)
        if not self.is_trained(run):
            raise Unavailable("only its record is here, not run")
        return record

    def is_trained(self, run: Run) -> bool:
        """Returns whether a run has been trained here, to the end."""
        return (self.directory(self.config(run)) / "trained.json").exists()

    @property
    def sweeping(self) -> bool:
        """Whether `train_together` does anything."""
        sweeps = jax.default_backend() != "cpu" if self._sweeps is None else self._sweeps
        return self._training and sweeps

    def measure(self, run: Run, protocol: str = "honest", split: str = "test") -> dict[str, Any]:
        """Measures the best checkpoint of a run, once for each split and protocol.

        Returns:
          What `python -m spherical_vae.evaluate --json` prints.

        Raises:
          Unavailable: as `train`.
        """

        def report() -> dict[str, Any]:
            model = self.model(run)
            print(f"measuring {split}, protocol {protocol}: {run}", file=sys.stderr)
            result, _ = evaluator(model).report(
                model.params, split, evaluation_key(), protocol=protocol
            )
            return result | {"step": model.step, "seed": EVALUATION_SEED}

        return self.kept(run, f"{split}-{protocol}", report)

    def model(self, run: Run) -> TrainedModel:
        """Returns the best checkpoint of a run, which is trained first where that is missing.

        Raises:
          Unavailable: as `train`; also a replica of a sweep that diverged.
        """
        record, config = self.trained_here(run), self.config(run)
        if record.get("diverged"):
            raise Unavailable(record["diverged"])
        replica, path = self._home(record, config)
        # The last one is kept: it is measured by several protocols in a row.
        if path not in self._models:
            self._models = {path: self._loaded(replica, path, config)}
        return self._models[path][replica]

    def dev_curve(self, run: Run) -> list[dict[str, Any]]:
        """Returns the records of dev of a run, oldest first; it is trained where it is missing."""
        replica, path = self._home(self.trained_here(run), self.config(run))
        return dev_curve(RunDirectory(path).replica(replica) if replica else RunDirectory(path))

    def kept(self, run: Run, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Returns what was found out about a run before, or finds it out and keeps it.

        Args:
          run: to find out about.
          name: of what is found, and of its file in the folder of the run.
          make: finds it; called where there is no such file.

        Raises:
          Unavailable: the run is missing and may not be trained.
          Elsewhere: another process is at this run.
        """
        config = self.config(run)
        path = self.directory(config) / f"{name}.json"
        if not path.exists():
            if not self.is_trained(run):
                known = self._known.get(address(config), {})
                if name in known:
                    return dict(known[name])
                if not self._training:
                    raise Unavailable("not run")
            try:
                with self.turns.at(path.parent):
                    # Whoever was at it may just have found it out.
                    if not path.exists():
                        text = json.dumps(_finite(make()), indent=1, allow_nan=False) + "\n"
                        write_atomically(path, text)
            except Taken as error:
                raise Elsewhere("another process is at it") from error
        _refuse_another(config, load_config(path.parent), path.parent)
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found

    def _loaded(self, replica: str, path: Path, config: ConfigDict) -> dict[str, TrainedModel]:
        """Returns the model of a run, or those of all replicas of its sweep by name."""
        if not replica:
            with open_run(path, config) as directory:
                return {"": train_model(config, self.corpus(config), directory)}
        sweep = read_sweep(path)
        try:
            # Another process may be loading another replica.
            with (
                self.turns.at(path),
                open_run(path, sweep.config, settings_by_name(sweep.replicas)) as directory,
            ):
                trained = train_replicas(
                    sweep.config, sweep.replicas, self.corpus(config), directory
                )
        except Taken as error:
            raise Elsewhere("another process is at its sweep") from error
        return {one.replica.name: one.model for one in trained if one.model is not None}

    def _home(self, record: Mapping[str, Any], config: ConfigDict) -> tuple[str, Path]:
        """Returns the replica that a trained run is, empty for none, and where it was trained."""
        sweep = record.get("sweep")
        if sweep is None:
            return "", self.directory(config)
        return sweep["replica"], self.folder / sweep["folder"]

    def _trained_record(self, run: Run, trainer: Callable[..., TrainedModel]) -> dict[str, Any]:
        config = self.config(run)
        corpus = self.corpus(config)
        directory = self.directory(config)
        trained, failed = None, {}
        with open_run(directory, config) as opened:
            print(f"training {run}\n  in {directory}", file=sys.stderr)
            with timed(directory) as starts:
                try:
                    trained = trainer(config, corpus, opened)
                except DivergedError as error:
                    # A result like any other, which would be the same at the next try.
                    print(error, file=sys.stderr)
                    failed = {"diverged": error.reason}
        curve = dev_curve(RunDirectory(directory))
        record = training_record(
            run.command, config, self.scale, corpus.name, trained, curve, starts
        )
        return record | failed


def evaluator(model: TrainedModel) -> Evaluator:
    """Returns the measures of a trained model."""
    return Evaluator(model.model, model.config, model.corpus)


def evaluation_key() -> jax.Array:
    """Returns the key of every evaluation."""
    return root_key(EVALUATION_SEED, Purpose.EVALUATE)


def _refuse_another(wanted: ConfigDict, stored: ConfigDict, directory: Path) -> None:
    if address(stored) != address(wanted):
        raise UserError(f"{directory}: holds a run of another configuration; use another --workdir")


def _finite(value: Any) -> Any:
    """Returns `value` as strict JSON has it, which knows no infinity; a diverged model may."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and value - value != 0:
        return None
    return value
