"""Yelp 2013 reviews cut at 50 words, each line its stars less one and its words."""

from functools import partial

from spherical_vae.data.corpora.ptb import authors_archive
from spherical_vae.data.corpora.text import read_text
from spherical_vae.data.sources import CorpusSpec, Publication

STARS = ("1 star", "2 stars", "3 stars", "4 stars", "5 stars")

SPEC = CorpusSpec(
    name="yelp",
    description="Yelp 2013 reviews with stars",
    kind="sequences",
    source=authors_archive("yelp.zip", "8a097f3057587ef7af9e4a87e304867139ebdfac"),
    read=partial(read_text, labels=range(len(STARS))),
    label_names=STARS,
    settings={"vocabulary_size": 15_000, "label_classes": 5},
    publication=Publication(
        title="Yelp 2013 reviews cut at 50 words, each line its stars less one and its words.",
        examples={"train": 62_522, "valid": 7_773, "test": 8_671},
        vocabulary=15_000,
        vocabulary_slack=10,
        mean_length="49.5",
        license="Yelp Dataset Terms of Use: academic use only",
        citation="""@inproceedings{xu2016cached,
  title={Cached Long Short-Term Memory Neural Networks for Document-Level Sentiment Classification},
  author={Xu, Jiacheng and Chen, Danlu and Qiu, Xipeng and Huang, Xuanjing},
  booktitle={Proceedings of EMNLP}, year={2016}}""",
    ),
)
