"""Penn Treebank sentences in Mikolov's preprocessing."""

from spherical_vae.data.corpora.text import read_text
from spherical_vae.data.sources import Archive, CorpusSpec, Publication

_REPOSITORY = "github.com/jiacheng-xu/vmf_vae_nlp"


def authors_archive(name: str, blob_id: str) -> Archive:
    """Returns an archive in the repository of the authors of the paper."""
    url = f"https://{_REPOSITORY}/raw/master/data/{name}"
    return Archive(name, f"fetch data/{name} of {_REPOSITORY}", blob_id, url)


SPEC = CorpusSpec(
    name="ptb",
    description="Penn Treebank sentences",
    kind="sequences",
    source=authors_archive("ptb.zip", "635ab9888e67dbb85829cb5b07ef6fc79b537b45"),
    read=read_text,
    settings={"vocabulary_size": 10_000, "max_length": 100},
    publication=Publication(
        title="Penn Treebank sentences in Mikolov's preprocessing.",
        examples={"train": 42_068, "valid": 3_370, "test": 3_761},
        vocabulary=10_000,
        mean_length="21.1",
        license="Wall Street Journal text, licensed by the Linguistic Data Consortium (LDC99T42)",
        citation="""@article{marcus1993building,
  title={Building a Large Annotated Corpus of English: The Penn Treebank},
  author={Marcus, Mitchell P. and Santorini, Beatrice and Marcinkiewicz, Mary Ann},
  journal={Computational Linguistics}, volume={19}, number={2}, year={1993}}""",
    ),
)
