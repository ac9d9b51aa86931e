"""TFDS builders of published corpora: array records, no TensorFlow. Import this module late.

A builder keeps a corpus as it is published; the vocabulary's cap, the length limit and carved
splits are left to `encoding.py`.
"""

import contextlib
import hashlib
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from spherical_vae.data.cache import WAITING
from spherical_vae.data.encoding import END_MARK, UNKNOWN_WORD
from spherical_vae.data.examples import Block, Examples, ExamplesWriter, RawCorpus
from spherical_vae.data.files import printable
from spherical_vae.data.sources import Archive, cache_root, digest_of_files
from spherical_vae.data.spec import CorpusSpec, Publication
from spherical_vae.data.store import FORMAT
from spherical_vae.system.errors import UserError
from spherical_vae.system.folder_lock import one_at_a_time, temporary_beside

_RECORDS_AT_ONCE = 4096


class PublishedCorpus(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Builder of the corpus `spec`; see `builder_class`."""

    VERSION = tfds.core.Version("1.0.0")
    spec: ClassVar[CorpusSpec]
    facts: ClassVar[Publication]
    archive: ClassVar[Archive]

    def __init__(self, *, source: str = "", split_seed: int = 0, scratch: str = "", **kwargs: Any):
        self._source = source
        self._scratch = scratch
        self._split_seed = split_seed
        super().__init__(**kwargs)

    @property
    def MANUAL_DOWNLOAD_INSTRUCTIONS(self) -> str | None:
        """As TFDS wants it."""
        return None if self._source else f"{self.archive.hint} and put it into manual_dir"

    def _info(self) -> tfds.core.DatasetInfo:
        vector = tfds.features.Tensor(shape=(None,), dtype=np.int32)
        features: dict[str, Any] = {"tokens": vector}
        if self.spec.kind == "bags":
            features["counts"] = vector
        if self.spec.label_names:
            classes = len(self.spec.label_names)
            features["label"] = tfds.features.ClassLabel(num_classes=classes)
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.facts.title,
            features=tfds.features.FeaturesDict(features),
            license=self.facts.license,
            citation=self.facts.citation,
            metadata=tfds.core.MetadataDict(),
            # The order of the files is kept, so that carving by seed means what it always meant.
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> Mapping[str, Any]:
        source = Path(self._source or dl_manager.manual_dir / self.archive.name)
        settings = SimpleNamespace(seed=self._split_seed)
        raw = self.spec.read(source, settings, Path(self._scratch or tempfile.gettempdir()))
        history, splits = list(raw.history), {}
        for key, read in raw.splits.items():
            splits[key] = kept = read.where(read.lengths > 0)
            short = int(np.count_nonzero(kept.lengths < 2))
            history.append(
                f"{key}: {len(read):,} {raw.unit} read = {len(kept):,} kept + "
                f"{len(read) - len(kept):,} empty, dropped; {short:,} of those kept have one word"
            )
        self._check(splits, raw.words)
        self.info.metadata["words"] = list(raw.words)
        self.info.metadata["history"] = history
        return {key: self._generate_examples(part) for key, part in splits.items()}

    def _check(self, splits: Mapping[str, Examples], words: Sequence[str]) -> None:
        """Raises a `UserError` for counts that are not those of table 2, with both."""
        name, facts = self.spec.name, self.facts
        found = {key: len(part) for key, part in splits.items()}
        if found != dict(facts.examples):
            raise UserError(
                f"{name}: the files hold {_listing(found)}, "
                f"expected {_listing(facts.examples)} (table 2 of the paper)"
            )
        size = len(words)
        if self.spec.kind == "sequences":
            in_train = np.flatnonzero(splits["train"].occurrences(size)).tolist()
            size = len({words[i] for i in in_train} | {UNKNOWN_WORD, END_MARK})
        slack = facts.vocabulary_slack
        if size != facts.vocabulary if slack is None else size > facts.vocabulary + slack:
            raise UserError(
                f"{name}: the files have {size:,} words, expected {facts.vocabulary:,} "
                "(table 2 of the paper)"
            )

    def _generate_examples(self, part: Examples) -> Iterator[tuple[int, dict[str, Any]]]:
        i = 0
        for block in part.blocks():
            ends = np.cumsum(block.lengths).tolist()
            for j, (begin, end) in enumerate(pairwise([0, *ends])):
                example: dict[str, Any] = {"tokens": block.ids[begin:end]}
                if block.counts is not None:
                    example["counts"] = block.counts[begin:end]
                if block.labels is not None:
                    example["label"] = int(block.labels[j])
                yield i, example
                i += 1


def builder_class(spec: CorpusSpec) -> type[PublishedCorpus]:
    """Returns the TFDS builder of a published corpus, named after it."""
    assert spec.publication is not None
    assert isinstance(spec.source, Archive)

    class Builder(PublishedCorpus, skip_registration=True):  # type: ignore[call-arg]
        name = spec.name

    Builder.spec, Builder.facts, Builder.archive = spec, spec.publication, spec.source
    return Builder


def read_published(
    spec: CorpusSpec, place: Path, config_data: Any, scratch: Path | None
) -> RawCorpus:
    """Returns a published corpus from its builder, which is prepared first if that is not done.

    Args:
      spec: of the corpus.
      place: the archive, or a folder with its files.
      config_data: `config.data`; only the place of the cache and maybe the seed are used.
      scratch: folder of files for entries, removed when the result is; None holds them in memory.

    Raises:
      UserError: other counts than the published ones, damaged records, or no place to write.
    """
    builder = builder_class(spec)
    facts = builder.facts
    tfds.disable_progress_bar()
    registered = builder.archive.blob_id if place.is_file() else ""
    digest = registered or json.dumps(
        digest_of_files(sorted(place.iterdir()) if place.is_dir() else [place]), sort_keys=True
    )
    seed = config_data.seed if facts.by_seed else 0
    key = hashlib.sha256(f"{digest} {seed} {FORMAT}".encode()).hexdigest()
    root = cache_root(config_data)
    with contextlib.ExitStack() as stack:
        if root is None:
            parent = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        else:
            parent = root / "tfds"
        folder = parent / f"{spec.name}-{key[:16]}"
        # Standard output is the result of a command; TFDS writes there, too.
        stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        try:
            raw = _read_back(_prepared(builder, folder, place, seed), scratch)
        except OSError as error:
            raise UserError(
                f"{spec.name} cannot be prepared in {printable(str(folder))}: {error}; "
                "set config.data.cache_dir to a folder that can be written"
            ) from None
    verified = (
        f"git blob id {registered[:12]} verified"
        if registered
        else "digest not registered, counts verified"
    )
    mean = f"; mean length printed there: {facts.mean_length}" if facts.mean_length else ""
    first = (
        f"source: {printable(place.name)}, {verified}; counts as in table 2 of the paper: "
        f"{_listing(facts.examples)}; {facts.vocabulary:,} words{mean}"
    )
    return RawCorpus(raw.splits, raw.words, history=[first, *raw.history])


def _prepared(
    builder: type[PublishedCorpus], folder: Path, place: Path, seed: int
) -> PublishedCorpus:
    """Returns the prepared builder; a folder of the final name is always complete."""

    def build(data_dir: Path, scratch: str = "") -> PublishedCorpus:
        return builder(
            data_dir=str(data_dir),
            file_format="array_record",
            source=str(place),
            split_seed=seed,
            scratch=scratch,
        )

    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with one_at_a_time(folder.parent / "locks" / folder.name[-2:], WAITING):
            # Another process may have made it while this one waited.
            if not folder.is_dir():
                with temporary_beside(folder) as temporary:
                    build(temporary, str(temporary)).download_and_prepare()
                    try:
                        temporary.rename(folder)
                    except OSError:
                        # Without locks another process may have been first.
                        if not folder.is_dir():
                            raise
    return build(folder)


def _read_back(builder: PublishedCorpus, scratch: Path | None) -> RawCorpus:
    """Returns all of a prepared builder, in the order of the published files."""
    splits = {}
    try:
        for key, info in builder.info.splits.items():
            if info.num_examples != builder.facts.examples[key]:
                raise UserError(
                    f"{builder.spec.name}: {key} holds {info.num_examples:,} examples, "
                    f"expected {builder.facts.examples[key]:,}; remove {builder.data_dir}"
                )
            source: Any = builder.as_data_source(key)
            with ExamplesWriter(scratch, f".{key}", builder.spec.kind == "bags") as writer:
                for begin in range(0, len(source), _RECORDS_AT_ONCE):
                    some = range(begin, min(begin + _RECORDS_AT_ONCE, len(source)))
                    writer.append(_block(source.__getitems__(list(some))))
                splits[key] = writer.finish()
    # Records have checksums of their own.
    except RuntimeError as error:
        raise UserError(
            f"the records in {printable(str(builder.data_dir))} are damaged "
            f"({printable(str(error))}): remove that folder"
        ) from error
    metadata: Any = builder.info.metadata
    return RawCorpus(splits, list(metadata["words"]), history=list(metadata["history"]))


def _block(rows: list[dict[str, Any]]) -> Block:
    first = rows[0]
    return Block(
        np.concatenate([row["tokens"] for row in rows]),
        np.concatenate([row["counts"] for row in rows]) if "counts" in first else None,
        np.fromiter((len(row["tokens"]) for row in rows), np.int64, len(rows)),
        np.array([row["label"] for row in rows], np.int32) if "label" in first else None,
    )


def _listing(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{key} {value:,}" for key, value in counts.items())
