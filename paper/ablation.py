"""Each idea of the best recipes on and off, one at a time, for all models alike; on validation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from paper.differences import ERRORS, difference
from paper.experiment import Trained
from paper.language import LANGUAGE_MODEL
from paper.specs import GAUSSIAN, RNNLM, VMF, Filled, Row, Spec, Value
from paper.tables import NOT_RUN, NOTHING, Table, bound, mean_and_range, values_of

_RECIPE = "full recipe"
_ELBO = "valid/elbo"
_WITH_CODE = (GAUSSIAN, VMF)


@dataclass(frozen=True)
class Idea:
    """A change of a recipe: an idea taken away, or one that the recipe does not have."""

    name: str
    changed: Mapping[str, Value]
    models: tuple[str, ...] = (RNNLM, GAUSSIAN, VMF)


@dataclass(frozen=True)
class Part:
    """A recipe of each model, and the ideas that are changed in it.

    `cpu` are the overrides of all runs at scale `cpu`, `measures` title, key and digits of the
    columns beside the difference, `origin` the training from which all runs start, `cpu_origin` the
    one at scale `cpu`.
    """

    corpus: str
    configs: Mapping[str, str]
    ideas: tuple[Idea, ...]
    cpu: Mapping[str, Value]
    measures: tuple[tuple[str, str, int], ...]
    origin: Spec | None = None
    cpu_origin: Spec | None = None


_UNCHANGED = Idea(_RECIPE, {})
_LAST: dict[str, Value] = {"encoder.bidirectional": False, "encoder.pooling": "last"}
# In place of free nats, the mean KL is held where they are.
_TARGET: dict[str, Value] = {"rate.free_nats": 0.0, "rate.target_nats": 4.0}
_DECAYED: dict[str, Value] = {"optimizer.name": "adamw", "optimizer.weight_decay": 0.1}
# Less at first than of one sphere: there are many, of four or two dimensions each.
_SPHERES: dict[str, Value] = {
    "latent.kind": "product_vmf",
    "latent.concentration": 10.0,
    "latent.min_concentration": 0.1,
}
# At scale `cpu`: thirty runs on two cores.
_SMALL: dict[str, Value] = {
    "data.vocabulary_size": 2000,
    "data.buckets": 4,
    "embedding_size": 128,
    "encoder.hidden_size": 128,
    "decoder.hidden_size": 128,
    "dropout_rate": 0.3,
}
_SMALL_TRAINED = _SMALL | {"train.epochs": 4}
# fmt: off
SENTENCES = Part(
    "PTB",
    {RNNLM: "best_ptb:rnnlm_longer", GAUSSIAN: "best_ptb:gaussian_added",
     VMF: "best_ptb:vmf_added"},
    (
        Idea("without one mask a sentence", {"dropout_mask": "step"}),
        Idea("without state dropout", {"state_dropout_rate": 0.0}),
        Idea("without the average of weights", {"optimizer.average_decay": 0.0}),
        Idea("with word dropout 0.2", {"word_dropout_rate": 0.2}),
        Idea("with weight decay 0.1", _DECAYED),
        Idea("without the mixture prior", {"prior.kind": "standard"}, _WITH_CODE),
        Idea("without the autoencoder phase", {"rate.autoencoder_epochs": 0}, _WITH_CODE),
        Idea("without free nats", {"rate.free_nats": 0.0}, _WITH_CODE),
        Idea("without both directions and pooling", _LAST, _WITH_CODE),
        Idea("with the vamp prior", {"prior.kind": "vamp"}, _WITH_CODE),
        Idea("with a target of the rate", _TARGET, _WITH_CODE),
    ),
    _SMALL | {"train.epochs": 4, "kl_weight.linear_epochs": 1.0},
    (("PPL", "perplexity", 1), ("KL", "kl_nats", 2)),
    LANGUAGE_MODEL,
    Spec("best_ptb:rnnlm", _SMALL_TRAINED),
)
# What a run that starts from another cannot change.
FROM_SCRATCH = Part(
    "PTB, from scratch",
    {RNNLM: "best_ptb:rnnlm"},
    (Idea("without tied embeddings", {"decoder.tied_embeddings": False}),),
    _SMALL_TRAINED,
    (("PPL", "perplexity", 1),),
)
# One concentration is the noise of all dimensions; spheres of their own have several.
INPUTLESS = Part(
    "PTB, inputless",
    {RNNLM: "best_ptb:rnnlm_inputless", GAUSSIAN: "best_ptb:gaussian_inputless",
     VMF: "best_ptb:vmf_inputless"},
    (
        Idea("without a learned prior", {"prior.kind": "standard"}, _WITH_CODE),
        Idea("with the vamp prior", {"prior.kind": "vamp"}, _WITH_CODE),
        Idea("with 16 dimensions", {"latent.dimension": 16}, _WITH_CODE),
        Idea("with 16 spheres", _SPHERES | {"latent.spheres": 16}, (VMF,)),
        Idea("with 32 spheres", _SPHERES | {"latent.spheres": 32}, (VMF,)),
    ),
    _SMALL | {"train.epochs": 8, "kl_weight.linear_epochs": 2.0},
    (("PPL", "perplexity", 1), ("KL", "kl_nats", 2)),
)
DOCUMENTS = Part(
    "20NG",
    {GAUSSIAN: "best_news20:gaussian", VMF: "best_news20:vmf"},
    (
        Idea("without a learned prior", {"prior.kind": "standard"}),
        Idea("with the mixture prior", {"prior.kind": "mixture"}),
        Idea("with 64 components of the prior", {"prior.components": 64}),
        Idea("with one sample of z per example", {"train.samples": 1}),
        Idea("without the linear skip from z", {"decoder.skip": False}),
        Idea("without KL warm-up", {"kl_weight.schedule": "constant"}),
        Idea("without the average of weights", {"optimizer.average_decay": 0.0}),
        # 130 is what table 4 chose at this dimension.
        Idea("without learning the concentration",
             {"latent.kind": "vmf", "latent.concentration": 130.0}, (VMF,)),
        Idea("with power spherical", {"latent.kind": "power_spherical"}, (VMF,)),
        Idea("with 5 spheres", {"latent.kind": "product_vmf", "latent.spheres": 5}, (VMF,)),
        Idea("with 10 spheres", {"latent.kind": "product_vmf", "latent.spheres": 10}, (VMF,)),
    ),
    {"train.epochs": 20},
    (("PPL, corpus", "perplexity", 1), ("PPL, per document", "document_perplexity", 1),
     ("KL", "kl_nats", 2)),
)
# fmt: on
PARTS = (SENTENCES, FROM_SCRATCH, INPUTLESS, DOCUMENTS)


def ablation_rows(scale: str) -> list[Row]:
    """Returns of each part the recipes of all models, then idea by idea."""
    return [
        Row(
            f"{part.corpus} {model} {idea.name}",
            f"{part.corpus}, {model}",
            model,
            part.configs[model],
            {**(part.cpu if scale == "cpu" else {}), **idea.changed},
            bounds=(_ELBO,),
            label=idea.name,
            origin=part.cpu_origin if scale == "cpu" else part.origin,
        )
        for part in PARTS
        for idea in (_UNCHANGED, *part.ideas)
        for model in part.configs
        if model in idea.models
    ]


def ideas_table(part: Part, rows: Sequence[Filled]) -> Table:
    """Returns the table of one part: a line for each idea, the models beside each other."""
    ours = {(one.row.group, one.row.label): one for one in rows}
    body = []
    for idea in (_UNCHANGED, *part.ideas):
        line = [idea.name]
        for model in part.configs:
            one, recipe = (
                ours.get((f"{part.corpus}, {model}", name)) for name in (idea.name, _RECIPE)
            )
            if one is None or not one.runs:
                absent = NOT_RUN if model in idea.models else NOTHING
                line += [absent] * (1 + len(part.measures))
                continue
            line.append(_nats(one, recipe))
            for _, key, digits in part.measures:
                line.append(mean_and_range(values_of(one, bound(_ELBO, key)), digits))
        body.append(line)
    titles = ["ELBO nats", *(title for title, _, _ in part.measures)]
    head = [f"{model}: {title}" for model in part.configs for title in titles]
    caption = (
        f"{part.corpus}, validation: nats per example and perplexity by the ELBO, one sample, at "
        "the best step. Of the full recipe the nats themselves; below it the difference to it "
        "(above 0: worse), paired over examples, ± one standard error; with several seeds of "
        "means over the same seeds. Bold: better than the full recipe by "
        f"{ERRORS} errors or more; *worse*: by as much."
    )
    return Table(["recipe", *head], body, caption)


def _nats(one: Filled, recipe: Filled | None) -> str:
    if one is recipe:
        return mean_and_range(values_of(one, bound(_ELBO, "nll_nats")), 2)
    others = recipe.runs if recipe else ()
    found = difference(one.runs, others, lambda run: run.bounds.get(_ELBO))
    if found is None:
        return NOTHING
    if not found.decided:
        return found.text()
    return f"**{found.text()}**" if found.value < 0 else f"{found.text()}, *worse*"


def _tables(rows: Sequence[Filled], scale: str) -> list[Table]:
    return [ideas_table(part, rows) for part in PARTS]


EXPERIMENTS = (Trained("ablation", ablation_rows, _tables),)
