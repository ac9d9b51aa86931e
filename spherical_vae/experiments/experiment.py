"""What a module of a table or figure defines: its runs, what it finds, how that is shown."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spherical_vae.experiments.laboratory.runs import Laboratory
from spherical_vae.experiments.laboratory.settings import Setting
from spherical_vae.experiments.rendering.tables import Table


@dataclass(frozen=True)
class Experiment:
    """A table or figure.

    Attributes:
      title: what it shows.
      collect: trains what is missing, and returns what was found as JSON has it.
      tables: from what was found to Markdown tables; printed values are joined here.
      settings: the rows that it trains at a scale.
      draw: from what was found to a figure.
      remarks: what follows from what was found, computed from it.
      notes: on the protocol and on differences from the paper, a sentence or two each.
    """

    title: str
    collect: Callable[[Laboratory], dict[str, Any]]
    tables: Callable[[Mapping[str, Any]], Sequence[Table]]
    settings: Callable[[str], Sequence[Setting]] = lambda scale: ()
    draw: Callable[[Mapping[str, Any]], Any] | None = None
    remarks: Callable[[Mapping[str, Any]], Sequence[str]] = lambda record: ()
    notes: tuple[str, ...] = ()
