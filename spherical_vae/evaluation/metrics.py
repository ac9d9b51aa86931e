"""Summaries of a split: bounds and perplexities from nats of each example, use of the latent.

Everything is reduced last: perplexity is exp(sum of nats / sum of tokens).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from spherical_vae.data.corpus import Corpus

ACTIVE_VARIANCE = 0.01
CEILING_MARGIN_NATS = 0.5


@dataclass(frozen=True)
class ExampleNats:
    """Per-example results of a split, in the order of the split.

    Attributes:
      reconstruction_nats: `[N]` - E log p(x|z).
      kl_nats: `[N]`.
      iw_nll_nats: `[N]` importance-weighted bound, or None where the protocol has none.
      tokens: `[N]` scored tokens.
      slots: `[N]` padded slots; equal to `tokens` but under the paper's protocol for sentences.
      paper_words: under that protocol, mean number of words of a sentence of train, without the end
        mark: the unit of the paper's tables. None under the others.
    """

    reconstruction_nats: Float[np.ndarray, " N"]
    kl_nats: Float[np.ndarray, " N"]
    iw_nll_nats: Float[np.ndarray, " N"] | None
    tokens: Int[np.ndarray, " N"]
    slots: Float[np.ndarray, " N"]
    paper_words: float | None = None

    @property
    def nll_nats(self) -> Float[np.ndarray, " N"]:
        """The negative ELBO."""
        return self.reconstruction_nats + self.kl_nats


def perplexity(nats: Float[np.ndarray, " N"], tokens: np.ndarray) -> float:
    """Returns exp(sum of nats / sum of tokens), the end mark among the tokens."""
    return float(np.exp(nats.sum() / tokens.sum()))


def standard_error(values: Float[np.ndarray, " N"]) -> float:
    """Returns the standard error of the mean of independent values; NaN for a single one."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else np.nan


def unigram_nats(corpus: Corpus, split: str) -> ExampleNats:
    """Returns the exact nats of each example of a split under the unigram model.

    Words, end marks included, have their add-one smoothed frequencies in train.
    """
    frequencies = corpus.vocabulary.train_counts.astype(np.float64) + 1
    word_nats = -np.log(frequencies / frequencies.sum())
    examples = corpus.splits[split]
    counts = np.ones_like(examples.ids) if examples.counts is None else examples.counts
    nats = np.add.reduceat(word_nats[examples.ids] * counts, examples.offsets[:-1])
    tokens = np.add.reduceat(counts, examples.offsets[:-1])
    return ExampleNats(nats, np.zeros_like(nats), nats, tokens, tokens.astype(np.float64))


def latent_use(
    means: Float[np.ndarray, "N D"], prior_deviations: Float[np.ndarray, " D"]
) -> tuple[int, float]:
    """Counts the coordinates of z that the data moves.

    Args:
      means: posterior mean of each example; of a vMF inside of the sphere.
      prior_deviations: standard deviation of each coordinate under the prior, by which the means
        are divided, since no coordinate of a sphere has a larger variance than 1/d.

    Returns:
      Active units: coordinates whose posterior mean has variance over the data above 0.01 (Burda et
      al. 2016); and the participation ratio of its covariance, trace^2 / trace of the square, from
      0 (nothing varies) to D (all directions equally).
    """
    scaled = means.astype(np.float64) / prior_deviations[None]
    if scaled.shape[1] == 0:
        return 0, 0.0
    covariance = np.atleast_2d(np.cov(scaled, rowvar=False, bias=True))
    square = float((covariance**2).sum())
    ratio = float(np.trace(covariance) ** 2 / square) if square > 0 else 0.0
    return int((np.diag(covariance) > ACTIVE_VARIANCE).sum()), ratio


def summarise(nats: ExampleNats) -> dict[str, float | int | None]:
    """Returns the bounds of a split, None for those that the protocol does not have.

    Nats are per example and perplexity per token; with `paper_words`, nats are per padded slot,
    times these words, and perplexity is per padded slot.
    """
    iw = nats.iw_nll_nats
    terms = {
        "nll_nats": nats.nll_nats,
        "reconstruction_nats": nats.reconstruction_nats,
        "kl_nats": nats.kl_nats,
    }
    if nats.paper_words is None:
        figures = {name: float(values.mean()) for name, values in terms.items()}
    else:
        unit = nats.paper_words / float(nats.slots.sum())
        figures = {name: float(values.sum()) * unit for name, values in terms.items()}
    return {
        "examples": len(nats.tokens),
        "tokens": int(nats.tokens.sum()),
        **figures,
        "perplexity": perplexity(nats.nll_nats, nats.slots),
        "iw_nll_nats": None if iw is None else float(iw.mean()),
        "iw_perplexity": None if iw is None else perplexity(iw, nats.tokens),
    }


def summarise_documents(nats: ExampleNats) -> dict[str, float | None]:
    """Returns the per-document perplexities: exp(mean over documents of nats / tokens)."""
    bounds = {"document_perplexity": nats.nll_nats, "iw_document_perplexity": nats.iw_nll_nats}
    return {
        name: None if values is None else float(np.exp((values / nats.tokens).mean()))
        for name, values in bounds.items()
    }
