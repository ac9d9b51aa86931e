"""Table 3: RNNLM, Gaussian and vMF on PTB and Yelp, standard and inputless."""

from collections.abc import Mapping
from typing import Any

from spherical_vae.experiments import language_models as models
from spherical_vae.experiments.experiment import Experiment
from spherical_vae.experiments.laboratory.run import Run
from spherical_vae.experiments.laboratory.runs import Laboratory
from spherical_vae.experiments.laboratory.settings import Setting, rows
from spherical_vae.experiments.measures.closer_bound import kept_closer_bound
from spherical_vae.experiments.rendering.closer_tables import closer_remarks, closer_tables
from spherical_vae.experiments.rendering.dev_curves import (
    dev_course,
    dev_table,
    draw_dev,
    kl_remarks,
)
from spherical_vae.experiments.rendering.row_tables import Row
from spherical_vae.experiments.rendering.sentence_tables import (
    Printed,
    averaging_remarks,
    sentence_tables,
    who_is_ahead,
)
from spherical_vae.experiments.rendering.tables import Table

# NLL, KL, PPL.
PAPER: dict[tuple[str, str, str], Printed] = {
    ("PTB", "standard", "RNNLM"): (100, None, 114),
    ("PTB", "inputless", "RNNLM"): (134, None, 596),
    ("Yelp", "standard", "RNNLM"): (199, None, 55),
    ("Yelp", "inputless", "RNNLM"): (300, None, 432),
    ("PTB", "standard", "Gaussian"): (99, 4.4, 109),
    ("PTB", "inputless", "Gaussian"): (125, 6.3, 379),
    ("Yelp", "standard", "Gaussian"): (199, 0.5, 55),
    ("Yelp", "inputless", "Gaussian"): (274, 13.4, 256),
    ("PTB", "standard", "vMF"): (96, 5.7, 98),
    ("PTB", "inputless", "vMF"): (117, 18.6, 262),
    ("Yelp", "standard", "vMF"): (198, 6.4, 54),
    ("Yelp", "inputless", "vMF"): (242, 48.5, 134),
}


# What the paper quotes from Bowman et al. (2016) for the same corpus.
QUOTED = (
    ("PTB standard RNNLM, Bowman et al.", "100 / 116"),
    ("PTB standard Gaussian, Bowman et al.", "101 (2) / 119"),
    ("PTB inputless RNNLM, Bowman et al.", "135 / >600"),
    ("PTB inputless Gaussian, Bowman et al.", "125 (15) / 380"),
)

# At full scale all of test has as many.
_DRAWS = {"smoke": 4, "cpu": 500}


def settings(scale: str) -> list[Setting]:
    """Returns six rows for each corpus, the stand-in for Yelp last."""
    return [
        models.setting(scale, corpus, mode, model)
        for corpus in models.CORPORA
        for mode in models.MODES
        for model in models.MODELS
    ]


def collect(laboratory: Laboratory) -> dict[str, Any]:
    """Trains and measures all rows; also how dev went, and below full scale the closer bound."""
    draws = _DRAWS.get(laboratory.scale)

    def more(setting: Setting, run: Run) -> dict[str, Any]:
        found: dict[str, Any] = {"dev": dev_course(laboratory.dev_curve(run))}
        if draws and _gets_a_closer_bound(setting.facts):
            found["closer"] = kept_closer_bound(laboratory, run, draws)
        return found

    return {"rows": rows(laboratory, settings(laboratory.scale), more)}


def _gets_a_closer_bound(facts: Mapping[str, Any]) -> bool:
    # Reviews are twice as long as sentences, and the time of two cores goes into training.
    corpus: str = facts["corpus"]
    return corpus == "PTB"


def tables(record: Mapping[str, Any]) -> list[Table]:
    """Returns the paper's values beside ours, ours by every protocol, and how dev went."""
    first, *others = sentence_tables(record, PAPER, _key, _group, QUOTED)
    found = record["rows"]
    return [first, *closer_tables(found, _group, "RNNLM"), dev_table(found), *others]


def remarks(record: Mapping[str, Any]) -> list[str]:
    """Returns who is ahead, how the KL went, and what the mean of three draws is worth."""
    found = record["rows"]
    return [
        *closer_remarks(found, _group),
        *who_is_ahead(record, _group),
        *kl_remarks(found),
        *averaging_remarks(found),
    ]


def _key(row: Row) -> tuple[str, str, str]:
    facts = row["facts"]
    return facts["corpus"], facts["mode"], facts["model"]


def _group(row: Row) -> tuple[str, str]:
    return _key(row)[:2]


EXPERIMENT = Experiment(
    "Language models: RNNLM, Gaussian, vMF",
    collect,
    tables,
    settings=settings,
    draw=draw_dev,
    remarks=remarks,
    notes=(
        "A vMF of fixed concentration has the same KL for every sentence, by construction: that it "
        "stays says nothing of whether the code is used. Reconstruction and mutual information do.",
        models.BUDGET_NOTE,
    ),
)
