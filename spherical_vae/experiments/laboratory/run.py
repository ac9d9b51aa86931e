"""What one training is, in the terms of a command line, and the command that repeats it."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from spherical_vae.config.sweeps import Settings, write_sweep


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
        return self._command({})

    def sweep_command(self, settings: Sequence[Settings]) -> str:
        """Returns the command that trains it as a replica of a sweep with these settings."""
        texts = [f"--sweep={shlex.quote(text)}" for text in write_sweep(settings)]
        return " ".join([self._command(settings[0]), *texts])

    def _command(self, left_out: Mapping[str, Any]) -> str:
        name, colon, variant = self.config.partition(":")
        set_here = {"seed": self.seed, **self.overrides}
        return " ".join(
            [
                f"python -m spherical_vae.train --config=configs/{name}.py{colon}{variant}",
                "--workdir=DIR --config.data.manual_dir=FOLDER",
                *(f"--config.{k}={_shown(v)}" for k, v in set_here.items() if k not in left_out),
            ]
        )


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
