"""The sentence models that several experiments share: RNNLM, Gaussian and vMF NVRNN.

`full` is the setting of the authors' code (SGD, to convergence on dev). `cpu` is what two cores can
do: Adam, larger batches, and so few epochs that nothing has converged.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from spherical_vae.experiments.laboratory.settings import AVERAGED, HONEST, PAPER, Setting

CORPORA = {"ptb": "PTB", "yelp": "Yelp", "yelp10k": "Yelp-10k stand-in"}
STANDARD, INPUTLESS = "standard", "inputless"
BAG_LABEL = "with bag of words"
MODES = (STANDARD, INPUTLESS)
_CONFIGS = {
    ("ptb", STANDARD): "ptb",
    ("ptb", INPUTLESS): "ptb:inputless",
    ("yelp", STANDARD): "yelp:standard",
    ("yelp", INPUTLESS): "yelp",
    ("yelp10k", STANDARD): "yelp:yelp10k_standard",
    ("yelp10k", INPUTLESS): "yelp:yelp10k",
}
_BAG_CONFIGS = {STANDARD: "ptb:standard_bow", INPUTLESS: "ptb:inputless_bow"}
MODELS: dict[str, dict[str, Any]] = {
    "RNNLM": {"latent.kind": "none"},
    "Gaussian": {"latent.kind": "gaussian"},
    "vMF": {},
}
# The code is hardly used in the first epochs, and without the previous word there is nothing else.
_CPU_EPOCHS = {STANDARD: 5, INPUTLESS: 10}
_CPU: dict[str, Any] = {
    "optimizer.name": "adam",
    "optimizer.learning_rate": 2e-3,
    "optimizer.schedule": "cosine",
    "optimizer.clip_norm": 5.0,
    "train.nats_per": "example",
    "train.batch_size": 64,
    "train.early_stopping": 0,
    "evaluation.importance_samples": 20,
}
_FULL = {"evaluation.importance_samples": 500}
# Three trials each, ten epochs long; the concentrations are around the likely one of the paper.
TRIAL_EPOCHS = 10
_FACTORS = (0.6, 1.0, 1.6)
_ALTERNATIVES: dict[str, tuple[dict[str, Any], ...]] = {
    "RNNLM": ({}, {"dropout_rate": 0.3}, {"optimizer.learning_rate": 5.0}),
    # The weight is 1 before a trial ends: a model is chosen by what it is with the whole KL.
    "Gaussian": (
        {},
        {"dropout_rate": 0.3},
        {"kl_weight.schedule": "linear", "kl_weight.linear_epochs": 5.0},
    ),
}
_LIKELY = {
    "ptb": 25.0,
    "ptb:inputless": 80.0,
    "yelp:standard": 40.0,
    "yelp": 200.0,
    "yelp:yelp10k_standard": 40.0,
    "yelp:yelp10k": 200.0,
    "ptb:standard_bow": 3.2,
    "ptb:inputless_bow": 50.0,
}
BUDGET_NOTE = (
    "At scale `full` the three models have the same budget in each setting: three trials on dev of "
    "ten epochs with seed 0 (vMF: three concentrations; Gaussian: as configured, less dropout, "
    "a KL weight that rises over five epochs; RNNLM: as configured, less dropout, half the "
    "learning rate). At scale `cpu` nothing is tried: Adam 2e-3 with cosine decay, batch 64, 10 "
    "epochs for inputless models and 5 for the others."
)


def setting(
    scale: str,
    corpus: str,
    mode: str,
    model: str,
    *,
    bag: bool = False,
    changed: Mapping[str, Any] | None = None,
    label: str = "",
    tuned: bool = True,
    split: str = "test",
) -> Setting:
    """Returns a row.

    Args:
      scale: cpu differs from full by its training.
      corpus: in `CORPORA`.
      mode: `STANDARD`, or `INPUTLESS`.
      model: in `MODELS`.
      bag: whether the decoder is told the bag of words (PTB only).
      changed: in the configuration.
      label: added to the name of the row.
      tuned: whether alternatives are tried at full scale.
      split: measured in the end.
    """
    config = _BAG_CONFIGS[mode] if bag else _CONFIGS[corpus, mode]
    overrides = {**MODELS[model], **(_CPU if scale == "cpu" else _FULL)}
    if scale == "cpu":
        overrides["train.epochs"] = _CPU_EPOCHS[mode]
    overrides |= changed or {}
    alternatives: tuple[Mapping[str, Any], ...] = ({},)
    if tuned and scale == "full":
        alternatives = _ALTERNATIVES.get(model) or tuple(
            {"latent.concentration": round(factor * _LIKELY[config], 1)} for factor in _FACTORS
        )
    name = " ".join(filter(None, [CORPORA[corpus], mode, model, label]))
    return Setting(
        name,
        config,
        overrides,
        alternatives,
        {"train.epochs": TRIAL_EPOCHS},
        (HONEST, PAPER, AVERAGED) if model == "vMF" else (HONEST, PAPER),
        split,
        {"corpus": CORPORA[corpus], "mode": mode, "model": model, "label": label},
    )


def with_a_code(scale: str, modes: Sequence[str] = MODES) -> list[Setting]:
    """Returns the models of tables 3 and 5 on PTB that have a code: the same runs, for other uses.

    Args:
      scale: smoke, cpu or full.
      modes: out of `MODES`.
    """
    kept = [
        setting(scale, "ptb", mode, model, bag=bag, label=BAG_LABEL if bag else "")
        for mode in modes
        for bag in (False, True)
        for model in ("Gaussian", "vMF")
    ]
    return [dataclasses.replace(one, protocols=(HONEST,)) for one in kept]
