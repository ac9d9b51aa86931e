"""Measures of a trained model on a split, as `evaluate --json` prints them: bounds, use of z."""

import math
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Key
from numpyro.distributions import Distribution

from spherical_vae.evaluation import metrics
from spherical_vae.evaluation.evaluator import PAPER_BATCH, Evaluator
from spherical_vae.evaluation.example_file import ExampleFile
from spherical_vae.evaluation.metrics import ExampleNats
from spherical_vae.models.latents import latent
from spherical_vae.random.keys import Purpose, root_key
from spherical_vae.runs.trained_model import TrainedModel
from spherical_vae.system.jax_settings import settings_of_models

# Rows of the matrix log q(z_i|x_j) that are formed at once.
PAIR_ROWS = 64
# Most examples over which the mutual information is averaged.
INFORMATION_EXAMPLES = 20_000

PAPER_NOTE = (
    "protocol 'paper', for comparison with printed tables only: the latent is the mean of three "
    "samples (sentences) or the log-likelihood is (documents), the KL is Guu et al.'s, and "
    f"sentences are charged per padded slot of length-sorted batches of {PAPER_BATCH}, in units of "
    "the mean length of train without the end mark. For sentences this is not a bound on log p(x)."
)
AVERAGED_NOTE = (
    "protocol 'averaged': the latent is the mean of three samples and is charged with what that "
    "mean carries; a bound on log p(x) under the prior that such means have."
)
BAG_NOTE = (
    "the decoder reads the bag of words of the text that it scores: these figures are of "
    "p(x | bag of x) and not a bound on log p(x)."
)


def build_evaluator(trained: TrainedModel, importance_samples: int | None = None) -> Evaluator:
    """Returns the evaluator of a trained model.

    The importance-weighted bound has as many samples as given, or as configured if None.
    """
    config = trained.config.copy_and_resolve_references()
    if importance_samples is not None:
        with config.unlocked():
            config.evaluation.importance_samples = importance_samples
    return Evaluator(trained.model, config, trained.corpus, trained.mesh)


@settings_of_models()
def measure_model(
    evaluator: Evaluator,
    trained: TrainedModel,
    split: str,
    *,
    seed: int = 0,
    protocol: str = "honest",
    examples: Path | None = None,
) -> tuple[dict[str, Any], ExampleNats]:
    """Computes all measures of a split.

    Args:
      evaluator: of the model, or of a sweep of which the model is a replica.
      trained: the model.
      split: name of the split.
      seed: of the samples.
      protocol: "honest", "paper" or "averaged".
      examples: file of each example's nats, which is written, or continued if it is there.

    Returns:
      The object that `evaluate --json` prints, without its rate, with None for numbers that are not
      finite; and the nats of each example.

    Raises:
      UserError: the protocol is not defined for this model, or the file is about something else.
    """
    config, corpus, honest = trained.config, trained.corpus, protocol == "honest"
    kept = None
    if examples is not None:
        about = about_examples(evaluator, trained, split, seed, protocol)
        kept = ExampleFile(examples, about, len(corpus.splits[split]))
    hyper = latent.latent_hyperparameters(config.latent)
    key_nats, key_information = jax.random.split(root_key(seed, Purpose.EVALUATE))
    nats = evaluator.nats(
        trained.params,
        split,
        key_nats,
        hyper=hyper,
        protocol=protocol,
        importance_weighted=honest,
        kept=kept,
    )
    posterior, prior = evaluator.latent_pair(trained.params, split, hyper=hyper)
    active, ratio = metrics.latent_use(
        latent.posterior_means(posterior), latent.prior_deviations(prior)
    )
    information = mutual_information_nats(posterior, key_information)
    ceiling = math.log(len(nats.tokens))
    at_ceiling = bool(information.mean() > ceiling - metrics.CEILING_MARGIN_NATS)
    result: dict[str, Any] = {
        "protocol": protocol,
        "corpus": corpus.name,
        "split": split,
        **metrics.summarise(nats),
        "importance_samples": evaluator.config.evaluation.importance_samples if honest else None,
        "active_units": active,
        "participation_ratio": ratio,
        "mutual_information_nats": float(information.mean()),
        "mutual_information_nats_standard_error": metrics.standard_error(information),
        "mutual_information_ceiling_nats": ceiling,
        "mutual_information_at_ceiling": at_ceiling,
    }
    if corpus.kind != "sequences":
        result |= metrics.summarise_documents(nats)
    notes = {"honest": [], "paper": [PAPER_NOTE], "averaged": [AVERAGED_NOTE]}[protocol]
    if config.condition_on_bag:
        notes.append(BAG_NOTE)
    if notes:
        result["note"] = " ".join(notes)
    result |= {"step": trained.step, "seed": seed}
    return json_values(result), nats


