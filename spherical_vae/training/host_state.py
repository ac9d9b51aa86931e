"""What the host decides by, beside the state on the device; saved with every checkpoint."""

import dataclasses
import math
from dataclasses import dataclass

from spherical_vae.data.corpus import Corpus
from spherical_vae.system.errors import UserError
from spherical_vae.training.optimizer import Plateau


@dataclass(frozen=True)
class HostState:
    """Plain values, with a way to JSON and back.

    Attributes:
      plateau: dev so far.
      tokens_seen: scored tokens of all steps that have been logged.
      finished: whether training is over.
      corpus: fingerprint of what is trained on.
    """

    plateau: Plateau
    tokens_seen: int
    finished: bool
    corpus: int

    def to_json(self) -> dict[str, object]:
        """Returns JSON values; `best_step` names the checkpoint to keep beside the latest."""
        plateau = dataclasses.asdict(self.plateau)
        plateau["best"] = None if math.isinf(self.plateau.best) else self.plateau.best
        return {
            "plateau": plateau,
            "tokens_seen": self.tokens_seen,
            "finished": self.finished,
            "corpus": self.corpus,
            "best_step": self.plateau.best_step if self.plateau.best_step >= 0 else None,
        }

    @classmethod
    def from_json(cls, values: dict) -> "HostState":
        """Returns what `to_json` was called on."""
        plateau = dict(values["plateau"])
        plateau["best"] = math.inf if plateau["best"] is None else plateau["best"]
        return cls(Plateau(**plateau), values["tokens_seen"], values["finished"], values["corpus"])

    def refuse_other_corpus(self, corpus: Corpus, workdir: object) -> None:
        """Raises `UserError` if `corpus` is not the one of this state."""
        if self.corpus != corpus.fingerprint():
            raise UserError(
                f"{workdir}: the run was trained on another version of corpus {corpus.name!r}; "
                "restore the files it was trained on, or train in another --workdir"
            )


def host_states(values: dict) -> list[HostState]:
    """Returns what a checkpoint's host state holds: one of a single run, one a replica of a sweep.

    Args:
      values: `to_json()` of a single run, or `{"replicas": [...]}` of them.
    """
    return [HostState.from_json(one) for one in values.get("replicas", [values])]
