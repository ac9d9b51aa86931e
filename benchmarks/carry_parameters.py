"""Parameters of a trained model in files that are small enough to be carried, and back into a run.

    python benchmarks/carry_parameters.py pack WORKDIR NAME
    python benchmarks/carry_parameters.py unpack NAME WORKDIR

`pack` takes the best step on validation, of a sweep that of its best replica: NAME.json, and
NAME.npz.0, NAME.npz.1 ... of 15 MiB. `unpack` makes a working directory that can be evaluated,
written from and started from (`--init_from`), with products in float32 and the corpus where the
user's cache has it. A whole state, moments and replicas included, is ten times as large.
"""

import argparse
import io
import json
import math
import zipfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from spherical_vae.config import base_config
from spherical_vae.config.validation import flatten, validate
from spherical_vae.data import load_corpus
from spherical_vae.models.vae import build_vae, init_params
from spherical_vae.runs.checkpoint import CheckpointStore
from spherical_vae.runs.progress import Progress, to_json
from spherical_vae.runs.run_directory import load_run, open_run
from spherical_vae.runs.trained_model import EVALUATED, TrainedModel, load_all, load_trained
from spherical_vae.system.atomic_file import write_atomically
from spherical_vae.system.errors import UserError, exit_on_error
from spherical_vae.training.calls import stack
from spherical_vae.training.optimizer import build_optimizer
from spherical_vae.training.step import init_state
from spherical_vae.training.trainer import STATE

PART_BYTES = 15 * 2**20


def names_and_leaves(params: dict) -> dict[str, np.ndarray]:
    """Returns arrays by the names of their path."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf)
        for path, leaf in leaves
    }


def validation(log: Path) -> list[dict[str, Any]]:
    """Returns the records of validation in a metrics log."""
    records = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    return [record for record in records if record["split"] == "valid"]


def best_model(workdir: Path) -> tuple[TrainedModel, str, list[dict[str, Any]]]:
    """Returns the model with the lowest perplexity on validation, its name and its curve.

    Raises:
      UserError: there is no run, nothing saved, or nothing measured.
    """
    if load_run(workdir).replicas is None:
        return load_trained(workdir), "", validation(workdir / "metrics.jsonl")
    found = []
    for one in load_all(workdir):
        curve = validation(workdir / "replicas" / one.replica.name / "metrics.jsonl")
        if one.model is not None and curve:
            found.append((min(point["perplexity"] for point in curve), one, curve))
    if not found:
        raise UserError(f"{workdir}: no replica was measured on validation")
    _, one, curve = min(found, key=lambda entry: entry[0])
    assert one.model is not None
    return one.model, one.replica.name, curve


def pack(workdir: Path, name: Path) -> list[Path]:
    """Writes the best parameters and what is known of them; returns the files."""
    model, replica, curve = best_model(workdir)
    buffer = io.BytesIO()
    np.savez(buffer, **names_and_leaves(model.params))
    data = buffer.getvalue()
    facts = {
        "replica": replica,
        "step": model.step,
        "tokens_seen": model.tokens_seen,
        "config": flatten(model.config),
        "validation": curve,
        "parts": math.ceil(len(data) / PART_BYTES),
    }
    name.parent.mkdir(parents=True, exist_ok=True)
    files = []
    for part in range(facts["parts"]):
        files.append(Path(f"{name}.npz.{part}"))
        files[-1].write_bytes(data[part * PART_BYTES : (part + 1) * PART_BYTES])
    # Last: where it is, all parts are.
    files.append(Path(f"{name}.json"))
    write_atomically(files[-1], json.dumps(facts, indent=1))
    return files


def unpack(name: Path, workdir: Path, cache_dir: str = "") -> None:
    """Makes a finished run of packed parameters; the optimiser's moments are those of a start.

    Args:
      name: of the files, without their ends.
      workdir: of the run.
      cache_dir: `config.data.cache_dir` of the run.

    Raises:
      UserError: there are no such files, or not with parameters of the model.
    """
    try:
        facts = json.loads(Path(f"{name}.json").read_text(encoding="utf-8"))
        data = b"".join(Path(f"{name}.npz.{part}").read_bytes() for part in range(facts["parts"]))
        arrays = np.load(io.BytesIO(data))
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"{name}: no packed parameters ({error})") from error
    config = base_config()
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in facts["config"].items()}
    config.update_from_flattened_dict(
        values | {"compute.dtype": "float32", "data.cache_dir": cache_dir}
    )
    validate(config)
    corpus = load_corpus(config.data)
    model, optimizer = build_vae(config, len(corpus.vocabulary)), build_optimizer(config.optimizer)
    params = init_params(model, config.seed, corpus.vocabulary.train_counts)
    expected = names_and_leaves(params)
    if {k: v.shape for k, v in expected.items()} != {k: arrays[k].shape for k in arrays}:
        raise UserError(f"{name}: its arrays are not those of the model that its settings describe")
    filled = jax.tree.unflatten(
        jax.tree.structure(params), [jnp.asarray(arrays[k]) for k in expected]
    )
    state = init_state(filled, optimizer, config)._replace(step=jnp.int32(facts["step"]))
    best = min(point["perplexity"] for point in facts["validation"])
    progress = Progress(
        corpus.fingerprint,
        step=facts["step"],
        tokens_seen=facts["tokens_seen"],
        finished=True,
        best=math.log(best),
        best_step=facts["step"],
    )
    with open_run(workdir, config) as run:
        lines = [json.dumps(point) + "\n" for point in facts["validation"]]
        (run.path / "metrics.jsonl").write_text("".join(lines), encoding="utf-8")
        items = jax.tree.map(jnp.asarray, {STATE: stack([state]), EVALUATED: stack([filled])})
        store = CheckpointStore(run.checkpoints_path)
        store.save(facts["step"], items, to_json([progress]))


def main() -> None:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("way", choices=("pack", "unpack"))
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    arguments = parser.parse_args()
    if arguments.way == "unpack":
        unpack(arguments.source, arguments.target)
        return
    for file in pack(arguments.source, arguments.target):
        print(f"{file}: {file.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    exit_on_error(main)
