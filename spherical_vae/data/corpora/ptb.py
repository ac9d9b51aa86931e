"""Penn Treebank sentences in Mikolov's preprocessing."""

from pathlib import Path
from typing import Any

import numpy as np

from spherical_vae.data.corpora.text import FILES, read_sentences
from spherical_vae.data.examples import Numbering, RawCorpus
from spherical_vae.data.files import CorpusFiles
from spherical_vae.data.sources import Archive
from spherical_vae.data.spec import CorpusSpec, Publication
from spherical_vae.system.errors import UserError

# Of the authors of the paper.
REPOSITORY = "github.com/jiacheng-xu/vmf_vae_nlp"


def read_published_sentences(
    place: Path | None, scratch: Path | None, label_classes: int = 0
) -> RawCorpus:
    """Reads train.txt, valid.txt and test.txt, with labels from 0 if there are classes.

    Lines without a word are dropped.
    """
    assert place is not None
    files, words = CorpusFiles(place, "train.txt"), Numbering()
    splits, history = {}, []
    for file in FILES:
        if files.find([file]) is None:
            raise UserError(f"{files.shown} has no {file}")
        read = read_sentences(files, file, words, scratch, label_classes, 0)
        splits[file.removesuffix(".txt")] = kept = read.where(read.lengths > 0)
        short = int(np.count_nonzero(kept.lengths < 2))
        reader = f" (the authors' reader drops them: {len(kept) - short:,})"
        history.append(
            f"{file}: {len(read):,} lines read = {len(kept):,} kept + "
            f"{len(read) - len(kept):,} empty, dropped; {short:,} of those kept have one word"
            f"{reader if short and not label_classes else ''}"
        )
    return RawCorpus(splits, list(words), history=history)


def read_ptb(place: Path | None, config_data: Any, scratch: Path | None) -> RawCorpus:
    """Reads a sentence a line."""
    return read_published_sentences(place, scratch)


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
    read=read_ptb,
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
