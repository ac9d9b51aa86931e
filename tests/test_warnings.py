"""Which warnings fail a test: those that our own modules bring about, and no dependency's."""

import os
import re
import subprocess
import sys
from pathlib import Path

PYPROJECT = Path(__file__).parent.parent / "pyproject.toml"
FILES = {
    "dependency.py": """
import warnings
for category in (DeprecationWarning, FutureWarning, UserWarning):
    warnings.warn("something will change", category)
def old_function():
    warnings.warn("old_function will be removed", DeprecationWarning, stacklevel=2)
""",
    "another_dependency.py": "import dependency\ndependency.old_function()",
    "spherical_vae/part.py": "import dependency\ndef call(): dependency.old_function()",
    "test_it.py": """
import warnings
import dependency
import spherical_vae.part
def test_dependency_of_a_dependency_passes():
    import another_dependency
def test_our_test_fails():
    dependency.old_function()
def test_our_warning_fails():
    warnings.warn("ours")
def test_our_module_fails():
    spherical_vae.part.call()
""",
}


def test_which_warnings_fail(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    command = [sys.executable, "-m", "pytest", "-c", PYPROJECT, f"--rootdir={tmp_path}"]
    # Not the package that is here.
    command += ["-o", f"pythonpath={tmp_path}"]
    done = subprocess.run(
        [*command, "-n", "0", "-p", "no:cacheprovider", "-rA", "-q", "test_it.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    ended = re.findall(r"(?m)^(PASSED|FAILED) \S+::test_\w+_(passes|fails)", done.stdout)
    assert sorted(ended) == [("FAILED", "fails")] * 3 + [("PASSED", "passes")], done.stdout
