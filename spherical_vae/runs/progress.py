"""The progress of one replica: plain values of the host that are saved beside the arrays."""

import contextlib
import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from spherical_vae.data.corpus import Corpus
from spherical_vae.runs.checkpoint import CheckpointStore, DamagedCheckpointError
from spherical_vae.system.errors import UserError


@dataclass(frozen=True)
class Progress:
    """Progress of one replica, and decisions made on validation.

    Attributes:
      corpus: fingerprint of the training corpus.
      step: steps done; of a replica that has stopped, the step at which it stopped.
      tokens_seen: scored tokens of all steps that have been logged.
      finished: whether its training is over.
      diverged_step: the first step, from 1, whose loss or gradient was not finite, or None.
      best: lowest validation value so far.
      best_step: the step of `best`; -1 before the first evaluation that counts.
      stale: evaluations in a row that did not improve on `best`.
      rate_divisor: plateau decay so far, a divisor of the learning rate.
    """

    corpus: int
    step: int = 0
    tokens_seen: int = 0
    finished: bool = False
    diverged_step: int | None = None
    best: float = math.inf
    best_step: int = -1
    stale: int = 0
    rate_divisor: float = 1.0

    def check_corpus(self, corpus: Corpus, workdir: object) -> None:
        """Raises a `UserError` if `corpus` is not the training corpus of this state."""
        if self.corpus != corpus.fingerprint:
            raise UserError(
                f"{workdir}: the run was trained on another text than this corpus, "
                f"{corpus.name!r}; restore the files it was trained on, or train in another "
                "--workdir"
            )


def to_json(states: list[Progress]) -> dict[str, Any]:
    """Returns the JSON values of a checkpoint: one entry a replica; an infinite `best` is None."""
    entries = [dataclasses.asdict(state) for state in states]
    return {
        "replicas": [one | {"best": None} if one["best"] == math.inf else one for one in entries]
    }


def from_json(values: dict[str, Any]) -> list[Progress]:
    """Returns the list that `to_json` was called on."""
    return [
        Progress(**one | {"best": math.inf if one["best"] is None else one["best"]})
        for one in values["replicas"]
    ]


def check_corpus(store: CheckpointStore, corpus: Corpus, workdir: object) -> None:
    """Raises a `UserError` if the latest checkpoint that is not damaged is of another corpus.

    To be called before arrays are read: those of another vocabulary have other shapes.
    """
    for step in reversed(store.steps()):
        with contextlib.suppress(DamagedCheckpointError):
            from_json(store.restore_host(step))[0].check_corpus(corpus, workdir)
            return
