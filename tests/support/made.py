"""Runs and rows made by hand."""

import numpy as np

from paper.specs import HONEST, VMF, Filled, Row
from paper.store import Bounds, Provenance, Run, Tight, Training


def made_run(
    seed=0, *, nats=None, tight=None, perplexity=100.0, settings=None, extras=None, **bounds
):
    """Returns a run with honest bounds of test; `nats` and `tight` are per example."""
    measured = {"iw_nll_nats": 5.0, "importance_samples": 20, **bounds}
    if nats is not None:
        measured |= {"nats": tuple(nats), "iw_nll_nats": float(np.mean(nats))}
    return Run(
        "ptb",
        {},
        seed,
        settings or {"name": "made"},
        "ptb",
        Training(best_step=3, last_step=4, perplexity=perplexity, seconds=2.0),
        Provenance(f"train --config.seed={seed}", "abc", "2 CPU cores", "2026-11-27"),
        bounds={HONEST: Bounds(len(nats or (1, 2)), 10, 3, **measured)},
        tight=None if tight is None else made_tight(tight),
        **(extras or {}),
    )


def made_tight(nats):
    """Returns a tight bound of these nats."""
    return Tight(len(nats), 10, 500, float(np.mean(nats)), 0.1, 9.0, 0.2, 20, 0.3, 0.1, tuple(nats))


def filled(*runs, name="a", group="g", model=VMF, label="", printed=None, bounds=(HONEST,)):
    """Returns a row with runs."""
    row = Row(name, group, model, "ptb", bounds=bounds, label=label, printed=printed)
    return Filled(row, (), {}, runs)
