"""`python -m spherical_vae.train`: trains the configured model, and its baselines if there are any.

Without `--config` it does the main job: it trains and compares small models on the King James
verses. With `--sweep` it trains several settings of one model at once.
"""

import json
from typing import Any

from absl.flags import FlagValues

from spherical_vae.config.command_line import CommandFlags, given_keys
from spherical_vae.config.effects import without_effect
from spherical_vae.config.sweeps import build_replicas, parse_sweep, settings_by_name
from spherical_vae.config.validation import flatten
from spherical_vae.data import load_corpus
from spherical_vae.parallel import hosts
from spherical_vae.runs.run_directory import open_run
from spherical_vae.system.atomic_file import write_run_file
from spherical_vae.system.errors import UserError
from spherical_vae.system.standard_error import tell

flags = CommandFlags(__name__, __doc__)
flags.define_config()
flags.define_hosts()
flags.DEFINE_string(
    "workdir", None, "folder of the run; default: runs/NAME, of a sweep runs/NAME-sweep"
)
flags.DEFINE_multi_string(
    "sweep",
    None,
    "trains several settings at once, 'seed=0,1,2;latent.concentration=40,80'; several of these "
    "flags, with the same keys, are settings beside each other",
)
flags.DEFINE_string(
    "init_from", None, "a run: a new one starts from the parameters of its best step on validation"
)


@flags.command
def main(given: FlagValues) -> dict[str, Any] | None:
    """Trains, or continues training, and prints the results.

    Returns:
      The content of `results.json` if replicas or baselines are compared; None for a single model,
      which `spherical_vae.runs.trained_model.load_trained` opens.
    """
    config = given.config
    models = [
        flatten(config) | {"latent.kind": kind} for kind in (config.latent.kind, *config.baselines)
    ]
    replicas = settings = origin = None
    if given.sweep is not None:
        swept = [settings for text in given.sweep for settings in parse_sweep(text)]
        replicas = build_replicas(config, swept)
        settings = settings_by_name(replicas)
        models = [flatten(replica.config) for replica in replicas]
        if hosts.several():
            raise UserError("--sweep: one process trains a sweep; start a single one")
        if config.mesh.model != 1:
            raise UserError(
                f"config.mesh.model: {config.mesh.model} given, allowed: 1 with --sweep"
            )
    elif given.init_from is not None and config.baselines:
        raise UserError(
            f"--init_from: not with config.baselines={config.baselines!r}, allowed: a single "
            "model (--config.baselines=), or a sweep"
        )
    for key in given_keys(given) if hosts.is_first() else ():
        if problem := without_effect(key, models):
            tell(f"config.{problem}")
    workdir = given.workdir
    if workdir is None:
        workdir = f"runs/{config.name}{'-sweep' if replicas else ''}"
    corpus = load_corpus(config.data)
    hosts.require_same("the corpus", str(corpus.fingerprint) if hosts.several() else "")
    if given.init_from is not None:
        from spherical_vae.runs.trained_model import origin_record

        origin = origin_record(given.init_from, workdir, config, corpus)
    with open_run(workdir, config, settings, origin, corpus) as directory:
        for line in corpus.report if hosts.is_first() else ():
            tell(line)
        # Imported late: mistakes above are reported, in one line, before JAX has loaded.
        from spherical_vae.evaluation.sweep import measure_sweep
        from spherical_vae.system.provenance import circumstances, commit
        from spherical_vae.training.comparison import compare
        from spherical_vae.training.trainer import train_model, train_replicas

        commit()  # Files may change during a training; what was imported does not.
        if replicas is not None:
            trained_replicas = train_replicas(config, replicas, corpus, directory)
            results = measure_sweep(trained_replicas, "test", cache=directory)
            summary, result = results.table(), results.to_json() | circumstances()
        elif config.baselines:
            compared = compare(config, corpus, directory)
            summary, result = compared.text(), compared.to_json()
        else:
            trained = train_model(config, corpus, directory)
            result = None
            summary = (
                f"{trained.last_step} steps, {trained.tokens_seen} tokens; best on validation: "
                f"step {trained.step}. Next: python -m spherical_vae.evaluate --workdir={workdir}"
            )
        if hosts.is_first():
            if result is not None:
                as_json = json.dumps(result, indent=2, allow_nan=False)
                write_run_file(directory.results_path, as_json + "\n")
            print(summary)
        return result


if __name__ == "__main__":
    main.run()
