"""Summaries of a split: bounds and perplexities from nats of each example, use of the latent.

Everything is reduced last: perplexity is exp(sum of nats / sum of tokens).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

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
      slots: `[N]` padded slots; equal to `tokens` but under the paper's protocol.
    """

    reconstruction_nats: Float[np.ndarray, " N"]
    kl_nats: Float[np.ndarray, " N"]
    iw_nll_nats: Float[np.ndarray, " N"] | None
    tokens: Int[np.ndarray, " N"]
    slots: Float[np.ndarray, " N"]

    @property
    def nll_nats(self) -> Float[np.ndarray, " N"]:
        """The negative ELBO."""
        return self.reconstruction_nats + self.kl_nats


def perplexity(nats: Float[np.ndarray, " N"], tokens: np.ndarray) -> float:
    """Returns exp(sum of nats / sum of tokens), the end mark among the tokens."""
    return float(np.exp(nats.sum() / tokens.sum()))


def document_perplexity(nats: Float[np.ndarray, " N"], tokens: np.ndarray) -> float:
    """Returns exp(mean over documents of nats / tokens)."""
    return float(np.exp((nats / tokens).mean()))


def standard_error(values: Float[np.ndarray, " N"]) -> float:
    """Returns the standard error of the mean of independent values, two at least."""
    return float(values.std(ddof=1) / np.sqrt(len(values)))


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


def summarise(nats: ExampleNats, paper_words: float | None = None) -> dict[str, float | int | None]:
    """Returns the bounds of a split, None for those that the protocol does not have.

    Args:
      nats: of the split.
      paper_words: mean number of words of a sentence of train, without the end mark, for the units
        of the paper's sentence tables: nats are per padded slot, times these words, and perplexity
        is per padded slot. None for nats per example and perplexity per token.
    """
    iw = nats.iw_nll_nats
    terms = {
        "nll_nats": nats.nll_nats,
        "reconstruction_nats": nats.reconstruction_nats,
        "kl_nats": nats.kl_nats,
    }
    if paper_words is None:
        figures = {name: float(values.mean()) for name, values in terms.items()}
        figures["perplexity"] = perplexity(nats.nll_nats, nats.tokens)
    else:
        unit = paper_words / float(nats.slots.sum())
        figures = {name: float(values.sum()) * unit for name, values in terms.items()}
        figures["perplexity"] = perplexity(nats.nll_nats, nats.slots)
    return {
        "examples": len(nats.tokens),
        "tokens": int(nats.tokens.sum()),
        **figures,
        "iw_nll_nats": None if iw is None else float(iw.mean()),
        "iw_perplexity": None if iw is None else perplexity(iw, nats.tokens),
    }


def summarise_documents(nats: ExampleNats) -> dict[str, float | None]:
    """Returns the per-document perplexities."""
    iw = nats.iw_nll_nats
    return {
        "document_perplexity": document_perplexity(nats.nll_nats, nats.tokens),
        "iw_document_perplexity": None if iw is None else document_perplexity(iw, nats.tokens),
    }
