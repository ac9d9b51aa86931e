"""What tables train: rows that share runs, allowed settings, choices made on validation."""

import pytest
from made import made_run
from small_run import ROOT

from paper.catalogue import EXPERIMENTS
from paper.experiment import Trained
from paper.language import RECIPES
from paper.smoke import ROWS
from paper.specs import GAUSSIAN, HONEST, RNNLM, SEEDS, VMF, Place, Row, Spec, choose, family, fill
from paper.store import Store

TRAINED = {name: one for name, one in EXPERIMENTS.items() if isinstance(one, Trained)}


def families(name, scale, tmp_path, only=""):
    place = Place(tmp_path, scale)
    rows = [row for row in TRAINED[name].rows(scale) if only in row.name]
    specs = [s for row in rows for s in [*row.trials(), row.spec(row.alternatives[0])]]
    return {family(place.settings(spec)) for spec in specs}


@pytest.mark.parametrize("scale", SEEDS)
@pytest.mark.parametrize("name", TRAINED)
def test_every_row_is_allowed_and_has_a_name_of_its_own(name, scale, tmp_path):
    rows = TRAINED[name].rows(scale)
    assert len({row.name for row in rows}) == len(rows)
    assert families(name, scale, tmp_path)
    for row in rows:
        assert len({str(alternative) for alternative in row.alternatives}) == len(row.alternatives)


@pytest.mark.parametrize("scale", SEEDS)
@pytest.mark.parametrize("name", ["table6", "fig5"])
def test_nothing_is_trained_that_tables_3_and_5_do_not_train(name, scale, tmp_path):
    theirs = families("table3", scale, tmp_path) | families("table5", scale, tmp_path)
    ours = families(name, scale, tmp_path)
    assert ours <= theirs
    assert len(ours) >= 4


def test_figures_4_and_6_and_table_1_share_their_runs_on_two_cores(tmp_path):
    four, six = (families(name, "cpu", tmp_path, "inputless vMF") for name in ("fig4", "fig6"))
    assert four < six
    assert len(four) == 3
    assert four & families("table1", "cpu", tmp_path)
    assert not four & families("table3", "cpu", tmp_path)  # whose inputless rows are longer


def test_smoke_has_every_row_that_is_named_for_it_and_few_trials():
    for name, kept in ROWS.items():
        rows = TRAINED[name].rows("smoke")
        found = {key for row in rows for key in (row.name, row.group)}
        assert kept <= found
        assert len(rows) <= 8
        assert all(len(row.alternatives) <= 2 for row in rows)
        assert all(row.tight_samples <= 4 for row in rows)


def test_a_recipe_is_one_line_of_a_grid():
    rows = TRAINED["table3"].rows("full")
    assert [row in rows for row in RECIPES] == [True] * len(RECIPES)
    for mode in ("standard", "inputless"):
        kinds = [row.model for row in RECIPES if row.group == f"PTB, {mode}, recipe"]
        assert {RNNLM, GAUSSIAN, VMF} == set(kinds)
    assert {row.overrides.get("evaluation.importance_samples") for row in RECIPES} == {500, None}


def test_an_id_depends_on_what_changes_a_training_alone(tmp_path):
    place = Place(tmp_path, "full", "somewhere")

    def of(**changed):
        spec = Spec("news20", {key.replace("__", "."): value for key, value in changed.items()})
        return family(place.settings(spec))

    same = of()
    assert of(evaluation__importance_samples=7, train__checkpoint_every=3) == same
    assert len({same, of(latent__concentration=71.5), of(train__epochs=7), of(data__seed=1)}) == 4
    assert "somewhere" not in str(place.settings(Spec("news20")))
    assert place.settings(Spec("news20", {}, 0)) == place.settings(Spec("news20", {}, 1))


ROW = Row("a", "g", VMF, "news20", alternatives=({}, {"dropout_rate": 0.4}, {"train.epochs": 3}))


@pytest.mark.parametrize(
    ("perplexities", "best"), [((3.0, 2.0, 4.0), 1), ((None, 9.0, None), 1), ((1.0, 1.0, 2.0), 0)]
)
def test_the_alternative_with_the_lowest_perplexity_on_validation_is_chosen(perplexities, best):
    trials = [made_run(perplexity=value) for value in perplexities]
    assert choose(ROW, trials) == ROW.alternatives[best]
    assert choose(ROW, [*trials[:2], None]) is None


def test_a_view_has_the_runs_that_are_complete():
    """Of the committed store: table 4's 20NG rows, of which two are those of learned_kappa too."""
    store, place = Store(ROOT / "results" / "runs"), Place(ROOT, "full")
    rows = fill(TRAINED["table4"].rows("full"), store, place)
    news = [one for one in rows if one.row.group in {f"20NG, d={d}" for d in (25, 50, 200)}]
    assert [len(one.runs) for one in news] == [5, 5, 3, 3, 3, 3]
    assert all(len(one.trials) == 3 and one.chosen in one.row.alternatives for one in news)
    wanting = [Row("a", "g", VMF, "news20", bounds=(HONEST,), extras=("swaps",))]
    assert not fill(wanting, store, place)[0].runs
    # More samples than were taken: the measure is not complete.
    of_recipe = [one.row for one in rows if one.row.config == "best_news20:vmf"]
    (recipe,) = (row for row in of_recipe if not row.overrides)
    run = store.get(fill([recipe], store, place)[0].runs[0].id)
    assert recipe.is_complete(run)
    more = Row("a", "g", VMF, "news20", {"evaluation.importance_samples": 500}, bounds=(HONEST,))
    assert not more.is_complete(run)
