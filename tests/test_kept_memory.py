"""What a process frees it keeps, so that the next step finds its pages there."""

import platform
import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
import numpy as np
from spherical_vae.system.malloc import keep_freed_memory

if sys.argv[1] == "kept":
    assert keep_freed_memory()

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        np.ones(2**25, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
print(faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be asked")
def test_pages_are_touched_for_the_first_time_once():
    found = {}
    for mode in ("kept", "given back"):
        command = [sys.executable, "-c", SCRIPT, mode]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found[mode] = int(done.stdout)
    # Five arrays of 32 MiB; with large pages, of 2 MiB, they are five times sixteen faults.
    assert found["kept"] < 40
    assert found["given back"] >= 80
