"""Small corpora, small models and the commands, called or as processes, for tests that need them.

What a command must do is not said here, only how to start it and how to read what it left.
"""

import contextlib
import functools
import io
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pytest
from filelock import FileLock
from quick import QUICK_TO_COMPILE

from spherical_vae import train
from spherical_vae.config.command_line import Command
from spherical_vae.runs.checkpoint import CheckpointStore
from spherical_vae.system.errors import UserError

SUPPORT = Path(__file__).parent
ROOT = SUPPORT.parents[1]
# 13 batches of 16 an epoch, of which the last is not full.
SIZES = {"train": 200, "valid": 40, "test": 40}
STEPS_PER_EPOCH, STEPS = 13, 39

SMALL_MODEL = {
    # A recurrence less to compile than `RECURRENT`.
    "encoder.kind": "bag_of_words",
    "baselines": "()",
    "data.buckets": 1,
    "data.label_classes": 2,
    "label_embedding_size": 3,
    "embedding_size": 16,
    "dropout_rate": 0.3,
    "encoder.hidden_size": 16,
    "decoder.hidden_size": 16,
    "latent.dimension": 4,
    "latent.concentration": 20.0,
    "train.batch_size": 16,
    "train.epochs": 3,
    "train.log_every": 4,
    "train.checkpoint_every": 5,
    "evaluation.batch_size": 16,
    "evaluation.importance_samples": 7,
    "evaluation.chunk": 3,
}
RECURRENT = {"encoder.kind": "lstm"}
PLATEAU_SGD = {
    "optimizer.name": "sgd",
    "optimizer.learning_rate": 5.0,
    "optimizer.schedule": "plateau",
    "optimizer.clip_norm": 0.25,
    "train.nats_per": "token",
}
# Learns fast, so that labels show in what it writes.
LEARNS_LABELS = {
    "train.checkpoint_every": 0,
    "train.log_every": 78,
    "train.evaluate_every": 78,
    "optimizer.learning_rate": 0.02,
    "optimizer.schedule": "constant",
    "train.epochs": 12,
}
SMALL_DOCUMENTS = {
    "encoder.hidden_size": 16,
    "decoder.hidden_size": 16,
    "latent.dimension": 4,
    "latent.concentration": 20.0,
    "data.buckets": 1,
    "train.batch_size": 16,
    "train.steps": 26,
    "evaluation.importance_samples": 7,
    "evaluation.chunk": 3,
}


