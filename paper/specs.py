"""Rows of tables as trainings: configuration, overrides, alternatives, seeds."""

import functools
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ml_collections import ConfigDict

from paper import smoke
from paper.store import Run, Store, Value, family, run_id
from spherical_vae.config import base_config
from spherical_vae.config.command_line import load_config_file
from spherical_vae.config.validation import flatten, validate
from spherical_vae.runs.run_directory import RESUMABLE

CONFIGS = Path(__file__).parents[1] / "configs"
# By scale: `smoke` runs everything in seconds, `full` is the paper's setting, `cpu` what two cores
# can do.
SEEDS = {"smoke": 1, "cpu": 1, "full": 3}
SCALES = tuple(SEEDS)
RNNLM, GAUSSIAN, VMF = "RNNLM", "Gaussian", "vMF"
HONEST, PAPER, AVERAGED = "test/honest", "test/paper", "test/averaged"
SAMPLES = "evaluation.importance_samples"
# The ID of a run does not depend on what may change when it is resumed.
_NOT_IDENTITY = RESUMABLE | {"seed", SAMPLES}


@dataclass(frozen=True)
class Spec:
    """One training, in the terms of a command line; `config`, `overrides` and `seed` as of `Run`.

    It starts from the best parameters of the training `origin`, if there is one.
    """

    config: str
    overrides: Mapping[str, Value] = field(default_factory=dict)
    seed: int = 0
    origin: "Spec | None" = None

    def __str__(self) -> str:
        changed = [f"{key}={value}" for key, value in self.overrides.items()]
        origin = [] if self.origin is None else [f"from {self.origin.config}"]
        return ", ".join([self.config, *changed, f"seed {self.seed}", *origin])

    @property
    def command(self) -> str:
        """The command that trains it; DIR, ORIGIN and FOLDER are the reader's.

        ORIGIN is the working directory of the training from which it starts.
        """
        name, colon, variant = self.config.partition(":")
        words = [
            f"python -m spherical_vae.train --config=configs/{name}.py{colon}{variant}",
            "--workdir=DIR --config.data.manual_dir=FOLDER",
        ]
        for key, value in {"seed": self.seed, **self.overrides}.items():
            shown = str(value).lower() if isinstance(value, bool) else shlex.quote(str(value))
            words.append(f"--config.{key}={shown}")
        if self.origin is not None:
            words.append("--init_from=ORIGIN")
        return " ".join(words)


