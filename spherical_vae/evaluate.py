"""`python -m spherical_vae.evaluate`: the bounds of a trained model on a split, as JSON or text."""

import json
import sys

from spherical_vae.config.command_line import CommandFlags
from spherical_vae.parallel import hosts
from spherical_vae.system.errors import UserError

flags = CommandFlags(__name__, __doc__)
flags.define_hosts()
flags.define_places()
WORKDIR = flags.DEFINE_string("workdir", None, "the run to evaluate", required=True)
SPLIT = flags.DEFINE_enum("split", "test", ["train", "valid", "test"], "what to evaluate on")
SAMPLES = flags.DEFINE_integer(
    "importance_samples", None, "draws of the bound; default: as configured", lower_bound=1
)
PROTOCOL = flags.DEFINE_enum(
    "protocol",
    "honest",
    ["honest", "paper", "averaged"],
    "paper: as the authors' code, no valid bound; averaged: its mean of draws, charged in full",
)
JSON = flags.DEFINE_bool("json", False, "print one JSON object")
SEED = flags.DEFINE_integer("seed", 0, "of the draws", lower_bound=0, upper_bound=2**32 - 1)
REPLICA = flags.DEFINE_string("replica", None, "of a sweep, by its name; default: all of them")


@flags.command
def main() -> None:
    """Evaluates the best checkpoint of a run, or of all replicas of a sweep."""
    if SAMPLES.value is not None and PROTOCOL.value != "honest":
        raise UserError(
            f"--importance_samples={SAMPLES.value}: given with --protocol={PROTOCOL.value}, which "
            "has no importance-weighted bound; allowed: --protocol=honest"
        )
    from spherical_vae.runs.run_directory import load_replicas

    if REPLICA.value is None and load_replicas(WORKDIR.value) is not None:
        _evaluate_sweep()
    else:
        _evaluate_run()


def _evaluate_run() -> None:
    from spherical_vae.evaluation.evaluator import Evaluator
    from spherical_vae.random.keys import Purpose, root_key
    from spherical_vae.runs.trained_model import load_trained
    from spherical_vae.training.sweep_results import finite

    trained = load_trained(WORKDIR.value, REPLICA.value, flags.given_places())
    with trained.config.unlocked():
        if SAMPLES.value is not None:
            trained.config.evaluation.importance_samples = SAMPLES.value
    if hosts.is_first():
        for line in trained.corpus.report:
            print(line, file=sys.stderr)
        print(f"evaluating step {trained.step} of {WORKDIR.value}", file=sys.stderr)
    evaluator = Evaluator(trained.model, trained.config, trained.corpus, trained.mesh)
    result, _ = evaluator.report(
        trained.params,
        SPLIT.value,
        root_key(SEED.value, Purpose.EVALUATE),
        protocol=PROTOCOL.value,
    )
    if not hosts.is_first():
        return
    rate = evaluator.token_samples_per_second
    result |= {"step": trained.step, "seed": SEED.value, "token_samples_per_second": rate}
    if rate is not None:
        print(f"importance-weighted bound: {rate:,.0f} tokens x samples a second", file=sys.stderr)
    if JSON.value:
        print(json.dumps(finite(result), allow_nan=False))
    else:
        for name, value in result.items():
            print(f"{name:34s} {value:.4f}" if isinstance(value, float) else f"{name:34s} {value}")


def _evaluate_sweep() -> None:
    from spherical_vae.runs.trained_model import load_sweep
    from spherical_vae.training.sweep_evaluation import measure

    results = measure(
        load_sweep(WORKDIR.value, flags.given_places()),
        SPLIT.value,
        seed=SEED.value,
        protocol=PROTOCOL.value,
        importance_samples=SAMPLES.value,
    )
    if hosts.is_first():
        print(json.dumps(results.to_json(), allow_nan=False) if JSON.value else results.table())


if __name__ == "__main__":
    main.run()
