"""Tokenised sentences of one split, held to a length limit, with what became of every line read."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass

from spherical_vae.system.errors import UserError


@dataclass(frozen=True)
class Sentences:
    """Sentences kept, not yet encoded.

    Attributes:
      words: of each sentence, at least one.
      labels: from 0, of each sentence; None without labels.
    """

    words: list[list[str]]
    labels: list[int] | None

    def take(self, positions: Sequence[int]) -> "Sentences":
        """Returns the sentences at `positions`."""
        labels = None if self.labels is None else [self.labels[i] for i in positions]
        return Sentences([self.words[i] for i in positions], labels)


@dataclass(frozen=True)
class LineCounts:
    """What became of the lines of one file: `read = kept + empty + too_long`."""

    read: int
    kept: int
    empty: int
    too_long: int = 0
    cut: int = 0
    words_cut: int = 0

    def __add__(self, other: "LineCounts") -> "LineCounts":
        return LineCounts(*map(sum, zip(astuple(self), astuple(other), strict=True)))

    def describe(self, unit: str) -> str:
        """Returns one line for a person, `unit` being the plural of what was read."""
        text = f"{self.read:,} {unit} read = {self.kept:,} kept + {self.empty:,} empty, dropped"
        if self.too_long:
            text += f" + {self.too_long:,} too long, dropped"
        if self.cut:
            text += f"; {self.cut:,} of those kept were cut, losing {self.words_cut:,} words"
        return text


def limit_length(
    sentences: Sentences, max_length: int, long_lines: str
) -> tuple[Sentences, LineCounts]:
    """Drops empty sentences, and cuts or drops long ones.

    Args:
      sentences: as read; empty ones allowed.
      max_length: words allowed, at least 1.
      long_lines: `cut` (to the first `max_length` words) or `drop`.

    Returns:
      The sentences kept, and what happened to all of them.

    Raises:
      UserError: a limit below 1, or another rule.
    """
    if max_length < 1:
        raise UserError(f"config.data.max_length is {max_length}: it must be 1 or more")
    if long_lines not in ("cut", "drop"):
        raise UserError(f"config.data.long_lines is {long_lines!r}: it must be cut or drop")
    lengths = [len(words) for words in sentences.words]
    most = max_length if long_lines == "drop" else max(lengths, default=0)
    kept = sentences.take([i for i, length in enumerate(lengths) if 0 < length <= most])
    long = [i for i, words in enumerate(kept.words) if len(words) > max_length]
    words_cut = 0
    for i in long:
        words_cut += len(kept.words[i]) - max_length
        kept.words[i] = kept.words[i][:max_length]
    counts = LineCounts(
        read=len(lengths),
        kept=len(kept.words),
        empty=lengths.count(0),
        too_long=sum(length > most for length in lengths),
        cut=len(long),
        words_cut=words_cut,
    )
    return kept, counts
