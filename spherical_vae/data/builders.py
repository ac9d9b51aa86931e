"""TFDS builders of the paper's corpora: array records, no TensorFlow. Import this module late.

A builder keeps a corpus as it is published; the vocabulary's cap, the length limit and the carving
of dev are left to the loaders in `paper_corpora.py`.
"""

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from spherical_vae.data import paper_facts, paper_files
from spherical_vae.data.bags import Bags, BagsWriter, Block
from spherical_vae.data.paper_facts import Facts
from spherical_vae.data.paper_files import Published
from spherical_vae.data.sentences import Sentences
from spherical_vae.system.errors import UserError

_CHUNK = 4096


class _PaperCorpus(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """What the four builders share."""

    VERSION = tfds.core.Version("1.0.0")
    facts: ClassVar[Facts]
    read: ClassVar[Any]  # a static (Path, seed, folder for scratch files) -> Published
    bags: ClassVar[bool]

    def __init__(self, *, source: str = "", split_seed: int = 0, scratch: str = "", **kwargs: Any):
        self._source = source
        self._scratch = scratch
        self._split_seed = split_seed
        super().__init__(**kwargs)

    @property
    def MANUAL_DOWNLOAD_INSTRUCTIONS(self) -> str | None:
        return None if self._source else f"{self.facts.hint} and put it into manual_dir"

    def _info(self) -> tfds.core.DatasetInfo:
        vector = tfds.features.Tensor(shape=(None,), dtype=np.int32)
        features: dict[str, Any] = {"tokens": vector}
        if self.bags:
            features["counts"] = vector
        if self.facts.label_classes:
            features["label"] = tfds.features.ClassLabel(num_classes=self.facts.label_classes)
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.facts.description,
            features=tfds.features.FeaturesDict(features),
            license=self.facts.license,
            citation=self.facts.citation,
            metadata=tfds.core.MetadataDict(),
            # The order of the files is kept, so that carving by seed means what it always meant.
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> Mapping[str, Any]:
        source = Path(self._source or dl_manager.manual_dir / self.facts.archive)
        scratch = Path(self._scratch or tempfile.gettempdir())
        published = type(self).read(source, self._split_seed, scratch)
        _check(self.facts, published)
        self.info.metadata["words"] = list(published.words)
        self.info.metadata["history"] = list(published.history)
        return {key: self._generate_examples(part) for key, part in published.splits.items()}

    def _generate_examples(self, part: Sentences | Bags) -> Iterator[tuple[int, dict[str, Any]]]:
        rows = _examples(part, self.info.metadata["words"])
        for i, (tokens, counts, label) in enumerate(rows):
            example: dict[str, Any] = {"tokens": tokens}
            if counts is not None:
                example["counts"] = counts
            if label is not None:
                example["label"] = label
            yield i, example


class Ptb(_PaperCorpus):
    """Penn Treebank."""

    facts, read, bags = paper_facts.PTB, staticmethod(paper_files.read_ptb), False


class Yelp(_PaperCorpus):
    """Yelp 2013."""

    facts, read, bags = paper_facts.YELP, staticmethod(paper_files.read_yelp), False


class News20(_PaperCorpus):
    """20 Newsgroups."""

    facts, read, bags = paper_facts.NEWS20, staticmethod(paper_files.read_news20), True


class Rcv1(_PaperCorpus):
    """RCV1-v2."""

    facts, read, bags = paper_facts.RCV1, staticmethod(paper_files.read_rcv1), True


BUILDERS = {"ptb": Ptb, "yelp": Yelp, "news20": News20, "rcv1": Rcv1}


@dataclass(frozen=True)
class Stored:
    """What a prepared builder holds, read back."""

    splits: Mapping[str, Sentences | Bags]
    words: list[str]
    history: list[str]


def read_back(builder: _PaperCorpus, folder: Path | None) -> Stored:
    """Returns all of a prepared builder, in the order of the published files.

    Args:
      builder: prepared.
      folder: where entries of bags are held, in files that are gone when the result is; None holds
        them in memory.

    Raises:
      UserError: other counts than the published ones.
    """
    words = list(builder.info.metadata["words"])
    splits: dict[str, Sentences | Bags] = {}
    for key, info in builder.info.splits.items():
        if info.num_examples != builder.facts.examples[key]:
            raise UserError(
                f"{builder.facts.name}: {key} holds {info.num_examples:,} examples, "
                f"expected {builder.facts.examples[key]:,}; remove {builder.data_dir}"
            )
        rows = _records(builder.as_data_source(key))
        labelled = bool(builder.facts.label_classes)
        if builder.bags:
            with BagsWriter(folder, f".{key}") as writer:
                for some in rows:
                    writer.append(_block(some, labelled))
                splits[key] = writer.finish(scratch=True)
        else:
            sentences = Sentences([], [] if labelled else None)
            for row in chain.from_iterable(rows):
                sentences.words.append([words[i] for i in row["tokens"]])
                if sentences.labels is not None:
                    sentences.labels.append(int(row["label"]))
            splits[key] = sentences
    return Stored(splits, words, list(builder.info.metadata["history"]))


def _records(source: Any) -> Iterator[list[dict[str, Any]]]:
    for begin in range(0, len(source), _CHUNK):
        yield source.__getitems__(list(range(begin, min(begin + _CHUNK, len(source)))))


def _block(rows: list[dict[str, Any]], labelled: bool) -> Block:
    lengths = np.fromiter((len(row["tokens"]) for row in rows), np.int64, len(rows))
    labels = np.fromiter((row["label"] for row in rows), np.int32, len(rows)) if labelled else None
    ids, counts = (np.concatenate([row[part] for row in rows]) for part in ("tokens", "counts"))
    return Block(ids, counts, lengths, labels)


def _check(facts: Facts, published: Published) -> None:
    """Refuses counts that are not those of table 2, naming both."""
    found = {key: len(_sized(part)) for key, part in published.splits.items()}
    if found != dict(facts.examples):
        raise UserError(
            f"{facts.name}: the files hold {_listing(found)}, "
            f"expected {_listing(facts.examples)} (table 2 of the paper)"
        )
    size = published.vocabulary_size
    if size != facts.vocabulary if facts.exact_vocabulary else size > facts.vocabulary + 10:
        raise UserError(
            f"{facts.name}: the files have {size:,} words, expected {facts.vocabulary:,} "
            "(table 2 of the paper)"
        )


def _sized(part: Sentences | Bags) -> Any:
    return part.words if isinstance(part, Sentences) else part


def _listing(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{key} {value:,}" for key, value in counts.items())


def _examples(
    part: Sentences | Bags, words: list[str]
) -> Iterator[tuple[np.ndarray, np.ndarray | None, int | None]]:
    """Yields tokens, counts and label of each example."""
    if isinstance(part, Sentences):
        ids = {word: i for i, word in enumerate(words)}
        for i, sentence in enumerate(part.words):
            label = None if part.labels is None else part.labels[i]
            yield np.array([ids[word] for word in sentence], np.int32), None, label
        return
    for block in part.blocks():
        ends = np.cumsum(block.lengths).tolist()
        for i, (begin, end) in enumerate(pairwise([0, *ends])):
            label = None if block.labels is None else int(block.labels[i])
            yield block.ids[begin:end], block.counts[begin:end], label
