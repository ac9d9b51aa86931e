"""`python -m paper NAME`: trains and shows a table or figure; also `all`, `list` and `report`."""

import importlib.util

from absl.flags import FlagValues

from paper.notes import read_notes
from spherical_vae.config.command_line import CommandFlags
from spherical_vae.system.errors import UserError
from spherical_vae.system.names import require_name
from spherical_vae.system.paths import expanded

NAMES = (*read_notes(), "all", "list", "report")


flags = CommandFlags(__name__, __doc__)
flags.define_first_argument("name")
flags.DEFINE_enum(
    "scale", "smoke", ("smoke", "cpu", "full"), "smoke: seconds, on a tiny generated corpus"
)
flags.DEFINE_integer(
    "seeds", None, "runs of each row, seeds from 0; default: as the scale has it", lower_bound=1
)
flags.DEFINE_string("workdir", "runs/paper", "where working directories of runs lie")
flags.DEFINE_string("manual_dir", "", "folder with the files of published corpora")
flags.DEFINE_string(
    "results", None, "folder of the store; default: results, at smoke scale WORKDIR/smoke"
)
flags.DEFINE_bool("train", True, "--notrain: measure and show what has been trained")
flags.DEFINE_string("only", "", "only rows whose name contains this text")


@flags.command
def main(given: FlagValues) -> None:
    """Completes and shows an experiment, or lists or reports them all."""
    chosen = given.name
    if not chosen:
        raise UserError(f"the first argument must be one of {', '.join(NAMES)}")
    require_name("experiment", chosen, NAMES)
    if chosen != "list" and importlib.util.find_spec("matplotlib") is None:
        raise UserError(
            f"{chosen}: figures are drawn by matplotlib, which is not installed: "
            'pip install -e ".[experiments]"'
        )
    smoke = given.scale == "smoke" and chosen not in ("list", "report")
    workdir = expanded(given.workdir)
    results = expanded(given.results or (workdir / "smoke" if smoke else "results"))
    # Imported late: a wrong name is reported before JAX has loaded.
    if chosen == "list":
        from paper.catalogue import listing

        print(listing(given.scale, given.seeds, results))
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

        place = Place(workdir, given.scale, given.manual_dir)
        runner = Runner(place, Store(results / "runs"), given.train)
        names = tuple(EXPERIMENTS) if chosen == "all" else (chosen,)
        for name in names:
            experiment = EXPERIMENTS[name]
            if isinstance(experiment, Computed):
                print(experiment.write(runner, results / "data"))
            else:
                rows = [row for row in experiment.rows(place.scale) if given.only in row.name]
                runner.complete(rows, given.seeds or SEEDS[place.scale])
        views = report.views_of(results, [place], names)
        paths = report.write_sections(report.sections(results, views, names), results)
    for path in paths:
        print(path)


if __name__ == "__main__":
    main.run()
