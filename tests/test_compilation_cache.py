"""A second start of a command compiles nothing; where programs are kept can be chosen."""

import os
import sys

import jax
import pytest
from small_run import (
    environment,
    metrics_without_times,
    one_error_line,
    run,
    training_command,
    write_text_corpus,
)

from spherical_vae.system.compilation_cache import keep_compiled_programs

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
    chosen = environment() | {"XDG_CACHE_HOME": str(cache_home)}
    of_cache = ("JAX_COMPILATION", "JAX_PERSISTENT")
    return {name: value for name, value in chosen.items() if not name.startswith(of_cache)}


def counted(arguments, chosen):
    """Runs a command; returns how many programs were found in the cache and how many were not."""
    python, _, module, *rest = arguments
    done = run([python, "-c", COUNTED, module, *rest], chosen)
    hits, misses = map(int, done.stderr.splitlines()[-1].split())
    return hits, misses


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_text_corpus(tmp_path_factory.mktemp("cached") / "corpus")


@pytest.mark.thorough
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
import sys
from spherical_vae.system.compilation_cache import keep_compiled_programs
keep_compiled_programs(sys.argv[1])
import jax
print(jax.config.jax_compilation_cache_dir, jax.config.jax_enable_compilation_cache)
print(jax.config.jax_persistent_cache_min_compile_time_secs)
"""
PLACES = [
    ("", None, "{home}/spherical_vae/compiled True"),
    ("", "{home}/jax", "{home}/jax True"),
    ("{home}/given", "{home}/jax", "{home}/given True"),
    ("none", None, "None False"),
    # JAX writes into a bucket by itself.
    ("", "gs://bucket/cache", "gs://bucket/cache True"),
]


def with_place(tmp_path, of_jax):
    place = {"JAX_COMPILATION_CACHE_DIR": of_jax.format(home=tmp_path)} if of_jax else {}
    return variables(tmp_path) | place


@pytest.mark.parametrize(("given", "of_jax", "kept"), PLACES)
def test_what_is_given_goes_before_what_is_set(tmp_path, given, of_jax, kept):
    command = [sys.executable, "-c", TELL, given.format(home=tmp_path)]
    told = run(command, with_place(tmp_path, of_jax)).stdout.splitlines()
    assert told[0] == kept.format(home=tmp_path)
    assert (told[1] == "0.0") == (given != "none")


@pytest.mark.parametrize(("given", "of_jax", "kept"), PLACES)
def test_it_is_the_same_where_jax_was_imported_before(tmp_path, monkeypatch, given, of_jax, kept):
    names = (
        "jax_compilation_cache_dir",
        "jax_enable_compilation_cache",
        "jax_persistent_cache_min_compile_time_secs",
        "jax_persistent_cache_min_entry_size_bytes",
    )
    before = {name: getattr(jax.config, name) for name in names}
    chosen = with_place(tmp_path, of_jax)
    with monkeypatch.context() as patch:
        for name in os.environ.keys() - chosen.keys():
            patch.delenv(name)
        for name, value in chosen.items():
            patch.setenv(name, value)
        jax.config.update(names[0], None)
        jax.config.update(names[2], 1.0)
        try:
            keep_compiled_programs(given.format(home=tmp_path))
            folder, enabled, seconds, _ = (getattr(jax.config, name) for name in names)
        finally:
            for name, value in before.items():
                jax.config.update(name, value)
    assert f"{folder} {enabled}" == kept.format(home=tmp_path)
    assert (seconds == 0) == (given != "none")


def test_the_users_cache_need_not_be_there(tmp_path):
    (tmp_path / "file").write_text("")
    chosen = variables(tmp_path / "file")
    done = run([sys.executable, "-c", TELL, ""], chosen)
    assert done.stdout.startswith("None True")
    assert done.stderr.startswith("compiled programs cannot be kept (")
    assert done.stderr.endswith(": every start compiles; see --compilation_cache\n")
    assert done.stderr.count("\n") == 1
