"""The rooms of the package are on floors, as README.md draws them; imports lead downward alone."""

import ast

from small_run import ROOT

FLOORS = (
    ("train", "evaluate", "generate"),
    ("training",),
    ("evaluation", "generation"),
    ("runs",),
    ("config", "objectives"),
    ("models",),
    ("distributions", "parallel"),
    ("special", "data", "random"),
    ("system",),
)
PACKAGE = ROOT / "spherical_vae"


def imported(path):
    """Returns the modules of the package that a file imports, at its top or later."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_nothing_imports_upward():
    floor_of = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
    assert {p.stem for p in PACKAGE.iterdir() if not p.stem.startswith(("_", "py"))} == set(
        floor_of
    )
    wrong = []
    for path in sorted(PACKAGE.glob("*/**/*.py")):
        room = path.relative_to(PACKAGE).parts[0]
        for module in imported(path):
            first, _, rest = module.partition(".")
            target = rest.split(".")[0]
            if first != PACKAGE.name or target not in floor_of or target == room:
                continue
            if floor_of[target] <= floor_of[room]:
                wrong.append((path.name, module))
    assert not wrong
    drawn = (ROOT / "README.md").read_text(encoding="utf-8")
    places = [drawn.index(f" {' '.join(rooms)}  ") for rooms in FLOORS[1:]]
    assert places == sorted(places)
