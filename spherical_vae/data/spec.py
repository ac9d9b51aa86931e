"""The description of a corpus, from which everything else that is known of it derives."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spherical_vae.data.corpus import Kind
from spherical_vae.data.examples import RawCorpus
from spherical_vae.data.sources import Package, Source

# Takes the place that `Source.find` returns, `config.data`, and a folder for scratch files or None.
Reader = Callable[[Path | None, Any, Path | None], RawCorpus]


@dataclass(frozen=True)
class Publication:
    """Facts of a published corpus, checked when its files are read; it is kept as a TFDS builder.

    Attributes:
      title: one sentence.
      examples: expected by split, before anything is carved.
      vocabulary: number of words expected; of sentences those of train, unknown word and end mark
        included.
      vocabulary_slack: None if there are exactly so many words, else how many more there may be.
      mean_length: words an example as the paper prints it; for the report.
      by_seed: whether the test split is sampled from the files by the data seed.
      license: terms of the text.
      citation: BibTeX.
    """

    title: str
    examples: Mapping[str, int]
    vocabulary: int
    license: str
    citation: str
    vocabulary_slack: int | None = None
    mean_length: str = ""
    by_seed: bool = False


@dataclass(frozen=True)
class CorpusSpec:
    """A corpus: where it comes from, how it is read, and what it may be asked for.

    Attributes:
      name: value of `config.data.name`.
      description: a few words, for `python -m spherical_vae.data list`.
      kind: whether the order of words is known.
      source: where its files come from.
      read: reads the files; gets nothing of `config.data` but the seed if there is a `publication`.
      label_names: of the labels, from 0; `label_classes` is 0 or their number. None for files of
        one's own, which may have any number.
      undivided: whether it comes as a whole, from which valid and test are carved.
      settings: keys of `config.data` whose usual values differ from the base configuration's.
      tokenize: splits a text as the corpus was split; by default at white space.
      publication: facts to check, for published archives.
    """

    name: str
    description: str
    kind: Kind
    source: Source
    read: Reader
    label_names: tuple[str, ...] | None = ()
    undivided: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)
    tokenize: Callable[[str], list[str]] = str.split
    publication: Publication | None = None

    def __post_init__(self) -> None:
        # Folders of prepared corpora are NAME-SETTINGS-SOURCES.
        if not self.name.isidentifier():
            raise ValueError(f"{self.name!r} given, allowed: a name of letters, digits and _")

    def missing(self, config_data: Any) -> str | None:
        """Returns in one line what to bring or install, or None if everything is here."""
        builder = Package(("tensorflow_datasets",), extra="corpora") if self.publication else None
        return (builder and builder.missing(config_data)) or self.source.missing(config_data)
