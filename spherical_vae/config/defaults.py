"""The configuration: every key with its default and its allowed values; `configs/*.py` are deltas.

The defaults are the main job: small inputless models on the King James verses. The keys of `data`
are in `data/settings.py`, combinations of keys that make no sense in `validation.py`.
"""

from typing import Any

from ml_collections import ConfigDict

from spherical_vae.data.settings import SETTINGS as DATA_SETTINGS
from spherical_vae.models.decoders import DECODERS
from spherical_vae.models.encoders import ENCODERS
from spherical_vae.models.latents import LATENTS, PRIORS
from spherical_vae.system.errors import UserError
from spherical_vae.system.rules import COUNT, SEED, SIZE, Number, Rule, no_rule, not_empty, one_of


def _different_latents(key: str, value: tuple[str, ...]) -> None:
    for name in value:
        LATENTS.check(key, name)
    if len(set(value)) != len(value):
        raise UserError(f"{key}: {value!r} given, allowed: each name once")


_POSITIVE = Number(low=0, low_open=True)
_NOT_NEGATIVE = Number(low=0)
_RATE = Number(low=0, high=1, high_open=True)
_SHARE = Number(low=0, high=1, low_open=True)
# Samples in float32 are this fine, and importance weights of coarser ones would be wrong.
_MOST_CONCENTRATED = 1e12

_KEYS: dict[str, tuple[Any, Rule]] = {
    "name": ("kjv", not_empty),
    # Determines initialisation, dropout and samples; the order of batches depends on `data.seed`.
    "seed": (0, SEED),
    # Latent kinds trained beside this model at the same size, for the same steps, and tabulated.
    "baselines": (("none", "gaussian"), _different_latents),
    **{f"data.{key}": entry for key, entry in DATA_SETTINGS.items()},
    "embedding_size": (100, SIZE),  # word embeddings, shared by encoder, decoder, bag condition
    "label_embedding_size": (0, COUNT),  # 0: labels are not used
    "condition_on_bag": (False, no_rule),  # NVRNN-BoW: the decoder sees the target's mean embedding
    "dropout_rate": (0.1, _RATE),  # of embeddings, hidden layers and outputs
    # sentence: one mask for all steps of a sentence.
    "dropout_mask": ("step", one_of(("step", "sentence"))),
    "state_dropout_rate": (0.0, _RATE),  # lstm decoder: recurrent state, one mask a sentence
    "word_dropout_rate": (0.0, _RATE),  # lstm decoder: previous words, which become <unk>
    "encoder.kind": ("lstm", ENCODERS.check),
    "encoder.hidden_size": (128, SIZE),
    "encoder.layers": (1, SIZE),
    "encoder.bidirectional": (False, no_rule),  # lstm
    # How LSTM states become one vector.
    "encoder.pooling": ("mean_max", one_of(("last", "mean_max"))),
    "encoder.counts": ("log", one_of(("log", "raw"))),  # the input of bag_of_words
    "latent.kind": ("vmf", LATENTS.check),
    "latent.dimension": (8, SIZE),  # coordinates of z, over all spheres
    "latent.spheres": (1, SIZE),  # product_vmf; divides `dimension`
    # product_vmf.
    "latent.concentrations": ("learned_each", one_of(("learned_each", "learned_shared", "fixed"))),
    # Of every example; if concentrations are learned, their initial value.
    "latent.concentration": (30.0, Number(low=0, high=_MOST_CONCENTRATED)),
    # The range of learned concentrations, which move on a logarithmic scale.
    "latent.min_concentration": (1.0, _POSITIVE),
    "latent.max_concentration": (1000.0, Number(low=0, high=_MOST_CONCENTRATED, low_open=True)),
    "latent.range": ("smooth", one_of(("smooth", "clipped"))),  # clipped: no gradient at the ends
    # learned_vmf; kl_only: samples pass no gradient to it, as in the authors' code.
    "latent.concentration_gradient": ("exact", one_of(("exact", "kl_only"))),
    "latent.sampler": ("transport", one_of(("transport", "wood"))),
    "latent.unit_variance": (True, no_rule),  # the decoder sees sqrt(d) z, of prior variance 1
    # standard: uniform, N(0, I); mixture: learned components; vamp: learned pseudo-inputs.
    "prior.kind": ("standard", PRIORS.check),
    "prior.components": (64, SIZE),  # mixture, vamp
    "decoder.kind": ("lstm", DECODERS.check),
    "decoder.inputless": (True, no_rule),  # lstm: fed z only, no previous word
    "decoder.hidden_size": (128, SIZE),
    "decoder.layers": (1, COUNT),  # bag_of_words: hidden layers, 0 or 1
    "decoder.tied_embeddings": (False, no_rule),  # lstm: the softmax multiplies by word embeddings
    "decoder.skip": (False, no_rule),  # bag_of_words: adds a linear map of z to the logits
    # linear and sigmoid change between epochs, cyclical at every step.
    "kl_weight.schedule": ("constant", one_of(("constant", "linear", "sigmoid", "cyclical"))),
    "kl_weight.value": (1.0, _NOT_NEGATIVE),  # the constant weight; the maximum of the schedules
    "kl_weight.linear_epochs": (20.0, _POSITIVE),  # linear: min(1, epoch / linear_epochs)
    "kl_weight.sigmoid_slope": (0.5, _POSITIVE),  # sigmoid(slope * epoch - shift)
    "kl_weight.sigmoid_shift": (5.0, Number()),
    "kl_weight.cycles": (4, SIZE),  # cyclical: equal parts of training, each of which rises from 0
    "kl_weight.rising_fraction": (0.5, _SHARE),  # cyclical: of a cycle; then the weight is constant
    # The KL in the training loss; measured bounds do not depend on these keys.
    # Least KL that the loss charges; 0: off. Under a learned prior, least estimate of it.
    "rate.free_nats": (0.0, _NOT_NEGATIVE),
    # factor: a coordinate or a sphere, in the mean over the batch.
    "rate.free_nats_per": ("example", one_of(("example", "factor"))),
    "rate.target_nats": (0.0, _NOT_NEGATIVE),  # a learned multiplier keeps the mean KL there
    "rate.target_step": (0.01, _POSITIVE),  # of its logarithm, for a KL twice the target
    # Epochs at the beginning in which the KL weighs nothing and no evaluation counts;
    # then the decoder is reset, and the schedule of the KL weight begins.
    "rate.autoencoder_epochs": (0, COUNT),
    "optimizer.name": ("adam", one_of(("sgd", "adam", "adamw"))),
    "optimizer.learning_rate": (5e-3, _POSITIVE),
    "optimizer.schedule": ("cosine", one_of(("constant", "cosine", "plateau"))),
    "optimizer.warmup_steps": (0, COUNT),
    "optimizer.final_fraction": (0.05, Number(low=0, high=1)),  # cosine: last rate over first rate
    # plateau: divides the learning rate after each evaluation without improvement.
    "optimizer.plateau_divisor": (1.2, Number(low=1, low_open=True)),
    "optimizer.clip_norm": (5.0, _NOT_NEGATIVE),  # of the gradient's global norm; 0: off
    # By adamw, of matrices and learned priors, not of biases.
    "optimizer.weight_decay": (0.0, _NOT_NEGATIVE),
    # Decay of a moving average of the parameters, which is evaluated and kept instead; 0: off.
    "optimizer.average_decay": (0.0, _RATE),
    "train.batch_size": (64, SIZE),
    "train.epochs": (1, SIZE),
    "train.steps": (0, COUNT),  # 0: as many as `epochs` need; otherwise the exact number
    "train.nats_per": ("example", one_of(("example", "token"))),  # the loss is the mean over these
    "train.samples": (1, SIZE),  # samples of z per example in the training objective
    "train.steps_per_call": (1, SIZE),  # consecutive steps of one padded length that share a call
    "train.log_every": (20, SIZE),  # steps
    "train.evaluate_every": (0, COUNT),  # steps; 0: at the end of each epoch
    "train.checkpoint_every": (0, COUNT),  # steps; 0: at evaluations only
    "train.early_stopping": (0, COUNT),  # evaluations in a row without improvement; 0: off
    # paper: mean of three samples, Guu's KL.
    "train.protocol": ("honest", one_of(("honest", "paper"))),
    # How a step is computed; results depend on the last two only by rounding.
    # Factors of the products of LSTM and softmax.
    "compute.dtype": ("float32", one_of(("float32", "bfloat16"))),
    "compute.recompute_gates": (False, no_rule),  # in an LSTM's backward pass, to save memory
    # Most logits of an LSTM decoder in memory at a time; of each replica of a sweep.
    "compute.logits_at_once": (2**26, SIZE),
    # Devices that share one copy of arrays as large as the vocabulary.
    "mesh.model": (1, SIZE),
    "evaluation.batch_size": (64, SIZE),
    "evaluation.importance_samples": (100, SIZE),
    "evaluation.chunk": (10, SIZE),  # importance samples decoded at once
}
RULES = {key: rule for key, (_, rule) in _KEYS.items()}