def write_text_corpus(folder: Path, seed: int = 0) -> Path:
    """Writes labelled sentences: label 2 prefers other words than label 1."""
    generator = random.Random(seed)
    nouns = {1: ["cat", "dog", "sheep"], 2: ["king", "river", "house"]}
    folder.mkdir(parents=True)
    for split, size in SIZES.items():
        lines = []
        for _ in range(size):
            label = generator.randint(1, 2)
            adjectives = generator.choices(["big", "old", "red"], k=generator.randint(0, 2))
            subject, thing = generator.choices(nouns[label], k=2)
            verb = generator.choice(["sees", "loves", "fears"])
            lines.append(" ".join([str(label), "the", *adjectives, subject, verb, "the", thing]))
        (folder / f"{split}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def write_feat_corpus(folder: Path, seed: int = 0) -> Path:
    """Writes documents of 3 to 9 different words out of 30."""
    generator = random.Random(seed)
    folder.mkdir(parents=True)
    words = [f"word{i} {40 - i}" for i in range(1, 31)]
    (folder / "vocab.new").write_text("\n".join(words) + "\n", encoding="utf-8")
    for split, size in SIZES.items():
        lines = []
        for _ in range(size):
            ids = sorted(generator.sample(range(1, 31), generator.randint(3, 9)))
            bag = " ".join(f"{i}:{generator.randint(1, 4)}" for i in ids)
            lines.append(f"{generator.randint(1, 20)} {bag}")
        (folder / f"{split}.feat").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def command(module: str, *arguments: object) -> list[str]:
    """Returns the command line of `python -m spherical_vae.MODULE`."""
    return [sys.executable, "-m", f"spherical_vae.{module}", *map(str, arguments)]


def overrides(*settings: dict[str, object]) -> list[str]:
    """Returns `--config.KEY=VALUE` arguments; later settings win."""
    merged = functools.reduce(dict.__or__, settings)
    return [f"--config.{key}={value}" for key, value in merged.items()]


def training_command(corpus: Path, workdir: Path, *settings: dict[str, object]) -> list[str]:
    """Returns the command that trains the small model on a text corpus."""
    return command(
        "train",
        f"--config={ROOT / 'configs' / 'text.py'}",
        f"--workdir={workdir}",
        *overrides(SMALL_MODEL, {"data.path": corpus}, *settings),
    )


def environment(devices: int = 1, quick: bool = True) -> dict[str, str]:
    """Returns the environment of a command on the CPU.

    Args:
      devices: how many the CPU is taken for.
      quick: whether it compiles as this process does in modules that are not marked `optimized`.
    """
    variables = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
    variables |= QUICK_TO_COMPILE if quick else {}
    if devices > 1:
        variables["XLA_FLAGS"] += f" --xla_force_host_platform_device_count={devices}"
    return variables


class Printed(NamedTuple):
    """What a command printed."""

    stdout: str
    stderr: str


def call(command: Command, *arguments: object) -> Printed:
    """Calls a command in this process, as from Python; returns what it printed."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        command([str(argument) for argument in arguments])
    return Printed(out.getvalue(), err.getvalue())


def refusal(command: Command, *arguments: object) -> str:
    """Returns the message, of one line, of a command that is called and refuses."""
    with pytest.raises(UserError) as caught:
        call(command, *arguments)
    message = str(caught.value)
    assert "\n" not in message
    return message


def _shared(session: Path, name: str) -> tuple[FileLock, Path]:
    """Returns a folder that all workers of the test session share, and its lock."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        session = session.parent
    return FileLock(session / f"{name}.lock"), session / name


@functools.cache
def trained_sentences(session: Path) -> tuple[Path, Path]:
    """Trains on labelled sentences, once for all tests that only look at the run.

    Args:
      session: the folder of this test session, `tmp_path_factory.getbasetemp()`.

    Returns:
      Its working directory and its corpus.
    """
    lock, folder = _shared(session, "trained_sentences")
    with lock:
        if not (folder / "run").exists():
            write_text_corpus(folder / "corpus")
            arguments = training_command(folder / "corpus", folder / "new", LEARNS_LABELS)[3:]
            call(train.main, *arguments)
            (folder / "new").rename(folder / "run")
    return folder / "run", folder / "corpus"


@functools.cache
def trained_documents(session: Path) -> Path:
    """Trains on bags of words, as `trained_sentences` does on sentences; returns the folder."""
    lock, folder = _shared(session, "trained_documents")
    with lock:
        if not (folder / "run").exists():
            write_feat_corpus(folder / "corpus")
            data = {"data.name": "feat", "data.path": folder / "corpus"}
            config = f"--config={ROOT / 'configs' / 'news20.py'}"
            workdir = f"--workdir={folder / 'new'}"
            call(train.main, config, workdir, *overrides(SMALL_DOCUMENTS, data))
            (folder / "new").rename(folder / "run")
    return folder / "run"


def run(arguments: list[str], variables: dict[str, str], expect: int = 0, **options: object):
    """Runs a command to its end and returns it with its output; its status must be `expect`."""
    options = {"cwd": ROOT, "capture_output": True, "text": True, "timeout": 300} | options
    done = subprocess.run(arguments, env=variables, check=False, **options)
    assert done.returncode == expect, f"status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def one_error_line(done) -> str:
    """Returns the error of a refused command, after checking that it is one line and no more."""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    assert done.stdout == ""
    return lines[0]


def metrics_without_times(workdir: Path) -> list[dict]:
    """Returns the metrics of a run, without what may differ from run to run."""
    lines = (workdir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [without_rates(json.loads(line)) for line in lines]


def without_rates(record: dict) -> dict:
    """Returns a record without its seconds, and what is counted by the second."""
    return {
        key: value
        for key, value in record.items()
        if not key.startswith("seconds") and not key.endswith("_per_second")
    }


def checkpoint_contents(workdir: Path) -> dict[int, dict[str, object]]:
    """Returns, by step, the bytes of all arrays and the host state of every checkpoint kept."""
    store = CheckpointStore(workdir / "checkpoints", read_only=True)
    contents = {}
    for step in store.steps():
        metadata = workdir / "checkpoints" / str(step) / "host" / "metadata"
        described = json.loads(metadata.read_text(encoding="utf-8"))["arrays"]
        contents[step] = {"host": store.restore_host(step)}
        for item, shapes in described.items():
            arrays = store.restore(step, item, {name: _abstract(x) for name, x in shapes.items()})
            assert arrays
            contents[step] |= {
                f"{item}.{name}": np.asarray(array).tobytes() for name, array in arrays.items()
            }
    store.close()
    return contents


def _abstract(described: str) -> jax.ShapeDtypeStruct:
    dtype, _, shape = described.partition("[")
    return jax.ShapeDtypeStruct(json.loads(f"[{shape}"), dtype)
