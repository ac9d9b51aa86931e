"""Tables of text and numbers as Markdown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

NOTHING = "-"


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
      head: of the columns.
      rows: cells as text, one for each column.
      caption: a line above it, with units and what is held beside what.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""

    def markdown(self) -> str:
        """Returns the lines of the table; the first column is text, the others are numbers."""
        lines = [f"{self.caption}\n"] if self.caption else []
        lines.append(_line(self.head))
        lines.append(_line([":---", *["---:"] * (len(self.head) - 1)]))
        lines += [_line(row) for row in self.rows]
        return "\n".join(lines)


def number(value: float | None, digits: int = 1, bold: bool = False) -> str:
    """Returns a number with so many digits after the point, a dash for None."""
    if value is None:
        return NOTHING
    text = f"{value:.{digits}f}"
    return f"**{text}**" if bold else text


def mean_and_range(values: Sequence[float], digits: int = 1, bold: bool = False) -> str:
    """Returns the mean of the seeds' values, and the smallest and largest where there are several.

    Three seeds give no standard deviation worth the name.
    """
    if not values:
        return NOTHING
    mean = number(sum(values) / len(values), digits, bold)
    if len(values) == 1:
        return mean
    return f"{mean} ({number(min(values), digits)} to {number(max(values), digits)})"


def shown_commit(record: Mapping[str, Any]) -> str:
    """Returns the commit that a record was made by, or a dash: the first records have none."""
    return f"`{record['commit']}`" if record.get("commit") else NOTHING


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
