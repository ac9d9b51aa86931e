"""From a configuration and a seed to a trained model and its measures, made once and kept.

A run lives in a folder named after its configuration, so experiments that need the same run share
it, and one that was interrupted goes on by training's own resume.
"""

import datetime
import functools
import hashlib
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

import spherical_vae
from spherical_vae.atomic_file import write_atomically
from spherical_vae.command_line import load_config_file
from spherical_vae.config import base_config
from spherical_vae.config_validation import flatten, validate
from spherical_vae.data import load_corpus
from spherical_vae.data.corpus import Corpus
from spherical_vae.errors import UserError
from spherical_vae.evaluation import Evaluator
from spherical_vae.experiments.scales import shrink
from spherical_vae.keys import Purpose, root_key
from spherical_vae.loop import Trainer
from spherical_vae.metrics_log import MetricsLog
from spherical_vae.run_directory import NO_MATTER, RunDirectory, load_config, open_run
from spherical_vae.trained import TrainedModel

CONFIGS = Path(spherical_vae.__file__).parent.parent / "configs"
# The seed of the draws of every evaluation, that of `python -m spherical_vae.evaluate`.
EVALUATION_SEED = 0
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
      config: `NAME` or `NAME:VARIANT` of a file in `configs/`.
      overrides: values by dotted key.
      seed: `config.seed`.
    """

    config: str
    overrides: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0

    def __str__(self) -> str:
        changed = [f"{key}={value}" for key, value in self.overrides.items()]
        return ", ".join([self.config, *changed, f"seed {self.seed}"])

    @property
    def command(self) -> str:
        """The command that trains it alone; DIR and FOLDER are the reader's."""
        name, colon, variant = self.config.partition(":")
        changed = [f"--config.{key}={_shown(value)}" for key, value in self.overrides.items()]
        return " ".join(
            [
                f"python -m spherical_vae.train --config=configs/{name}.py{colon}{variant}",
                "--workdir=DIR --config.data.manual_dir=FOLDER",
                f"--config.seed={self.seed}",
                *changed,
            ]
        )


class Unavailable(Exception):
    """A run that is not there and may not or cannot be made now; the message says why."""


