"""How the closer bounds of rows are shown: a table, and who is ahead of whom."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from spherical_vae.evaluation.metrics import standard_error
from spherical_vae.experiments.rendering.row_tables import Row, seeds
from spherical_vae.experiments.rendering.tables import NOTHING, Table, number


def closer_tables(found: Sequence[Row], group: Callable[[Row], Any], reference: str) -> list[Table]:
    """Returns a table of the rows whose runs have `closer`, none where no row has.

    Args:
      found: rows.
      group: rows of one group are compared.
      reference: the model with which the others of its group are compared.
    """
    body = []
    for row in filter(_has_closer, found):
        rivals = [other for other in found if group(other) == group(row)]
        closer = [run["closer"] for run in row["runs"]]
        body.append(
            [
                row["name"],
                _with_error(closer, "iw_nll_nats", 2),
                _with_error(closer, "iw_perplexity", 1),
                _difference(row, rivals, reference),
                _with_error(closer, "gain_nats", 2),
                _all(closer, "importance_samples"),
                _all(closer, "examples"),
                seeds(row),
            ]
        )
    if not body:
        return []
    head = ["row", "IW nats", "IW PPL", f"above the {reference}", "fell by"]
    caption = (
        "The importance-weighted bound by many draws on some examples of test, the same for all "
        "models of a corpus: ± one standard error over examples. Paired over the examples, in "
        f"nats: how far it lies above that of the {reference} of its group (below, where "
        "negative), and by how much it fell from as few draws as all of test was given. One that "
        "fell far would fall further; without a code the likelihood is exact. With several seeds "
        "means over them."
    )
    return [Table([*head, "draws", "examples", "seeds"], body, caption)]


def closer_remarks(found: Sequence[Row], group: Callable[[Row], Any]) -> list[str]:
    """Returns a line for each group of which two rows have `closer`: who is ahead of the next.

    And if there is one, another on what the number of draws does.
    """
    lines = []
    for key in dict.fromkeys(map(group, found)):
        here = [row for row in found if group(row) == key and _has_closer(row)]
        if len(here) < 2:
            continue
        here.sort(key=lambda row: float(_by_example(row).mean()))
        closer = here[0]["runs"][0]["closer"]
        lines.append(
            f"{', '.join(key)}, by {closer['importance_samples']:,} draws on {closer['examples']} "
            f"examples of test: {'; '.join(map(_ahead, here, here[1:]))} (paired)."
        )
    if lines:
        lines.append(
            "Fewer draws, as on all of test, leave the bound of a code with more KL further from "
            "log p(x); many leave it there too, only less."
        )
    return lines


def _has_closer(row: Row) -> bool:
    return bool(row["runs"]) and all("closer" in run for run in row["runs"])


def _model(row: Row) -> str:
    model: str = row["facts"].get("model", row["name"])
    return model.removesuffix(" NVDM")


def _name(row: Row) -> str:
    model = _model(row)
    return f"the {model}" if model in {"Gaussian", "RNNLM"} else model


def _ahead(row: Row, behind: Row) -> str:
    """Returns by how much a row is ahead of another, in bold where that is news."""
    difference = _by_example(behind) - _by_example(row)
    decided = difference.mean() >= 2 * standard_error(difference)
    said = f"{_name(row)} is ahead"
    if decided and (_model(row), _model(behind)) == ("Gaussian", "vMF"):
        said = f"**{said}**"
    doubt = "" if decided else ", less than two errors"
    return f"{said} of {_name(behind)} by {_mean_and_error(difference)} nats{doubt}"


def _difference(row: Row, rivals: Sequence[Row], reference: str) -> str:
    """Returns how far a row is above the reference of its group, or a dash where there is none."""
    for other in rivals:
        if _model(other) == reference and other is not row and _has_closer(other):
            return _mean_and_error(_by_example(row) - _by_example(other))
    return NOTHING


def _by_example(row: Row) -> np.ndarray:
    """Returns the nats of each example, means over seeds."""
    nats = [run["closer"]["iw_nll_nats_by_example"] for run in row["runs"]]
    mean: np.ndarray = np.mean(nats, axis=0)
    return mean


def _mean_and_error(difference: np.ndarray) -> str:
    return f"{number(float(difference.mean()), 2)} ± {number(standard_error(difference), 2)}"


def _with_error(closer: Sequence[Mapping[str, Any]], key: str, digits: int) -> str:
    value, error = (
        statistics.fmean(one[name] for one in closer) for name in (key, f"{key}_standard_error")
    )
    return f"{number(value, digits)} ± {number(error, digits)}"


def _all(closer: Sequence[Mapping[str, Any]], key: str) -> str:
    return ", ".join(dict.fromkeys(str(one[key]) for one in closer))