def json_values(result: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a result with None for numbers that are not finite, which JSON does not have."""
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in result.items()
    }


def about_examples(
    evaluator: Evaluator, trained: TrainedModel, split: str, seed: int, protocol: str
) -> dict[str, Any]:
    """Returns what determines the nats of each example, and what they are nats of."""
    digest = 0
    for leaf in jax.tree.leaves(trained.params):
        digest = zlib.crc32(np.asarray(leaf).tobytes(), digest)
    return {
        "corpus": trained.corpus.name,
        "corpus_fingerprint": trained.corpus.fingerprint,
        "split": split,
        "protocol": protocol,
        "seed": seed,
        "importance_samples": evaluator.importance_samples if protocol == "honest" else None,
        "batch_size": trained.config.evaluation.batch_size,
        "step": trained.step,
        "parameters_crc32": digest,
        # Without these keys it is a bound, on log p(x).
        **({} if trained.model.latent_size else {"exact": True}),
        **({"condition_on_bag": True} if trained.config.condition_on_bag else {}),
    }


def mutual_information_nats(
    posterior: Distribution, key: Key[Array, ""]
) -> Float[np.ndarray, " terms"]:
    """Estimates I(x; z) = E KL(q(z|x) || p(z)) - KL(aggregate posterior || p(z)), in nats.

    The aggregate is the mixture of all N posteriors. With one sample z_i of each q(z|x_i) both
    terms are means over i, and log p(z_i) cancels: the estimate is the mean of log q(z_i|x_i) - log
    aggregate(z_i), with much less variance than the difference. It is at most ln N. Its standard
    error is that of a mean: to first order in 1/N the aggregate's own sampling adds nothing.

    The cost is that of all pairs; of more than `INFORMATION_EXAMPLES` the mean is over so many, and
    the aggregate still of all.

    Args:
      posterior: of all examples of a split, batch shape `[N]`.
      key: for the samples, and for the choice.

    Returns:
      The terms, of which the mean is the estimate.

    Source: Hoffman and Johnson (2016).
    """
    z = latent.sample(posterior, key, 1)[0]  # [N, *event]
    own = np.asarray(latent.log_prob(posterior, z))
    if len(z) > INFORMATION_EXAMPLES:
        key_rows = jax.random.fold_in(key, 1)
        rows = jax.random.choice(key_rows, len(z), (INFORMATION_EXAMPLES,), replace=False)
        z, own = z[rows], own[np.asarray(rows)]
    blocks = [z[first : first + PAIR_ROWS] for first in range(0, z.shape[0], PAIR_ROWS)]
    aggregate = np.concatenate([np.asarray(_log_aggregate(posterior, rows)) for rows in blocks])
    return own.astype(np.float64) - aggregate


@jax.jit
def _log_aggregate(posterior: Distribution, rows: Float[Array, " N *event"]) -> Float[Array, " N"]:
    """Returns the log density of the mixture of all posteriors at some rows of z."""
    pairs = latent.log_prob(posterior, rows[:, None])  # [N, all examples]
    return jax.nn.logsumexp(pairs, axis=1) - math.log(pairs.shape[1])
