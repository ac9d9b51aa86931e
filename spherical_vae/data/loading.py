"""The corpora there are, by the name that `config.data.name` gives."""

import difflib
from collections.abc import Callable
from typing import Any

from spherical_vae.data.corpus import Corpus
from spherical_vae.data.feat import load_feat
from spherical_vae.data.kjv import load_kjv
from spherical_vae.data.paper_corpora import load_news20, load_ptb, load_rcv1, load_yelp
from spherical_vae.data.stand_ins import (
    load_movie_review_bags,
    load_movie_reviews,
    load_reuters,
    load_yelp10k,
)
from spherical_vae.data.text import load_text
from spherical_vae.errors import UserError

# A new corpus is one more loader: it takes `config.data` and returns a Corpus.
CORPORA: dict[str, Callable[[Any], Corpus]] = {
    "kjv": load_kjv,
    "text": load_text,
    "feat": load_feat,
    "ptb": load_ptb,
    "yelp": load_yelp,
    "news20": load_news20,
    "rcv1": load_rcv1,
    "yelp10k": load_yelp10k,
    "movie_reviews": load_movie_reviews,
    "movie_review_bags": load_movie_review_bags,
    "reuters": load_reuters,
}


def load_corpus(config_data: Any) -> Corpus:
    """Reads and encodes the corpus that the configuration names.

    Args:
      config_data: `config.data`, or any object with these attributes.

    Returns:
      The corpus; its `report` is meant to be printed.

    Raises:
      UserError: an unknown name, or input that the loader refuses.
    """
    name = config_data.name
    if name not in CORPORA:
        near = difflib.get_close_matches(str(name), CORPORA, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UserError(
            f"config.data.name is {name!r}: it must be one of {', '.join(CORPORA)}{hint}"
        )
    for key in ("seed", "label_classes"):
        if getattr(config_data, key) < 0:
            raise UserError(
                f"config.data.{key} is {getattr(config_data, key)}: it must be 0 or more"
            )
    return CORPORA[name](config_data)
