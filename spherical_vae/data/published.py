"""Published corpora as TFDS builders: array records, no TensorFlow. Import this module late.

A builder keeps a corpus as it is published; the vocabulary's cap, the length limit and carved
splits are left to `examples.encode`.
"""

import contextlib
import hashlib
import io
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from spherical_vae.data.corpus import FORMAT
from spherical_vae.data.examples import (
    END_MARK,
    UNKNOWN_WORD,
    Block,
    Examples,
    RawCorpus,
    collect,
)
from spherical_vae.data.files import printable
from spherical_vae.data.sources import Archive, CorpusSpec, cache_root, digest_of_files
from spherical_vae.system.errors import UserError
from spherical_vae.system.folder_lock import one_at_a_time, put_in_place, temporary_beside

_RECORDS_AT_ONCE = 4096
_WAITING = "waiting: another process is reading a published corpus"


def read_published(
    spec: CorpusSpec, place: Path, config_data: Any, scratch: Path | None
) -> RawCorpus:
    """Returns a published corpus from its builder, which is prepared first if that is not done.

    `place` is the archive, or a folder with its files; of `config.data` the place of the cache is
    used, and maybe the seed. Entries lie in files in `scratch`, or in memory if it is None.

    Raises:
      UserError: other counts than the published ones, damaged records, or no place to write.
    """
    facts: Any = spec.publication
    assert isinstance(spec.source, Archive)
    registered = spec.source.blob_id if place.is_file() else ""
    files = sorted(place.iterdir()) if place.is_dir() else [place]
    digest = registered or json.dumps(digest_of_files(files), sort_keys=True)
    seed = config_data.seed if facts.by_seed else 0
    key = hashlib.sha256(f"{digest} {seed} {FORMAT}".encode()).hexdigest()
    root = cache_root(config_data)
    tfds.disable_progress_bar()
    with contextlib.ExitStack() as stack:
        if root is None:
            root = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder = root / "tfds" / f"{spec.name}-{key[:16]}"
        # Where results are printed, TFDS tells of a download, and of a folder that is renamed next.
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        try:
            builder = _prepared(_builder_class(spec, place, seed), folder)
            raw = _read_back(builder, scratch)
        except OSError as error:
            raise UserError(
                f"{spec.name} cannot be prepared in {printable(str(folder))}: {error}; "
                "set config.data.cache_dir to a folder that can be written"
            ) from None
        # Records have checksums of their own.
        except RuntimeError as error:
            raise UserError(
                f"the records in {printable(str(folder))} are damaged ({printable(str(error))}): "
                "remove that folder"
            ) from error
    checked = f"git blob id {registered[:12]}" if registered else "digest not registered, counts"
    mean = f"; mean length printed there: {facts.mean_length}" if facts.mean_length else ""
    first = (
        f"source: {printable(place.name)}, {checked} verified; counts as in {facts.counted_in}: "
        f"{_listing(facts.examples)}; {facts.vocabulary:,} words{mean}"
    )
    return replace(raw, history=[first, *raw.history])


def _builder_class(spec: CorpusSpec, place: Path, seed: int) -> Any:
    """Returns the class of the TFDS builder of a corpus, which reads `place`."""
    facts: Any = spec.publication

    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
        name = spec.name
        VERSION = tfds.core.Version("1.0.0")

        def _info(self) -> tfds.core.DatasetInfo:
            vector = tfds.features.Tensor(shape=(None,), dtype=np.int32)
            features: dict[str, Any] = {"tokens": vector}
            if spec.kind == "bags":
                features["counts"] = vector
            if spec.label_names:
                classes = len(spec.label_names)
                features["label"] = tfds.features.ClassLabel(num_classes=classes)
            return tfds.core.DatasetInfo(
                builder=self,
                description=facts.title,
                features=tfds.features.FeaturesDict(features),
                license=facts.license,
                citation=facts.citation,
                metadata=tfds.core.MetadataDict(),
                # The order of the files is kept: carving by seed depends on it.
                disable_shuffling=True,
            )

        def _split_generators(self, dl_manager: Any) -> Mapping[str, Any]:
            scratch = Path(self.data_dir).parents[1]
            raw = spec.read(place, SimpleNamespace(seed=seed), scratch)
            history, splits = list(raw.history), {}
            for key, read in raw.splits.items():
                splits[key] = kept = read.where(read.lengths > 0)
                short = int(np.count_nonzero(kept.lengths < 2))
                history.append(
                    f"{key}: {len(read):,} {raw.unit} read = {len(kept):,} kept + "
                    f"{len(read) - len(kept):,} empty, dropped; {short:,} of those kept have one "
                    "word"
                )
            _check(spec, splits, raw.words)
            self.info.metadata["words"] = list(raw.words)
            self.info.metadata["history"] = history
            return {key: self._generate_examples(part) for key, part in splits.items()}

        def _generate_examples(self, part: Examples) -> Iterator[tuple[int, dict[str, Any]]]:
            return enumerate(_records(part))

    return Builder