class Laboratory:
    """Trains and measures runs below one folder.

    Attributes:
      folder: the working directory of all experiments.
      scale: smoke, cpu or full.
      seeds: of every row, 0 to seeds - 1.
    """

    def __init__(
        self,
        folder: Path,
        scale: str,
        seeds: int,
        manual_dir: str = "",
        training: bool = True,
        only: str = "",
    ) -> None:
        """Makes nothing yet.

        Args:
          folder: the working directory of all experiments.
          scale: smoke, cpu or full.
          seeds: of every row.
          manual_dir: folder with the files of published corpora.
          training: whether runs that are missing may be trained.
          only: rows whose name does not contain this text are left out.
        """
        self.folder = folder
        self.scale = scale
        self.seeds = seeds
        self._manual_dir = manual_dir
        self._training = training
        self._only = only
        self._corpora: dict[str, Corpus] = {}
        self._model: dict[Path, TrainedModel] = {}

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

    def train(self, run: Run, trainer: type[Trainer] = Trainer) -> dict[str, Any]:
        """Trains a run unless that is done.

        Args:
          run: to train.
          trainer: by which; one that trains as `Trainer` does and writes down more.

        Returns:
          Its record: what was trained, where, when and for how long, and how dev went.

        Raises:
          Unavailable: the corpus is missing, or the run is and may not be trained.
          Interrupted: a signal came; the next call goes on.
        """
        return self.kept(run, "trained", lambda: self._trained_record(run, trainer))

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
          Unavailable: as `train`.
        """
        self.train(run)
        config = self.config(run)
        path = self.directory(config)
        # The last one is kept: it is measured by several protocols in a row.
        if path not in self._model:
            with open_run(path, config) as directory:
                self._model = {path: Trainer(config, self.corpus(config), directory).train()}
        return self._model[path]

    def dev_curve(self, run: Run) -> list[dict[str, Any]]:
        """Returns the records of dev of a run, oldest first."""
        directory = RunDirectory(self.directory(self.config(run)))
        return [r for r in MetricsLog(directory.metrics_path).records() if r["split"] == "valid"]

    def kept(self, run: Run, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Returns what was found out about a run before, or finds it out and keeps it.

        Args:
          run: to find out about.
          name: of what is found, and of its file in the folder of the run.
          make: finds it; called where there is no such file.
        """
        config = self.config(run)
        path = self.directory(config) / f"{name}.json"
        if path.exists():
            _refuse_another(config, load_config(path.parent), path.parent)
        else:
            text = json.dumps(_finite(make()), indent=1, allow_nan=False) + "\n"
            write_atomically(path, text)
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found

    def _trained_record(self, run: Run, trainer: type[Trainer]) -> dict[str, Any]:
        if not self._training:
            raise Unavailable("not run")
        config = self.config(run)
        corpus = self.corpus(config)
        directory = self.directory(config)
        with open_run(directory, config) as opened:
            print(f"training {run}\n  in {directory}", file=sys.stderr)
            begun = time.monotonic()
            try:
                trained = trainer(config, corpus, opened).train()
            finally:
                starts = _add_start(directory, time.monotonic() - begun)
        log = MetricsLog(RunDirectory(directory).metrics_path).records()
        best = next(r for r in log if r["split"] == "valid" and r["step"] == trained.step)
        return {
            "command": run.command,
            "seed": run.seed,
            "corpus": corpus.name,
            "scale": self.scale,
            "best_step": trained.step,
            "last_step": trained.last_step,
            "tokens_seen": trained.tokens_seen,
            "parameters": sum(leaf.size for leaf in jax.tree.leaves(trained.params)),
            "dev_perplexity": best["perplexity"],
            "dev_kl_nats": best["kl_nats"],
            "train_seconds": sum(starts),
            "starts": len(starts),
            **circumstances(),
        }


def evaluator(model: TrainedModel) -> Evaluator:
    """Returns the measures of a trained model."""
    return Evaluator(model.model, model.config, model.corpus)


def evaluation_key() -> jax.Array:
    """Returns the key of every evaluation."""
    return root_key(EVALUATION_SEED, Purpose.EVALUATE)


def address(config: ConfigDict) -> str:
    """Returns a short digest of what is set, but for what changes no result.

    A key that the base gains later changes no address as long as it keeps its default.
    """
    base = flatten(base_config())
    changed = {
        key: value
        for key, value in flatten(config).items()
        if key not in NO_MATTER and value != base.get(key)
    }
    return hashlib.sha256(json.dumps(changed, sort_keys=True).encode()).hexdigest()[:12]


@functools.cache
def circumstances() -> dict[str, Any]:
    """Returns what a record says of the machine, the versions and the day."""
    device = jax.devices()[0]
    cores = f"{os.cpu_count()} CPU cores"
    accelerators = f"{jax.device_count()} {device.device_kind}"
    return {
        "device": cores if device.platform == "cpu" else accelerators,
        "versions": {
            "python": platform.python_version(),
            **{
                name: metadata.version(name) for name in ("jax", "jaxlib", "flax", "optax", "numpy")
            },
        },
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def _add_start(directory: Path, seconds: float) -> list[float]:
    """Notes how long a start of training took; returns the seconds of all of them."""
    path = directory / "starts.json"
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    starts = [*before, round(seconds, 1)]
    write_atomically(path, json.dumps(starts) + "\n")
    return starts


def _refuse_another(wanted: ConfigDict, stored: ConfigDict, directory: Path) -> None:
    if address(stored) != address(wanted):
        raise UserError(f"{directory}: holds a run of another configuration; use another --workdir")


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _finite(value: Any) -> Any:
    """Returns `value` as strict JSON has it, which knows no infinity; a diverged model may."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and value - value != 0:
        return None
    return value
