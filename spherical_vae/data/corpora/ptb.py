"""Penn Treebank sentences in Mikolov's preprocessing."""

from spherical_vae.data.corpora.text import read_text
from spherical_vae.data.sources import Archive, CorpusSpec, Publication

# Of the authors of the paper.
REPOSITORY = "github.com/jiacheng-xu/vmf_vae_nlp"

SPEC = CorpusSpec(
    name="ptb",
    description="Penn Treebank sentences",
    kind="sequences",
    source=Archive(
        "ptb.zip",
        hint=f"fetch data/ptb.zip of {REPOSITORY}",
        blob_id="635ab9888e67dbb85829cb5b07ef6fc79b537b45",
        url=f"https://{REPOSITORY}/raw/master/data/ptb.zip",
    ),
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
