"""`python -m spherical_vae.evaluate`: the bounds of a trained model on a split, as JSON or text."""

import json
from typing import Any

from absl.flags import FlagValues

from spherical_vae.config.command_line import CommandFlags, given_places
from spherical_vae.parallel import hosts
from spherical_vae.system.errors import UserError
from spherical_vae.system.paths import expanded
from spherical_vae.system.standard_error import tell

flags = CommandFlags(__name__, __doc__)
flags.define_hosts()
flags.define_places()
flags.DEFINE_string("workdir", None, "the run to evaluate", required=True)
flags.DEFINE_enum("split", "test", ["train", "valid", "test"], "what to evaluate on")
flags.DEFINE_integer(
    "importance_samples",
    None,
    "of the bound; default: as configured",
    lower_bound=1,
    upper_bound=2**31 - 1,
)
flags.DEFINE_enum(
    "protocol",
    "honest",
    ["honest", "paper", "averaged"],
    "paper: as the authors' code, no valid bound; averaged: its mean of samples, with their KL",
)
flags.DEFINE_bool("json", False, "print one JSON object")
flags.DEFINE_integer("seed", 0, "of the samples", lower_bound=0, upper_bound=2**32 - 1)
flags.DEFINE_string(
    "examples",
    None,
    "FILE.json that gets the nats of each example while they are measured; if it is there, the "
    "evaluation continues from it",
)
flags.DEFINE_string(
    "against", None, "FILE.json of another model; adds the paired difference to it; with --examples"
)
flags.DEFINE_string("replica", None, "of a sweep, by its name; default: all of them")


@flags.command
def main(given: FlagValues) -> dict[str, Any]:
    """Evaluates the best checkpoint of a run, or of all replicas of a sweep.

    Returns:
      What `--json` prints.
    """
    if given.importance_samples is not None and given.protocol != "honest":
        raise UserError(
            f"--importance_samples={given.importance_samples}: given with "
            f"--protocol={given.protocol}, which has no importance-weighted bound; allowed: "
            "--protocol=honest"
        )
    if given.against is not None and given.protocol != "honest":
        raise UserError(f"--against={given.against}: allowed with --protocol=honest only")
    if given.against is not None and given.examples is None:
        raise UserError(f"--against={given.against}: needs --examples=FILE.json of this model")
    # Imported late: mistakes above are reported, in one line, before JAX has loaded.
    from spherical_vae.evaluation.example_file import (
        check_comparable,
        paired_difference,
        read_bounds,
    )
    from spherical_vae.evaluation.measures import (
        about_examples,
        build_evaluator,
        json_values,
        measure_model,
    )
    from spherical_vae.evaluation.sweep import measure_sweep
    from spherical_vae.runs.run_directory import load_run
    from spherical_vae.runs.trained_model import load_all, load_trained

    workdir, split, samples = given.workdir, given.split, given.importance_samples
    options = {"seed": given.seed, "protocol": given.protocol}
    examples = None if given.examples is None else expanded(given.examples)
    against = None if given.against is None else expanded(given.against)
    if against is not None:
        read_bounds(against)  # before an hour is spent
    whole_sweep = given.replica is None and load_run(workdir).replicas is not None
    if examples is not None and whole_sweep:
        raise UserError(f"--examples={examples}: is of one model; choose it by --replica=NAME")
    if examples is not None and hosts.several():
        raise UserError(f"--examples={examples}: is written by one process; several are running")
    if whole_sweep:
        replicas = load_all(workdir, given_places(given))
        results = measure_sweep(replicas, split, importance_samples=samples, **options)
        found = results.to_json()
        if hosts.is_first():
            print(json.dumps(found, allow_nan=False) if given.json else results.table())
        return found
    trained = load_trained(workdir, given.replica, given_places(given))
    if hosts.is_first():
        for line in trained.corpus.report:
            tell(line)
        tell(f"evaluating step {trained.step} of {workdir}")
    evaluator = build_evaluator(trained, samples)
    if examples is not None and against is not None:
        about = about_examples(evaluator, trained, split, given.seed, given.protocol)
        check_comparable(examples, about, against, read_bounds(against)[0])
    result, _ = measure_model(evaluator, trained, split, examples=examples, **options)
    if examples is not None and against is not None:
        mean, error = paired_difference(examples, against)
        result |= json_values({"nats_above_other": mean, "standard_error": error})
    rate = evaluator.token_samples_per_second
    result["token_samples_per_second"] = rate
    if not hosts.is_first():
        return result
    if rate is not None:
        tell(f"importance-weighted bound: {rate:,.0f} tokens x samples a second")
    if given.json:
        print(json.dumps(result, allow_nan=False))
        return result
    width = max(map(len, result))
    for name, value in result.items():
        shown = f"{value:.4f}" if isinstance(value, float) else value
        print(f"{name:{width}s} {shown}")
    return result


if __name__ == "__main__":
    main.run()
