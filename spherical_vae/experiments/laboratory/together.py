"""Runs that are trained together, as the replicas of sweeps, and kept as if each were alone."""

import contextlib
import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from functools import partial

from spherical_vae.config.sweeps import settings_by_name
from spherical_vae.data.corpus import Corpus
from spherical_vae.experiments.laboratory.address import address
from spherical_vae.experiments.laboratory.gathering import Sweep, gather, read_sweep
from spherical_vae.experiments.laboratory.run import Run
from spherical_vae.experiments.laboratory.runs import Laboratory, Unavailable
from spherical_vae.experiments.laboratory.starts import timed
from spherical_vae.experiments.laboratory.training_record import (
    NO_DEV,
    dev_curve,
    training_record,
)
from spherical_vae.experiments.laboratory.turns import Taken
from spherical_vae.runs.run_directory import RunDirectory, open_run
from spherical_vae.training.trainer import train_replicas


def train_together(laboratory: Laboratory, runs: Sequence[Run]) -> None:
    """Trains together those of the runs that are missing and can be the replicas of a sweep.

    Sweeps that were begun go on first, with all their replicas. What is left, and everything
    where there are no sweeps, is trained by `Laboratory.train`, run by run.

    Raises:
      Interrupted: a signal came; the next call goes on.
    """
    if not laboratory.sweeping:
        return
    missing: dict[str, Run] = {}
    for run in runs:
        directory = laboratory.directory(laboratory.config(run))
        with contextlib.suppress(Taken), laboratory.turns.at(directory):
            # A run that was begun alone goes on alone.
            begun = RunDirectory(directory).checkpoints_path.exists()
            if not begun and not laboratory.is_trained(run):
                missing[address(laboratory.config(run))] = run
    for path in sorted((laboratory.folder / "sweeps").glob("*/config.json")):
        _train_sweep(laboratory, read_sweep(path.parent), missing)
    for sweep in gather([(run.config, laboratory.config(run)) for run in missing.values()]):
        _train_sweep(laboratory, sweep, missing)


def _train_sweep(laboratory: Laboratory, sweep: Sweep, missing: dict[str, Run]) -> None:
    """Trains a sweep if missing runs are among its replicas, and takes them out of these.

    Nothing is done, and `train` says why of each run, where the corpus is missing or another
    process is at one of the runs.
    """
    addresses = [address(replica.config) for replica in sweep.replicas]
    runs = {key: missing.pop(key) for key in addresses if key in missing}
    if not runs:
        return
    with contextlib.ExitStack() as turns:
        try:
            corpus = laboratory.corpus(laboratory.config(next(iter(runs.values()))))
            # Sorted, so that of two processes one gets them all.
            for member in sorted(laboratory.directory(one.config) for one in sweep.replicas):
                turns.enter_context(laboratory.turns.at(member))
        except (Unavailable, Taken):
            return
        # Whoever was at one may just have trained it.
        if not any(laboratory.is_trained(run) for run in runs.values()):
            _train_replicas(laboratory, sweep, addresses, runs, corpus)


def _train_replicas(
    laboratory: Laboratory,
    sweep: Sweep,
    addresses: Sequence[str],
    runs: Mapping[str, Run],
    corpus: Corpus,
) -> None:
    digest = hashlib.sha256(json.dumps(addresses).encode()).hexdigest()[:12]
    path = laboratory.folder / "sweeps" / f"{sweep.config.name}-{digest}"
    print(
        f"training {len(addresses)} replicas\n  in {path}",
        *(f"  {run}" for run in runs.values()),
        sep="\n",
        file=sys.stderr,
    )
    names = settings_by_name(sweep.replicas)
    with open_run(path, sweep.config, names) as opened, timed(path) as starts:
        trained = train_replicas(sweep.config, sweep.replicas, corpus, opened)
    settings = [replica.settings for replica in sweep.replicas]
    for key, one in zip(addresses, trained, strict=True):
        if key not in runs:
            continue
        run, name = runs[key], one.replica.name
        config, command = laboratory.config(run), run.sweep_command(settings)
        curve = dev_curve(RunDirectory(path).replica(name))
        record = training_record(
            command, config, laboratory.scale, corpus.name, one.model, curve, starts
        )
        record["sweep"] = {
            "replicas": len(addresses),
            "replica": name,
            "folder": path.relative_to(laboratory.folder).as_posix(),
        }
        if one.diverged_step is not None:
            record |= {"diverged": f"diverged in step {one.diverged_step}"} | NO_DEV
        elif one.model is None:
            record["diverged"] = "never finite on validation"
        open_run(laboratory.directory(config), config).close()
        laboratory.kept(run, "trained", partial(dict, record))
