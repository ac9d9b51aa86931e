"""`python -m spherical_vae.evaluate`: the bounds of a trained model on a split, as JSON or text."""

import json
import sys

from spherical_vae.config.command_line import CommandFlags
from spherical_vae.parallel import hosts
from spherical_vae.system.errors import UserError
from spherical_vae.system.paths import expanded

flags = CommandFlags(__name__, __doc__)
flags.define_hosts()
flags.define_places()
WORKDIR = flags.DEFINE_string("workdir", None, "the run to evaluate", required=True)
SPLIT = flags.DEFINE_enum("split", "test", ["train", "valid", "test"], "what to evaluate on")
SAMPLES = flags.DEFINE_integer(
    "importance_samples", None, "of the bound; default: as configured", lower_bound=1
)
PROTOCOL = flags.DEFINE_enum(
    "protocol",
    "honest",
    ["honest", "paper", "averaged"],
    "paper: as the authors' code, no valid bound; averaged: its mean of samples, with their KL",
)
JSON = flags.DEFINE_bool("json", False, "print one JSON object")
SEED = flags.DEFINE_integer("seed", 0, "of the samples", lower_bound=0, upper_bound=2**32 - 1)
EXAMPLES = flags.DEFINE_string(
    "examples",
    None,
    "FILE.json that gets the nats of each example while they are measured; if it is there, the "
    "evaluation continues from it",
)
AGAINST = flags.DEFINE_string(
    "against", None, "FILE.json of another model; adds the paired difference to it; with --examples"
)
REPLICA = flags.DEFINE_string("replica", None, "of a sweep, by its name; default: all of them")


@flags.command
def main() -> None:
    """Evaluates the best checkpoint of a run, or of all replicas of a sweep."""
    if SAMPLES.value is not None and PROTOCOL.value != "honest":
        raise UserError(
            f"--importance_samples={SAMPLES.value}: given with --protocol={PROTOCOL.value}, which "
            "has no importance-weighted bound; allowed: --protocol=honest"
        )
    if AGAINST.value is not None and PROTOCOL.value != "honest":
        raise UserError(f"--against={AGAINST.value}: allowed with --protocol=honest only")
    if AGAINST.value is not None and EXAMPLES.value is None:
        raise UserError(f"--against={AGAINST.value}: needs --examples=FILE.json of this model")
    # Imported late: mistakes above are reported, in one line, before JAX has loaded.
    from spherical_vae.evaluation.example_file import paired_difference, read_bounds
    from spherical_vae.evaluation.measures import build_evaluator, measure_model
    from spherical_vae.evaluation.sweep import measure_sweep
    from spherical_vae.runs.run_directory import load_replicas
    from spherical_vae.runs.trained_model import load_all, load_trained

    workdir, split, samples = WORKDIR.value, SPLIT.value, SAMPLES.value
    examples = None if EXAMPLES.value is None else expanded(EXAMPLES.value)
    if AGAINST.value is not None:
        read_bounds(expanded(AGAINST.value))  # before an hour is spent
    if examples is not None and REPLICA.value is None and load_replicas(workdir) is not None:
        raise UserError(f"--examples={examples}: is of one model; choose it by --replica=NAME")
    if examples is not None and hosts.several():
        raise UserError(f"--examples={examples}: is written by one process; several are running")
    if REPLICA.value is None and load_replicas(workdir) is not None:
        results = measure_sweep(
            load_all(workdir, flags.given_places()),
            split,
            seed=SEED.value,
            protocol=PROTOCOL.value,
            importance_samples=samples,
        )
        if hosts.is_first():
            as_json = json.dumps(results.to_json(), allow_nan=False) if JSON.value else None
            print(as_json or results.table())
        return
    trained = load_trained(workdir, REPLICA.value, flags.given_places())
    if hosts.is_first():
        for line in trained.corpus.report:
            print(line, file=sys.stderr)
        print(f"evaluating step {trained.step} of {workdir}", file=sys.stderr)
    evaluator = build_evaluator(trained, samples)
    result, _ = measure_model(
        evaluator, trained, split, seed=SEED.value, protocol=PROTOCOL.value, examples=examples
    )
    if examples is not None and AGAINST.value is not None:
        mean, error = paired_difference(examples, expanded(AGAINST.value))
        result |= {"nats_above_other": mean, "standard_error": error}
    if not hosts.is_first():
        return
    rate = evaluator.token_samples_per_second
    result["token_samples_per_second"] = rate
    if rate is not None:
        print(f"importance-weighted bound: {rate:,.0f} tokens x samples a second", file=sys.stderr)
    if JSON.value:
        print(json.dumps(result, allow_nan=False))
        return
    for name, value in result.items():
        print(f"{name:34s} {value:.4f}" if isinstance(value, float) else f"{name:34s} {value}")


if __name__ == "__main__":
    main.run()
