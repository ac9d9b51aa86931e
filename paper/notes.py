"""Titles and notes of tables and figures, which are text: `notes.md`."""

import re
from pathlib import Path


def read_notes() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Returns title and notes of every table and figure, in the order of the paper."""
    text = Path(__file__).with_name("notes.md").read_text(encoding="utf-8")
    found = {}
    for section in re.split("^## ", text, flags=re.MULTILINE)[1:]:
        head, *notes = section.strip().split("\n\n")
        name, _, title = head.partition(": ")
        found[name] = title, tuple(" ".join(note.split()) for note in notes)
    shared = {name: found.pop(name)[1][0] for name in list(found) if name.isupper()}
    return {
        name: (title, tuple(shared.get(note, note) for note in notes))
        for name, (title, notes) in found.items()
    }