@dataclass(frozen=True)
class Printed:
    """Values that the paper prints, by its protocol; None where it prints none."""

    nll: float | None = None
    kl: float | None = None
    perplexity: float | None = None
    code_to_bag: float | None = None
    bag_to_code: float | None = None


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
      name: unique in its table; `--only=TEXT` selects rows by it.
      group: rows of one group are compared with each other.
      model: RNNLM, Gaussian or vMF: what the row counts as in a comparison.
      config, overrides, origin: as of `Spec`; the same for all seeds.
      alternatives: overrides tried with seed 0; the one with the lowest perplexity on validation
        is run with every seed. A single one is not tried.
      trial: overrides of trials only, to make them short.
      bounds: `SPLIT/PROTOCOL` names that are measured.
      tight_samples: of the tight bound; 0 for none.
      extras: further fields of `Run` that are measured.
      label: for the axes of a figure.
      printed: by the paper.
    """

    name: str
    group: str
    model: str
    config: str
    overrides: Mapping[str, Value] = field(default_factory=dict)
    alternatives: tuple[Mapping[str, Value], ...] = ({},)
    trial: Mapping[str, Value] = field(default_factory=dict)
    bounds: tuple[str, ...] = (HONEST, PAPER)
    tight_samples: int = 0
    extras: tuple[str, ...] = ()
    label: str = ""
    printed: Printed | None = None
    origin: Spec | None = None

    def trials(self) -> list[Spec]:
        """Returns the specs that decide between the alternatives; none if there is one only."""
        tried = self.alternatives if len(self.alternatives) > 1 else ()
        return [self.spec({**one, **self.trial}) for one in tried]

    def spec(self, alternative: Mapping[str, Value], seed: int = 0) -> Spec:
        """Returns the spec of one seed."""
        return Spec(self.config, {**self.overrides, **alternative}, seed, self.origin)

    @property
    def measures(self) -> tuple[str, ...]:
        """The fields of `Run`, beside its bounds, that are measured."""
        return ("tight", *self.extras) if self.tight_samples else self.extras

    def has_bounds(self, run: Run, name: str) -> bool:
        """Returns whether a split was measured by a protocol, with as many samples as wanted."""
        found, wanted = run.bounds.get(name), int(self.overrides.get(SAMPLES, 0))
        return found is not None and (found.importance_samples or wanted) >= wanted

    def has_measure(self, run: Run, name: str) -> bool:
        """Returns whether a field of `Run` was measured; the tight bound with enough samples."""
        if name == "tight" and run.tight is not None:
            return run.tight.importance_samples >= self.tight_samples
        return getattr(run, name) is not None

    def is_complete(self, run: Run) -> bool:
        """Returns whether everything that the row shows has been measured."""
        return all(self.has_bounds(run, name) for name in self.bounds) and all(
            self.has_measure(run, name) for name in self.measures
        )


@dataclass(frozen=True)
class Place:
    """The folders and the scale of a command.

    Working directories of runs lie below `workdir`; `scale` is smoke, cpu or full; `manual_dir` is
    the folder with the files of published corpora.
    """

    workdir: Path
    scale: str
    manual_dir: str = ""

    @property
    def tiny_corpora(self) -> Path:
        """The folder of the corpora of scale `smoke`."""
        return self.workdir / "tiny_corpora"

    def config(self, spec: Spec) -> ConfigDict:
        """Returns the configuration of a spec at this scale, whole and validated.

        Raises:
          UserError: a key or a value is not allowed.
        """
        name, colon, variant = spec.config.partition(":")
        config = load_config_file(f"{CONFIGS / name}.py{colon}{variant}")
        config.update_from_flattened_dict(dict(spec.overrides))
        config.seed = spec.seed
        config.data.manual_dir = self.manual_dir
        if self.scale == "smoke":
            smoke.shrink(config, self.tiny_corpora)
        validate(config)
        return config.lock()

    def settings(self, spec: Spec) -> dict[str, Value]:
        """Returns everything that identifies a training but its seed: what differs from the base.

        A key that the base gains later changes no ID as long as it keeps its default. `init_from`
        is the ID of the run from which it starts.
        """
        settings = dict(_settings(self, spec.config, tuple(spec.overrides.items())))
        if spec.origin is not None:
            settings["init_from"] = self.run_id(spec.origin)
        return settings

    def run_id(self, spec: Spec) -> str:
        """Returns the ID of the run of a spec."""
        return run_id(self.settings(spec), spec.seed)


@functools.cache
def _settings(
    place: Place, config: str, overrides: tuple[tuple[str, Value], ...]
) -> dict[str, Value]:
    base = flatten(base_config())
    return {
        key: value
        for key, value in sorted(flatten(place.config(Spec(config, dict(overrides)))).items())
        if key not in _NOT_IDENTITY and value != base.get(key)
    }


@dataclass(frozen=True)
class Filled:
    """A row of a table with its runs in the store: complete ones, by seed.

    Attributes:
      trials: one for each alternative, or none; None for one that was not run.
      chosen: the alternative that is run with every seed; None while trials are missing.
      diverged: runs that have no best step.
      unfinished: runs that were trained, and not measured in all that the row shows.
      wanted: the runs that the scale has of each row; 0 if nobody says.
    """

    row: Row
    trials: tuple[Run | None, ...]
    chosen: Mapping[str, Value] | None
    runs: tuple[Run, ...]
    diverged: tuple[Run, ...] = ()
    unfinished: tuple[Run, ...] = ()
    wanted: int = 0


def fill(rows: Sequence[Row], store: Store, place: Place) -> list[Filled]:
    """Returns the rows with what the store has of them."""
    filled = []
    for row in rows:
        trials = tuple(store.get(place.run_id(spec)) for spec in row.trials())
        chosen, runs = choose(row, trials), list[Run]()
        if chosen is not None:
            runs = store.of_family(family(place.settings(row.spec(chosen))))
        diverged = tuple(run for run in runs if run.training.diverged)
        trained = [run for run in runs if not run.training.diverged]
        complete = tuple(run for run in trained if row.is_complete(run))
        unfinished = tuple(run for run in trained if not row.is_complete(run))
        wanted = SEEDS[place.scale]
        filled.append(Filled(row, trials, chosen, complete, diverged, unfinished, wanted))
    return filled


def choose(row: Row, trials: Sequence[Run | None]) -> Mapping[str, Value] | None:
    """Returns the alternative that was best on validation; None if a trial is missing."""
    if not trials:
        return row.alternatives[0]
    if None in trials:
        return None
    # A value that was not finite is None: worse than every other.
    levels = [run.training.perplexity or float("inf") for run in trials if run is not None]
    return row.alternatives[levels.index(min(levels))]
