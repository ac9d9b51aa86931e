"""`python -m spherical_vae.experiments NAME`: a table or figure, or `list`, `report`."""

import importlib.util
import sys
from pathlib import Path

from absl import flags

from spherical_vae.command_line import run
from spherical_vae.errors import UserError
from spherical_vae.experiments import catalogue
from spherical_vae.experiments.laboratory.scales import SCALES, SEEDS
from spherical_vae.names import require_name

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

_name = ""


def main(argv: list[str]) -> None:
    """Runs an experiment, or lists or reports them all."""
    del argv
    if _name != "list" and importlib.util.find_spec("matplotlib") is None:
        raise UserError(
            f"{_name}: figures are drawn by matplotlib, which is not here: pip install -e "
            '".[experiments]"'
        )
    smoke = SCALE.value == "smoke" and _name not in ("list", "report")
    results = Path(RESULTS.value or (f"{WORKDIR.value}/smoke" if smoke else "results"))
    if _name == "list":
        from spherical_vae.experiments.listing import listing

        print(listing(SCALE.value, SEED_COUNT.value, results))
        return
    if _name == "report":
        from spherical_vae.experiments.rendering.report import write_report

        for path in write_report(results):
            print(path)
        return
    # Imported late: a wrong name is reported before JAX has loaded.
    from spherical_vae.experiments.known_runs import known_runs
    from spherical_vae.experiments.laboratory.runs import Laboratory
    from spherical_vae.experiments.records import keep, make_record
    from spherical_vae.loop import Interrupted

    workdir = Path(WORKDIR.value)
    for name in catalogue.NAMES if _name == "all" else (_name,):
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
        try:
            record = make_record(name, laboratory)
        except Interrupted as stop:
            print(stop, file=sys.stderr)
            sys.exit(128 + stop.signal)
        for path in keep(record, results):
            print(path)


def _take_name() -> str:
    """Takes NAME, the first argument, out of the command line: all others are flags."""
    allowed = (*catalogue.NAMES, "all", "list", "report")
    given = sys.argv[1] if len(sys.argv) > 1 else ""
    if given.lstrip("-").startswith("help"):
        return ""
    if not given or given.startswith("-"):
        raise UserError(f"the first argument must be one of {', '.join(allowed)}")
    require_name("experiment", given, allowed)
    return sys.argv.pop(1)


if __name__ == "__main__":
    try:
        _name = _take_name()
    except UserError as error:
        print("error:", error, file=sys.stderr)
        sys.exit(2)
    run(main)
