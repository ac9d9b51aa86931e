"""A second start of a command compiles nothing; where programs are kept can be chosen."""

import sys

import pytest
from small_run import (
    QUICK_TO_COMPILE,
    environment,
    metrics_without_times,
    one_error_line,
    run,
    training_command,
    write_text_corpus,
)

# Runs a module of the package and counts what JAX found in the folder, and what it did not.
COUNTED = """
import collections, runpy, sys
import jax
counts = collections.Counter()
jax.monitoring.register_event_listener(lambda name, **_: counts.update([name.rpartition("/")[2]]))
try:
    runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
finally:
    print(counts["cache_hits"], counts["cache_misses"], file=sys.stderr)
"""
A_FEW_STEPS = {"train.steps": 3}


def variables(cache_home):
    """Returns an environment whose only cache is the user's own."""
    chosen = environment(flags=QUICK_TO_COMPILE) | {"XDG_CACHE_HOME": str(cache_home)}
    return {name: value for name, value in chosen.items() if "JAX_COMPILATION" not in name}


def counted(arguments, chosen):
    """Runs a command; returns how many programs were found in the cache and how many were not."""
    python, _, module, *rest = arguments
    done = run([python, "-c", COUNTED, module, *rest], chosen)
    hits, misses = map(int, done.stderr.splitlines()[-1].split())
    return hits, misses


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_text_corpus(tmp_path_factory.mktemp("cached") / "corpus")


def test_a_second_start_compiles_nothing(corpus, tmp_path):
    chosen = variables(tmp_path)
    first, second = tmp_path / "first", tmp_path / "second"
    _, misses = counted(training_command(corpus, first, A_FEW_STEPS), chosen)
    assert misses > 3
    hits, again = counted(training_command(corpus, second, A_FEW_STEPS), chosen)
    assert (hits, again) == (misses, 0)
    assert metrics_without_times(first) == metrics_without_times(second)
    folder = tmp_path / "spherical_vae" / "compiled"
    assert folder.stat().st_mode & 0o077 == 0
    assert len(list(folder.glob("*-cache"))) == misses


def test_a_folder_that_cannot_be_written(corpus, tmp_path):
    (tmp_path / "file").write_text("")
    command = training_command(corpus, tmp_path / "run")
    refused = run([*command, f"--compilation_cache={tmp_path / 'file'}"], environment(), expect=2)
    line = one_error_line(refused)
    assert line.startswith("error: compiled programs cannot be kept (")
    assert str(tmp_path / "file") in line
    assert "--compilation_cache=FOLDER, or none" in line
    assert not (tmp_path / "run").exists()


TELL = """
import os, sys
from spherical_vae.system.compilation_cache import keep_compiled_programs
if sys.argv[1] == "late":
    import jax
keep_compiled_programs(sys.argv[2])
import jax
print(jax.config.jax_compilation_cache_dir, jax.config.jax_enable_compilation_cache)
print(jax.config.jax_persistent_cache_min_compile_time_secs)
"""


@pytest.mark.parametrize("when", ["early", "late"])
@pytest.mark.parametrize(
    ("given", "of_jax", "kept"),
    [
        ("", None, "{home}/spherical_vae/compiled True"),
        ("", "{home}/jax", "{home}/jax True"),
        ("{home}/given", "{home}/jax", "{home}/given True"),
        ("none", None, "None False"),
    ],
)
def test_what_is_given_goes_before_what_is_set(tmp_path, when, given, of_jax, kept):
    chosen = variables(tmp_path)
    if of_jax:
        chosen["JAX_COMPILATION_CACHE_DIR"] = of_jax.format(home=tmp_path)
    command = [sys.executable, "-c", TELL, when, given.format(home=tmp_path)]
    told = run(command, chosen).stdout.splitlines()
    assert told[0] == kept.format(home=tmp_path)
    assert (told[1] == "0.0") == (given != "none")


def test_the_users_cache_need_not_be_there(tmp_path):
    (tmp_path / "file").write_text("")
    chosen = variables(tmp_path / "file")
    done = run([sys.executable, "-c", TELL, "early", ""], chosen)
    assert done.stdout.startswith("None True")
    assert done.stderr.startswith("compiled programs cannot be kept (")
    assert done.stderr.endswith(": every start compiles; see --compilation_cache\n")
    assert done.stderr.count("\n") == 1
