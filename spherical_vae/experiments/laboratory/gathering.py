"""Which runs can be the replicas of one sweep: those that differ by what can be swept alone."""

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ml_collections import ConfigDict

from spherical_vae.config.sweeps import SWEEPABLE, Replica, build_replicas
from spherical_vae.config.validation import flatten
from spherical_vae.models.latents import LATENTS
from spherical_vae.runs.run_directory import load_config, load_replicas


@dataclass(frozen=True)
class Sweep:
    """Runs that are trained together.

    Attributes:
      config: what they have in common.
      replicas: one for each.
    """

    config: ConfigDict
    replicas: Sequence[Replica]


def gather(configs: Sequence[tuple[str, ConfigDict]]) -> list[Sweep]:
    """Returns the sweeps of two replicas or more that runs make, which are all different ones.

    Args:
      configs: of each run a label, and its configuration; runs of different labels stay apart.
    """
    groups: dict[tuple[str, str], list[ConfigDict]] = {}
    for label, config in configs:
        if not config.baselines and config.mesh.model == 1:
            groups.setdefault((label, _common(config)), []).append(config)
    return [_sweep(group) for group in groups.values() if len(group) > 1]


def read_sweep(path: Path) -> Sweep:
    """Returns the sweep that was begun in a working directory.

    Raises:
      UserError: there is none, or its `config.json` cannot be understood.
    """
    config = load_config(path)
    return Sweep(config, build_replicas(config, list((load_replicas(path) or {}).values())))


def _sweep(configs: Sequence[ConfigDict]) -> Sweep:
    leaves = [flatten(config) for config in configs]
    swept = [key for key in SWEEPABLE if len({one[key] for one in leaves}) > 1]
    common = copy.deepcopy(configs[0])
    return Sweep(common, build_replicas(common, [{k: one[k] for k in swept} for one in leaves]))


def _common(config: ConfigDict) -> str:
    kept = flatten(config)
    for key in SWEEPABLE:
        # Without effect elsewhere, and so no setting that `build_replicas` takes.
        if key != "latent.concentration" or LATENTS[config.latent.kind].spherical:
            del kept[key]
    return json.dumps(kept, sort_keys=True)