def base_config() -> ConfigDict:
    """Returns a fresh, unlocked copy of the default configuration.

    A stored configuration that is older than a key is completed by the key's default
    (`run_directory.load_run`), which must therefore mean what was done before.
    """
    config = ConfigDict()
    for key, (default, _) in _KEYS.items():
        group, _, name = key.rpartition(".")
        if group and group not in config:
            config[group] = ConfigDict()
        (config[group] if group else config)[name] = default
    return config


def paper_nvrnn_config() -> ConfigDict:
    """Returns NVRNN in the paper's size with the settings of the authors' code.

    What the authors set for each corpus, the latent above all, is left to `configs/`.
    """
    config = base_config()
    config.baselines = ()
    config.data.name = "text"

    config.embedding_size = 100
    config.dropout_rate = 0.5
    config.encoder.hidden_size = 400
    config.encoder.pooling = "last"
    config.decoder.hidden_size = 400
    config.latent.sampler = "wood"
    config.latent.unit_variance = False

    config.optimizer.name = "sgd"
    config.optimizer.learning_rate = 10.0
    config.optimizer.schedule = "plateau"
    config.optimizer.plateau_divisor = 1.2
    config.optimizer.clip_norm = 0.25
    config.train.nats_per = "token"  # such a learning rate goes with a mean over tokens
    config.train.batch_size = 20
    config.train.epochs = 100
    config.train.early_stopping = 15
    return config


def nvdm_config() -> ConfigDict:
    """Returns NVDM in the paper's size with our training; corpus and latent are left to `configs/`.

    What was found on 20 Newsgroups: one bucket, no clipping, Adam with cosine decay.
    """
    config = base_config()
    config.baselines = ()
    # Batches of one length each, their gradients clipped, weigh short documents as much as long
    # ones: with four buckets validation perplexity came out about 4% higher.
    config.data.buckets = 1
    config.dropout_rate = 0.2
    config.encoder.kind = "bag_of_words"
    config.encoder.hidden_size = 400
    config.encoder.layers = 2
    config.decoder.kind = "bag_of_words"
    config.decoder.hidden_size = 400
    config.decoder.layers = 1
    config.optimizer.learning_rate = 1e-3
    config.optimizer.clip_norm = 0.0
    config.train.batch_size = 100
    config.train.epochs = 60
    return config
