"""`python -m paper NAME`: trains and shows a table or figure; also `all`, `list` and `report`."""

import importlib.util

from paper.notes import read_notes
from spherical_vae.config.command_line import CommandFlags
from spherical_vae.system.errors import UserError
from spherical_vae.system.names import require_name
from spherical_vae.system.paths import expanded

NAMES = (*read_notes(), "all", "list", "report")


def _check_name(given: str) -> None:
    if not given:
        raise UserError(f"the first argument must be one of {', '.join(NAMES)}")
    require_name("experiment", given, NAMES)


flags = CommandFlags(__name__, __doc__)
NAME = flags.define_first_argument("name", _check_name)
SCALE = flags.DEFINE_enum(
    "scale", "smoke", ("smoke", "cpu", "full"), "smoke: seconds, on a tiny generated corpus"
)
SEED_COUNT = flags.DEFINE_integer(
    "seeds", None, "runs of each row, seeds from 0; default: as the scale has it", lower_bound=1
)
WORKDIR = flags.DEFINE_string("workdir", "runs/paper", "where working directories of runs lie")
MANUAL_DIR = flags.DEFINE_string("manual_dir", "", "folder with the files of published corpora")
RESULTS = flags.DEFINE_string(
    "results", None, "folder of the store; default: results, at smoke scale WORKDIR/smoke"
)
TRAIN = flags.DEFINE_bool("train", True, "--notrain: measure and show what has been trained")
ONLY = flags.DEFINE_string("only", "", "only rows whose name contains this text")


@flags.command
def main() -> None:
    """Completes and shows an experiment, or lists or reports them all."""
    chosen = NAME.value
    if chosen != "list" and importlib.util.find_spec("matplotlib") is None:
        raise UserError(
            f"{chosen}: figures are drawn by matplotlib, which is not installed: "
            'pip install -e ".[experiments]"'
        )
    smoke = SCALE.value == "smoke" and chosen not in ("list", "report")
    workdir = expanded(WORKDIR.value)
    results = expanded(RESULTS.value or (workdir / "smoke" if smoke else "results"))
    # Imported late: a wrong name is reported before JAX has loaded.
    if chosen == "list":
        from paper.listing import listing

        print(listing(SCALE.value, SEED_COUNT.value, results))
        return
    from paper import report

    if chosen == "report":
        paths = report.write_report(results)
    else:
        from paper.catalogue import EXPERIMENTS
        from paper.experiment import Computed
        from paper.runner import Runner
        from paper.specs import SEEDS, Place
        from paper.store import Store

        place = Place(workdir, SCALE.value, MANUAL_DIR.value)
        runner = Runner(place, Store(results / "runs"), TRAIN.value)
        names = tuple(EXPERIMENTS) if chosen == "all" else (chosen,)
        for name in names:
            experiment = EXPERIMENTS[name]
            if isinstance(experiment, Computed):
                print(experiment.write(runner, results / "data"))
            else:
                rows = [row for row in experiment.rows(place.scale) if ONLY.value in row.name]
                runner.complete(rows, SEED_COUNT.value or SEEDS[place.scale])
        views = report.views_of(results, [place], names)
        paths = report.write_sections(list(report.sections(results, views, names)), results)
    for path in paths:
        print(path)


if __name__ == "__main__":
    main.run()
