"""Each idea of the best recipes on and off, one at a time, for all models alike; on validation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from spherical_vae.evaluation.metrics import standard_error, summarise, summarise_documents
from spherical_vae.experiments.experiment import Experiment
from spherical_vae.experiments.laboratory.run import Run
from spherical_vae.experiments.laboratory.runs import Laboratory, evaluation_key, evaluator
from spherical_vae.experiments.laboratory.settings import Setting, rows
from spherical_vae.experiments.rendering.row_tables import (
    NOT_APPLICABLE,
    NOT_RUN,
    Row,
    runs_table,
)
from spherical_vae.experiments.rendering.tables import NOTHING, Table, mean_and_range, number

RECIPE = "full recipe"
RNNLM, GAUSSIAN, VMF = "RNNLM", "Gaussian", "vMF"
# A difference is called one when it is so many standard errors away from zero.
ERRORS = 2
# Of each part at scale smoke: every other one is a program of its own to compile.
_SMOKE_IDEAS = 1


@dataclass(frozen=True)
class Idea:
    """A change of a recipe.

    Attributes:
      name: a row of the table.
      changed: in the configuration.
      models: that it can be applied to.
      added: whether it is an idea that the recipe does not have; otherwise one is taken away.
    """

    name: str
    changed: Mapping[str, Any]
    models: tuple[str, ...] = (RNNLM, GAUSSIAN, VMF)
    added: bool = False


@dataclass(frozen=True)
class Part:
    """A recipe and what is changed in it.

    Attributes:
      corpus: as it is shown.
      example: what one is called.
      configs: the recipe of each model, `NAME:VARIANT`.
      ideas: in the order of the table.
      budget: changed in all runs of a scale; as configured where the scale is not named.
      measures: title, key and digits of what is shown beside the difference.
    """

    corpus: str
    example: str
    configs: Mapping[str, str]
    ideas: tuple[Idea, ...]
    budget: Mapping[str, Mapping[str, Any]]
    measures: tuple[tuple[str, str, int], ...]


_UNCHANGED = Idea(RECIPE, {})
_WITH_CODE = (GAUSSIAN, VMF)
SENTENCES = Part(
    "PTB",
    "sentence",
    {RNNLM: "best_ptb:rnnlm", GAUSSIAN: "best_ptb:gaussian", VMF: "best_ptb:vmf"},
    (
        Idea("without tied embeddings", {"decoder.tied_embeddings": False}),
        Idea("without one mask a sentence", {"dropout_mask": "step"}),
        Idea("without state dropout", {"state_dropout_rate": 0.0}),
        Idea("without the average of weights", {"optimizer.average_decay": 0.0}),
        Idea("without the mixture prior", {"prior.kind": "standard"}, _WITH_CODE),
        Idea("without rate control", {"rate.target_nats": 0.0}, _WITH_CODE),
        Idea(
            "without both directions and pooling",
            {"encoder.bidirectional": False, "encoder.pooling": "last"},
            _WITH_CODE,
        ),
        Idea("with word dropout 0.2", {"word_dropout_rate": 0.2}, added=True),
        Idea("with the vamp prior", {"prior.kind": "vamp"}, _WITH_CODE, added=True),
        Idea(
            # As many as the target that they take the place of.
            "with free nats per example",
            {"rate.target_nats": 0.0, "rate.free_nats": 6.0},
            _WITH_CODE,
            added=True,
        ),
    ),
    {
        "cpu": {
            "embedding_size": 256,
            "encoder.hidden_size": 256,
            "decoder.hidden_size": 256,
            "train.epochs": 6,
        }
    },
    (("PPL", "perplexity", 1), ("KL", "kl_nats", 2)),
)
DOCUMENTS = Part(
    "20NG",
    "document",
    {GAUSSIAN: "best_news20:gaussian", VMF: "best_news20:vmf"},
    (
        Idea("without the mixture prior", {"prior.kind": "standard"}, _WITH_CODE),
        Idea("without KL warm-up", {"kl_weight.schedule": "constant"}, _WITH_CODE),
        Idea("without the average of weights", {"optimizer.average_decay": 0.0}, _WITH_CODE),
        # 130 is what table 4 chose at this dimension.
        Idea(
            "without learning the concentration",
            {"latent.kind": "vmf", "latent.concentration": 130.0},
            (VMF,),
        ),
        Idea("with the vamp prior", {"prior.kind": "vamp"}, _WITH_CODE, added=True),
        Idea("with a linear skip from z", {"decoder.skip": True}, _WITH_CODE, added=True),
        Idea("with power spherical", {"latent.kind": "power_spherical"}, (VMF,), added=True),
        *(
            Idea(
                f"with {spheres} spheres",
                {"latent.kind": "product_vmf", "latent.spheres": spheres},
                (VMF,),
                added=True,
            )
            for spheres in (5, 10)
        ),
    ),
    {"cpu": {"train.epochs": 20}},
    (
        ("PPL, corpus", "perplexity", 1),
        ("PPL, per document", "document_perplexity", 1),
        ("KL", "kl_nats", 2),
    ),
)
PARTS = (SENTENCES, DOCUMENTS)


def settings(scale: str) -> list[Setting]:
    """Returns the rows: of each part the recipes of all models, then idea by idea."""
    count = _SMOKE_IDEAS if scale == "smoke" else None
    return [
        _setting(part, model, idea, scale)
        for part in PARTS
        for idea in (_UNCHANGED, *part.ideas[:count])
        for model in part.configs
        if model in idea.models
    ]


def _setting(part: Part, model: str, idea: Idea, scale: str) -> Setting:
    return Setting(
        f"{part.corpus} {model} {idea.name}",
        part.configs[model],
        {**part.budget.get(scale, {}), **idea.changed},
        # Nothing is tried, and test is not looked at.
        protocols=(),
        split="valid",
        facts={"corpus": part.corpus, "model": model, "idea": idea.name},
    )


def collect(laboratory: Laboratory) -> dict[str, Any]:
    """Trains all rows, and measures each example of validation."""

    def more(setting: Setting, run: Run) -> dict[str, Any]:
        del setting
        return {"validation": laboratory.kept(run, "valid-nats", partial(_nats, laboratory, run))}

    return {"rows": rows(laboratory, settings(laboratory.scale), more)}


def _nats(laboratory: Laboratory, run: Run) -> dict[str, Any]:
    model = laboratory.model(run)
    nats = evaluator(model).nats(model.params, "valid", evaluation_key())
    found = summarise(nats)
    if model.corpus.kind != "sequences":
        found |= summarise_documents(nats)
    return {
        **{key: value for key, value in found.items() if value is not None},
        # Hundredths are far below what the mean of so many is known to.
        "nll_nats_by_example": [round(float(value), 2) for value in nats.nll_nats],
    }


def tables(record: Mapping[str, Any]) -> list[Table]:
    """Returns the ideas of each part, and how they were trained."""
    found = record["rows"]
    return [*(ideas_table(part, found) for part in PARTS), runs_table(found)]


def ideas_table(part: Part, found: Sequence[Row]) -> Table:
    """Returns the table of one part: a line for each idea, the models beside each other."""
    ours = _by_cell(part, found)
    body = []
    for idea in (_UNCHANGED, *part.ideas):
        line = [_name(part, idea)]
        for model in part.configs:
            row = ours.get((idea.name, model))
            if model not in idea.models:
                line += [NOT_APPLICABLE] * (1 + len(part.measures))
            elif row is None or not row["runs"]:
                line += [NOT_RUN] * (1 + len(part.measures))
            else:
                line.append(_nats_cell(row, ours.get((RECIPE, model))))
                line += [
                    mean_and_range([run["validation"][key] for run in row["runs"]], digits)
                    for _, key, digits in part.measures
                ]
        body.append(line)
    titles = ["ELBO nats", *(title for title, _, _ in part.measures)]
    head = [f"{model}: {title}" for model in part.configs for title in titles]
    return Table(
        ["recipe", *head],
        body,
        f"{part.corpus}, validation: nats a {part.example} and perplexity by the ELBO, one draw, "
        "at the step that was best there. Of the full recipe the nats themselves; below it the "
        "difference to it (positive: the change makes it worse), paired over examples and, with "
        "several seeds, over means of the same seeds, ± one standard error over examples; bold: "
        f"better than the full recipe by {ERRORS} errors or more.",
    )


def _name(part: Part, idea: Idea) -> str:
    # With the corpus: what was not run is listed for both parts together.
    return f"{part.corpus}, {idea.name}"


def _nats_cell(row: Row, recipe: Row | None) -> str:
    if row is recipe:
        return mean_and_range([run["validation"]["nll_nats"] for run in row["runs"]], 2)
    difference = _difference(row, recipe)
    if difference is None:
        return NOTHING
    text = _signed(*difference)
    return f"**{text}**" if _is_lower(difference) else text


def remarks(record: Mapping[str, Any]) -> list[str]:
    """Returns of each part and model what was not shown to help, and what would."""
    lines = []
    for part in PARTS:
        ours = _by_cell(part, record["rows"])
        for model in part.configs:
            recipe = ours.get((RECIPE, model))
            idle, helpful = [], []
            for idea in part.ideas:
                row = ours.get((idea.name, model))
                difference = None if row is None else _difference(row, recipe)
                if difference is None:
                    continue
                said = f"{idea.name} {_signed(*difference)}"
                if idea.added and _is_lower(difference):
                    helpful.append(said)
                elif not idea.added and difference[0] < ERRORS * difference[1]:
                    idle.append(said)
            for title, names in (
                (f"no worse by {ERRORS} errors, so the idea is not shown to help", idle),
                (f"better by {ERRORS} errors or more", helpful),
            ):
                if names:
                    lines.append(f"{part.corpus}, {model}: {title}: {'; '.join(names)} nats.")
    return lines


def _by_cell(part: Part, found: Sequence[Row]) -> dict[tuple[str, str], Row]:
    return {
        (row["facts"]["idea"], row["facts"]["model"]): row
        for row in found
        if row["facts"]["corpus"] == part.corpus
    }


def _difference(row: Row, recipe: Row | None) -> tuple[float, float] | None:
    """Returns by how many nats a row is above the recipe, and the error; None if not both ran."""
    one, other = (_by_seed(row), {} if recipe is None else _by_seed(recipe))
    seeds = one.keys() & other.keys()
    if not seeds:
        return None
    difference = np.mean([one[seed] - other[seed] for seed in sorted(seeds)], axis=0)
    return float(difference.mean()), standard_error(difference)


def _by_seed(row: Row) -> dict[int, np.ndarray]:
    return {run["seed"]: np.array(run["validation"]["nll_nats_by_example"]) for run in row["runs"]}


def _is_lower(difference: tuple[float, float]) -> bool:
    return difference[0] < 0 and -difference[0] >= ERRORS * difference[1]


def _signed(difference: float, error: float) -> str:
    return f"{difference:+.2f} ± {number(error, 2)}"


EXPERIMENT = Experiment(
    "Each idea of the best recipes on and off (validation)",
    collect,
    tables,
    settings=settings,
    remarks=remarks,
    notes=(
        "The full recipes are `configs/best_ptb.py` and `configs/best_news20.py`. In each other "
        "row one idea is taken away (*without*) or added (*with*); nothing is tuned again, and "
        "the models of a part have the same budget and seeds. At scale `cpu` sentences have "
        "embeddings and states of 256 and six epochs, documents twenty epochs; otherwise all is "
        "as configured.",
        "*Free nats* stand in place of the target of the rate; *power spherical*, *spheres* (each "
        "with a concentration of its own) and the fixed concentration, 130, in place of the one "
        "vMF with a learned concentration.",
        "The errors are over examples: what another seed of training would change is not in "
        "them. The step is chosen on validation too, in all rows alike.",
    ),
)
