"""`python -m paper NAME`: trains and shows a table or figure; also `all`, `list` and `report`."""

import importlib.util
import tempfile
from collections.abc import Sequence
from pathlib import Path

from absl.flags import FlagValues

from paper.notes import read_notes
from spherical_vae.config.command_line import CommandFlags
from spherical_vae.system.errors import UserError
from spherical_vae.system.names import nearest_name_hint, require_name
from spherical_vae.system.paths import expanded

NAMES = (*read_notes(), "all", "list", "report")
_DEFAULT_RESULTS = "results"
# Of a store; made before anything is trained, as a folder that cannot be written is told then.
_FOLDERS = ("runs", "data", "tables", "figures")
_NEEDED = {"matplotlib": "figures are drawn", "markdown_it": "the page is written"}


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
    "results",
    None,
    f"folder of the store; default: {_DEFAULT_RESULTS}, at smoke scale WORKDIR/smoke",
)
flags.DEFINE_bool("train", True, "--notrain: measure and show what has been trained")
flags.DEFINE_string("only", "", "only rows whose name contains this text, or is NAME in =NAME")
_FLAGS = ("scale", "seeds", "workdir", "manual_dir", "results", "train", "only")


@flags.command
def main(given: FlagValues) -> None:
    """Completes and shows an experiment, or lists or reports them all."""
    if not given.name:
        raise UserError(f"the first argument must be one of {', '.join(NAMES)}")
    require_name("experiment", given.name, NAMES)
    commands = {"list": show_list, "report": report}
    commands.get(given.name, complete)(given)


def show_list(given: FlagValues) -> None:
    """Prints what each experiment trains, and how much of it is in the store."""
    _require_flags(given, ("scale", "seeds", "workdir", "results"))
    # Imported late, as everywhere here: a wrong name is reported before JAX has loaded.
    from paper.catalogue import listing

    print(listing(given.scale, given.seeds, _results(given)))


def report(given: FlagValues) -> None:
    """Writes RESULTS.md and the page from the store; of another store than ours, into it."""
    _require_flags(given, ("results",))
    _require_packages("report", ("matplotlib", "markdown_it"))
    results = expanded(given.results or _DEFAULT_RESULTS)
    if not any(any(results.glob(f"{part}/*.json")) for part in ("runs", "data")):
        raise UserError(f"--results={results}: no store is here (runs/*.json, data/*.json)")
    from paper.report import write_report

    ours = results.resolve() == Path(_DEFAULT_RESULTS).resolve()
    _show(write_report(results, Path() / "RESULTS.md" if ours else results / "RESULTS.md"))


def complete(given: FlagValues) -> None:
    """Trains, measures and shows one experiment, or all."""
    chosen = given.name
    _require_packages(chosen, ("matplotlib",))
    from paper.catalogue import EXPERIMENTS
    from paper.experiment import Computed
    from paper.report import sections, views_of, write_sections
    from paper.runner import Runner
    from paper.specs import SEEDS, Place
    from paper.store import Store

    names = tuple(EXPERIMENTS) if chosen == "all" else (chosen,)
    experiments = [EXPERIMENTS[name] for name in names]
    if all(isinstance(one, Computed) for one in experiments):
        _require_flags(given, ("scale", "workdir", "manual_dir", "results"))
    workdir, results = expanded(given.workdir), _results(given)
    place = Place(workdir, given.scale, given.manual_dir)
    grids = {
        one.name: one.rows(place.scale) for one in experiments if not isinstance(one, Computed)
    }
    known = [row.name for rows in grids.values() for row in rows]
    if given.only and not any(is_chosen(name, given.only) for name in known):
        near = nearest_name_hint(given.only.removeprefix("="), known)
        raise UserError(
            f"--only={given.only}: no row has it in its name{near}; {len(known)} rows of "
            f"{chosen}: {'; '.join(known)}"
        )
    _make_writable("--workdir", workdir, ())
    _make_writable("--results", results, _FOLDERS)
    store = Store(results / "runs")
    # What cannot be read in it is told before anything is trained.
    list(store)
    runner = Runner(place, store, given.train)
    failed = 0
    for one in experiments:
        if isinstance(one, Computed):
            print(one.write(runner, results / "data"))
        else:
            rows = [row for row in grids[one.name] if is_chosen(row.name, given.only)]
            failed += runner.complete(rows, given.seeds or SEEDS[place.scale])
    views = views_of(results, [place], names)
    paths = write_sections(sections(results, views, names), results)
    if not paths:
        raise UserError(f"{chosen}: no row has a run to show; the reasons are above")
    _show(paths)
    if failed and given.train:
        raise UserError(f"{chosen}: {failed} runs could not be made; the reasons are above")


def is_chosen(name: str, only: str) -> bool:
    """Returns whether a row is among those of `--only`; every row is if that is empty."""
    return name == only[1:] if only.startswith("=") else only in name


def _results(given: FlagValues) -> Path:
    """Returns the folder of the store."""
    smoke = given.scale == "smoke"
    return expanded(given.results or (Path(given.workdir) / "smoke" if smoke else _DEFAULT_RESULTS))


def _require_flags(given: FlagValues, read: Sequence[str]) -> None:
    for name in _FLAGS:
        if given[name].present and name not in read:
            allowed = ", ".join(f"--{one}" for one in read)
            raise UserError(f"--{name}: not with {given.name}, allowed: {allowed}")


def _require_packages(chosen: str, packages: Sequence[str]) -> None:
    for name in packages:
        if importlib.util.find_spec(name) is None:
            raise UserError(
                f"{chosen}: {_NEEDED[name]} by {name}, which is not installed: "
                'pip install -e ".[experiments]"'
            )


def _make_writable(flag: str, folder: Path, parts: Sequence[str]) -> None:
    """Makes a folder and its parts.

    Raises:
      UserError: one of them cannot be made, or no file can be written into it.
    """
    for path in (folder, *(folder / part for part in parts)):
        try:
            path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=path):
                pass
        except OSError as error:
            raise UserError(
                f"{flag}={folder}: {path} cannot be written ({error.strerror}), allowed: a folder "
                "that can be made or written"
            ) from error


def _show(paths: Sequence[Path]) -> None:
    for path in paths:
        print(path)


if __name__ == "__main__":
    main.run()
