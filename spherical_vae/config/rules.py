"""Allowed values of each key, and combinations of keys that make no sense: two tables.

`defaults.py` explains the keys, `validation.py` applies the tables; the rules of `data` are in
`data/settings.py`.
"""

from dataclasses import dataclass
from typing import Any

from ml_collections import ConfigDict

from spherical_vae.data.corpora import CORPORA
from spherical_vae.data.settings import RULES as DATA_RULES
from spherical_vae.models.decoders import DECODERS
from spherical_vae.models.encoders import ENCODERS
from spherical_vae.models.latents import LATENTS, PRIORS, LatentKind
from spherical_vae.system.errors import UserError
from spherical_vae.system.registry import Registry
from spherical_vae.system.rules import ANY, Conflict, Rule
from spherical_vae.system.rules import COUNT as _COUNT
from spherical_vae.system.rules import SEED as _SEED
from spherical_vae.system.rules import SIZE as _SIZE
from spherical_vae.system.rules import Number as _Number
from spherical_vae.system.rules import OneOf as _OneOf
from spherical_vae.system.rules import Text as _Text


@dataclass(frozen=True)
class _Kind:
    """A kind of a part of the model."""

    kinds: Registry

    def check(self, key: str, value: Any) -> None:
        self.kinds.require(key, value)


@dataclass(frozen=True)
class _Kinds:
    """A tuple of different kinds of a part of the model, possibly empty."""

    kinds: Registry

    def check(self, key: str, value: Any) -> None:
        for name in value:
            self.kinds.require(key, name)
        if len(set(value)) != len(value):
            raise UserError(f"{key}: {value!r} given, allowed: each name once")


_POSITIVE = _Number(low=0, low_open=True)
_NOT_NEGATIVE = _Number(low=0)
_RATE = _Number(low=0, high=1, high_open=True)

# Every key of `base_config()` has a rule here; a test holds the two against each other.
RULES: dict[str, Rule] = {
    "name": _Text(),
    "seed": _SEED,
    "baselines": _Kinds(LATENTS),
    **{f"data.{key}": rule for key, rule in DATA_RULES.items()},
    "embedding_size": _SIZE,
    "label_embedding_size": _COUNT,
    "condition_on_bag": ANY,
    "dropout_rate": _RATE,
    "dropout_mask": _OneOf(("step", "sentence")),
    "state_dropout_rate": _RATE,
    "word_dropout_rate": _RATE,
    "encoder.kind": _Kind(ENCODERS),
    "encoder.hidden_size": _SIZE,
    "encoder.layers": _SIZE,
    "encoder.bidirectional": ANY,
    "encoder.pooling": _OneOf(("last", "mean_max")),
    "encoder.counts": _OneOf(("log", "raw")),
    "latent.kind": _Kind(LATENTS),
    "latent.dimension": _SIZE,
    "latent.spheres": _SIZE,
    "latent.concentrations": _OneOf(("learned_each", "learned_shared", "fixed")),
    "latent.concentration": _NOT_NEGATIVE,
    # The learned concentration moves on a logarithmic scale.
    "latent.min_concentration": _POSITIVE,
    "latent.max_concentration": _POSITIVE,
    "latent.range": _OneOf(("smooth", "clipped")),
    "latent.concentration_gradient": _OneOf(("exact", "kl_only")),
    "latent.sampler": _OneOf(("transport", "wood")),
    "latent.unit_variance": ANY,
    "prior.kind": _Kind(PRIORS),
    "prior.components": _SIZE,
    "decoder.kind": _Kind(DECODERS),
    "decoder.inputless": ANY,
    "decoder.hidden_size": _SIZE,
    "decoder.layers": _COUNT,
    "decoder.tied_embeddings": ANY,
    "decoder.skip": ANY,
    "kl_weight.schedule": _OneOf(("constant", "linear", "sigmoid", "cyclical")),
    "kl_weight.value": _NOT_NEGATIVE,
    "kl_weight.linear_epochs": _POSITIVE,
    "kl_weight.sigmoid_slope": _POSITIVE,
    "kl_weight.sigmoid_shift": _Number(),
    "kl_weight.cycles": _SIZE,
    "kl_weight.rising_fraction": _Number(low=0, high=1, low_open=True),
    "rate.free_nats": _NOT_NEGATIVE,
    "rate.free_nats_per": _OneOf(("example", "factor")),
    "rate.target_nats": _NOT_NEGATIVE,
    "rate.target_step": _POSITIVE,
    "rate.autoencoder_epochs": _COUNT,
    "optimizer.name": _OneOf(("sgd", "adam", "adamw")),
    "optimizer.learning_rate": _POSITIVE,
    "optimizer.schedule": _OneOf(("constant", "cosine", "plateau")),
    "optimizer.warmup_steps": _COUNT,
    "optimizer.final_fraction": _Number(low=0, high=1),
    "optimizer.plateau_divisor": _Number(low=1, low_open=True),
    "optimizer.clip_norm": _NOT_NEGATIVE,
    "optimizer.weight_decay": _NOT_NEGATIVE,
    "optimizer.average_decay": _RATE,
    "train.batch_size": _SIZE,
    "train.epochs": _SIZE,
    "train.steps": _COUNT,
    "train.nats_per": _OneOf(("example", "token")),
    "train.samples": _SIZE,
    "train.steps_per_call": _SIZE,
    "train.log_every": _SIZE,
    "train.evaluate_every": _COUNT,
    "train.checkpoint_every": _COUNT,
    "train.early_stopping": _COUNT,
    "train.protocol": _OneOf(("honest", "paper")),
    "compute.dtype": _OneOf(("float32", "bfloat16")),
    "compute.recompute_gates": ANY,
    "compute.logits_at_once": _SIZE,
    "mesh.model": _SIZE,
    "evaluation.batch_size": _SIZE,
    "evaluation.importance_samples": _SIZE,
    "evaluation.chunk": _SIZE,
}


