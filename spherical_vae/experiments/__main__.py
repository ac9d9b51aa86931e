"""`python -m spherical_vae.experiments NAME`: a table or figure, or `list`, `report`."""

import importlib.util

from spherical_vae.config.command_line import CommandFlags
from spherical_vae.experiments import catalogue
from spherical_vae.experiments.laboratory.scales import SCALES, SEEDS
from spherical_vae.system.errors import UserError
from spherical_vae.system.names import require_name
from spherical_vae.system.paths import expanded


def _check_name(given: str) -> None:
    allowed = (*catalogue.NAMES, "all", "list", "report")
    if not given:
        raise UserError(f"the first argument must be one of {', '.join(allowed)}")
    require_name("experiment", given, allowed)


flags = CommandFlags(__name__, __doc__)
NAME = flags.define_first_argument("name", _check_name)
SCALE = flags.DEFINE_enum("scale", "smoke", SCALES, "smoke: seconds, on a tiny generated corpus")
SEED_COUNT = flags.DEFINE_integer(
    "seeds", None, "runs of each row, seeds from 0; default: as the scale has it", lower_bound=1
)
WORKDIR = flags.DEFINE_string("workdir", "runs/experiments", "where the runs live")
MANUAL_DIR = flags.DEFINE_string("manual_dir", "", "folder with the files of published corpora")
RESULTS = flags.DEFINE_string(
    "results", None, "where NAME.json goes; default: results, at smoke scale WORKDIR/smoke"
)
TRAIN = flags.DEFINE_bool(
    "train", True, "--notrain: collect what has been trained or another record has; train nothing"
)
ONLY = flags.DEFINE_string(
    "only",
    "",
    "only rows whose name contains this text",
)
SWEEPS = flags.DEFINE_bool(
    "sweeps", None, "trains missing runs together where they can be; default: on accelerators only"
)


@flags.command
def main() -> None:
    """Runs an experiment, or lists or reports them all."""
    chosen = NAME.value
    if chosen != "list" and importlib.util.find_spec("matplotlib") is None:
        raise UserError(
            f"{chosen}: figures are drawn by matplotlib, which is not here: pip install -e "
            '".[experiments]"'
        )
    smoke = SCALE.value == "smoke" and chosen not in ("list", "report")
    workdir = expanded(WORKDIR.value)
    results = expanded(RESULTS.value or (workdir / "smoke" if smoke else "results"))
    if chosen == "list":
        from spherical_vae.experiments.listing import listing

        print(listing(SCALE.value, SEED_COUNT.value, results))
        return
    if chosen == "report":
        from spherical_vae.experiments.rendering.report import write_report

        for path in write_report(results):
            print(path)
        return
    # Imported late: a wrong name is reported before JAX has loaded.
    from spherical_vae.experiments.known_runs import known_runs
    from spherical_vae.experiments.laboratory.runs import Laboratory
    from spherical_vae.experiments.records import keep, make_record

    for name in catalogue.NAMES if chosen == "all" else (chosen,):
        laboratory = Laboratory(
            workdir,
            SCALE.value,
            SEED_COUNT.value or SEEDS[SCALE.value],
            manual_dir=MANUAL_DIR.value,
            training=TRAIN.value,
            only=ONLY.value,
            sweeps=SWEEPS.value,
            # What may be trained is trained, whatever a record says.
            known=None if TRAIN.value else known_runs(results, workdir, name, SCALE.value),
        )
        for path in keep(make_record(name, laboratory), results):
            print(path)


if __name__ == "__main__":
    main.run()
