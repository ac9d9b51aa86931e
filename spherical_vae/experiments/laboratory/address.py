"""The address of a run: a digest of its configuration, by which it is found again."""

import hashlib
import json

from ml_collections import ConfigDict

from spherical_vae.config import base_config
from spherical_vae.config.validation import flatten
from spherical_vae.runs.run_directory import NO_MATTER

# These change no result either, but are part of the addresses of runs, which must not change.
_IN_ADDRESS = {"baselines", "data.path", "evaluation.chunk", "train.checkpoint_every"}


def address(config: ConfigDict) -> str:
    """Returns a short digest of what is set, but for what changes no result.

    A key that the base gains later changes no address as long as it keeps its default.
    """
    base = flatten(base_config())
    changed = {
        key: value
        for key, value in flatten(config).items()
        if (key in _IN_ADDRESS or key not in NO_MATTER) and value != base.get(key)
    }
    return hashlib.sha256(json.dumps(changed, sort_keys=True).encode()).hexdigest()[:12]
