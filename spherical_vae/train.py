"""`python -m spherical_vae.train`: trains the configured model, and its baselines if it names any.

Without `--config` it does the main job: small models on the King James verses, compared.
"""

import sys

from absl import flags

from spherical_vae.command_line import define_config_flag, run
from spherical_vae.data import load_corpus
from spherical_vae.run_directory import open_run

CONFIG = define_config_flag()
WORKDIR = flags.DEFINE_string("workdir", None, "where the run lives; default runs/NAME")


def main(argv: list[str]) -> None:
    """Trains, or goes on training, and prints what came out."""
    del argv
    config = CONFIG.value
    workdir = WORKDIR.value or f"runs/{config.name}"
    corpus = load_corpus(config.data)
    with open_run(workdir, config) as directory:
        for line in corpus.report:
            print(line, file=sys.stderr)
        # Imported late: mistakes above are reported, in one line, before JAX has loaded.
        from spherical_vae.comparison import compare
        from spherical_vae.loop import Interrupted, Trainer

        try:
            if config.baselines:
                print(compare(config, corpus, directory))
            else:
                trained = Trainer(config, corpus, directory).train()
                print(
                    f"{trained.last_step} steps, {trained.tokens_seen} tokens; best on dev: step "
                    f"{trained.step}. Next: python -m spherical_vae.evaluate "
                    f"--workdir={workdir}"
                )
        except Interrupted as stop:
            print(stop, file=sys.stderr)
            sys.exit(128 + stop.signal)


if __name__ == "__main__":
    run(main)
