"""The corpora there are: one file each, and one line here; everything else derives from `CORPORA`.

`docs/extending.md` shows how to add one. Importing this loads no reader of archives and no network.
"""

from spherical_vae.data.corpora import (
    feat,
    kjv,
    movie_reviews,
    news20,
    news20_prodlda,
    ptb,
    rcv1,
    reuters,
    text,
    yelp,
    yelp10k,
    yelp13_reduced,
)
from spherical_vae.system.registry import Registry

CORPORA = Registry(
    {
        spec.name: spec
        for spec in (
            kjv.SPEC,
            text.SPEC,
            feat.SPEC,
            ptb.SPEC,
            yelp.SPEC,
            news20.SPEC,
            news20_prodlda.SPEC,
            rcv1.SPEC,
            yelp10k.SPEC,
            yelp13_reduced.SPEC,
            movie_reviews.SPEC,
            movie_reviews.BAGS,
            reuters.SPEC,
        )
    },
    "SPEC",
)