def _check(spec: CorpusSpec, splits: Mapping[str, Examples], words: Sequence[str]) -> None:
    """Raises a `UserError` for counts that are not the published ones, with both."""
    facts: Any = spec.publication
    found = {key: len(part) for key, part in splits.items()}
    if found != dict(facts.examples):
        raise UserError(
            f"{spec.name}: the files hold {_listing(found)}, "
            f"expected {_listing(facts.examples)} ({facts.counted_in})"
        )
    size = len(words)
    if spec.kind == "sequences":
        in_train = np.flatnonzero(splits["train"].occurrences(size)).tolist()
        size = len({words[i] for i in in_train} | {UNKNOWN_WORD, END_MARK})
    slack = facts.vocabulary_slack
    if size != facts.vocabulary if slack is None else size > facts.vocabulary + slack:
        raise UserError(
            f"{spec.name}: the files have {size:,} words, expected {facts.vocabulary:,} "
            f"({facts.counted_in})"
        )


def _listing(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{key} {value:,}" for key, value in counts.items())


def _records(part: Examples) -> Iterator[dict[str, Any]]:
    for block in part.blocks():
        ends = np.cumsum(block.lengths)
        columns: dict[str, Any] = {"tokens": np.split(block.ids, ends)[:-1]}
        if block.counts is not None:
            columns["counts"] = np.split(block.counts, ends)[:-1]
        if block.labels is not None:
            columns["label"] = block.labels.tolist()
        for values in zip(*columns.values(), strict=True):
            yield dict(zip(columns, values, strict=True))


def _prepared(builder: Any, folder: Path) -> Any:
    """Returns the prepared builder; a folder of the final name is always complete."""

    def build(data_dir: Path) -> Any:
        return builder(data_dir=str(data_dir), file_format="array_record")

    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = one_at_a_time(folder.parent / "locks" / folder.name[-2:], _WAITING)
        with lock as alone, temporary_beside(folder, alone) as made:
            # Another process may have made it while this one waited.
            if not folder.is_dir():
                build(made).download_and_prepare()
                put_in_place(made, folder)
    return build(folder)


def _read_back(builder: Any, scratch: Path | None) -> RawCorpus:
    """Returns all of a prepared builder, in the order of the published files."""

    def blocks(source: Any) -> Iterator[Block]:
        for begin in range(0, len(source), _RECORDS_AT_ONCE):
            rows = source.__getitems__([*range(len(source))[begin : begin + _RECORDS_AT_ONCE]])
            columns = {key: [row[key] for row in rows] for key in builder.info.features}
            yield Block(
                np.concatenate(columns["tokens"]),
                np.concatenate(columns["counts"]) if "counts" in columns else None,
                np.fromiter(map(len, columns["tokens"]), np.int64),
                np.array(columns["label"], np.int32) if "label" in columns else None,
            )

    splits = {
        key: collect(blocks(builder.as_data_source(key)), scratch) for key in builder.info.splits
    }
    metadata = builder.info.metadata
    return RawCorpus(splits, list(metadata["words"]), history=list(metadata["history"]))
