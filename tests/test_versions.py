"""The oldest versions that are tested are those that are allowed."""

import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
# Tools that check the code and peers that are measured beside it: no test depends on their version.
NOT_TESTED = {"mypy", "ruff"}


def test_constraints_are_the_lower_bounds():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    declared = [project["dependencies"], *(extras[name] for name in extras if name != "bench")]
    bounds = {}
    for requirement in map(Requirement, (line for lines in declared for line in lines)):
        name = canonicalize_name(requirement.name)
        if name not in {project["name"].replace("_", "-"), *NOT_TESTED}:
            (bound,) = requirement.specifier
            assert bound.operator == ">=", requirement
            bounds[name] = bound.version
    lines = (ROOT / "tests" / "oldest.txt").read_text(encoding="utf-8").splitlines()
    pinned = {}
    for requirement in map(Requirement, (line for line in lines if line and line[0] != "#")):
        (bound,) = requirement.specifier
        assert bound.operator == "==", requirement
        pinned[canonicalize_name(requirement.name)] = bound.version
    assert pinned == bounds