def _latents(c: ConfigDict) -> list[LatentKind]:
    return [LATENTS[kind] for kind in (c.latent.kind, *c.baselines)]


def _unread(key: str, off: Any) -> Conflict:
    """Conflict of an optional key that is on, and that neither encoder nor decoder reads."""

    def ignored(c: ConfigDict) -> bool:
        value = c
        for part in key.split("."):
            value = value[part]
        reads = ENCODERS[c.encoder.kind].reads | DECODERS[c.decoder.kind].reads
        return value != off and key not in reads

    parts = "encoder.kind={c.encoder.kind} and decoder.kind={c.decoder.kind}"
    return Conflict(key, ignored, f"{off} with {parts}, which do not read it")


CONFLICTS = (
    _unread("compute.dtype", "float32"),
    _unread("condition_on_bag", False),
    _unread("decoder.skip", False),
    _unread("decoder.tied_embeddings", False),
    _unread("dropout_mask", "step"),
    _unread("state_dropout_rate", 0.0),
    _unread("word_dropout_rate", 0.0),
    Conflict(
        "train.samples",
        lambda c: c.train.protocol == "paper" and c.train.samples != 1,
        "1 with train.protocol=paper, which draws three by itself",
    ),
    Conflict(
        "latent.dimension",
        lambda c: c.latent.dimension < 2 and LATENTS[c.latent.kind].spherical,
        ">= 2 with latent.kind={c.latent.kind} (the sphere of R^1 is two points)",
    ),
    Conflict(
        "latent.dimension",
        lambda c: c.latent.dimension < 2 and any(kind.spherical for kind in _latents(c)),
        ">= 2 with baselines={c.baselines!r} (the sphere of R^1 is two points)",
    ),
    Conflict(
        "latent.min_concentration",
        lambda c: c.latent.min_concentration >= c.latent.max_concentration,
        "below latent.max_concentration={c.latent.max_concentration!r}",
    ),
    Conflict(
        "latent.concentration",
        lambda c: (
            any(kind.concentration == "start" for kind in _latents(c))
            and not c.latent.min_concentration < c.latent.concentration < c.latent.max_concentration
        ),
        "between latent.min_concentration={c.latent.min_concentration!r} and "
        "latent.max_concentration={c.latent.max_concentration!r}: what is learned starts there",
    ),
    Conflict(
        "latent.spheres",
        lambda c: c.latent.spheres > 1 and c.latent.kind != "product_vmf",
        "1 with latent.kind={c.latent.kind}; only product_vmf has several",
    ),
    Conflict(
        "latent.spheres",
        lambda c: (
            c.latent.kind == "product_vmf"
            and (c.latent.dimension % c.latent.spheres or c.latent.dimension < 2 * c.latent.spheres)
        ),
        "a divisor of latent.dimension={c.latent.dimension} that leaves each sphere 2 or more",
    ),
    Conflict(
        "prior.kind",
        lambda c: c.prior.kind != "standard" and c.train.protocol == "paper",
        "standard with train.protocol=paper, whose KL is a formula for it",
    ),
    Conflict(
        "rate.free_nats_per",
        lambda c: (
            c.rate.free_nats > 0 and c.rate.free_nats_per == "factor" and c.prior.kind != "standard"
        ),
        "example with prior.kind={c.prior.kind}, whose KL is not a sum over factors",
    ),
    Conflict(
        "rate.target_nats",
        lambda c: c.rate.target_nats > 0 and c.rate.free_nats > 0,
        "0 with rate.free_nats={c.rate.free_nats!r}: either floors the KL or holds it",
    ),
    Conflict(
        "rate.target_nats",
        lambda c: c.rate.target_nats > 0 and c.latent.kind == "none",
        "0 with latent.kind=none, which has no KL",
    ),
    Conflict(
        "rate.target_nats",
        lambda c: c.rate.target_nats > 0 and c.kl_weight.value == 0,
        "0 with kl_weight.value=0, which leaves the multiplier nothing to act on",
    ),
    Conflict(
        "rate.autoencoder_epochs",
        lambda c: c.rate.autoencoder_epochs > 0 and "none" in (c.latent.kind, *c.baselines),
        "0 with latent.kind={c.latent.kind}, baselines={c.baselines!r}: none is not an autoencoder",
    ),
    Conflict(
        "rate.autoencoder_epochs",
        lambda c: 0 < c.rate.autoencoder_epochs >= c.train.epochs and c.train.steps == 0,
        "less than train.epochs={c.train.epochs}",
    ),
    Conflict(
        "word_dropout_rate",
        lambda c: c.word_dropout_rate > 0 and c.decoder.inputless,
        "0.0 with decoder.inputless, which reads no previous words",
    ),
    Conflict(
        "label_embedding_size",
        lambda c: c.label_embedding_size > 0 and c.data.label_classes < 1,
        "0 unless data.label_classes >= 1 says that there are labels",
    ),
    Conflict(
        "encoder.kind",
        lambda c: CORPORA[c.data.name].kind == "bags" and ENCODERS[c.encoder.kind].sequences,
        "bag_of_words with data.name={c.data.name}, whose bags of words have no order",
    ),
    Conflict(
        "decoder.kind",
        lambda c: CORPORA[c.data.name].kind == "bags" and DECODERS[c.decoder.kind].sequences,
        "bag_of_words with data.name={c.data.name}, whose bags of words have no order",
    ),
    Conflict(
        "decoder.layers",
        lambda c: c.decoder.layers < DECODERS[c.decoder.kind].min_layers,
        ">= {decoder.min_layers} with decoder.kind={c.decoder.kind}",
    ),
    Conflict(
        "decoder.layers",
        lambda c: c.decoder.layers > DECODERS[c.decoder.kind].max_layers,
        "<= {decoder.max_layers} with decoder.kind={c.decoder.kind}",
    ),
    Conflict(
        "optimizer.weight_decay",
        lambda c: c.optimizer.weight_decay > 0 and c.optimizer.name != "adamw",
        "0.0 with optimizer.name={c.optimizer.name}; only adamw decays weights",
    ),
)
