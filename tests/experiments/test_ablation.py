"""The ablation table: one idea a row, one budget for all, and differences that are paired."""

import math

import numpy as np
import pytest

from spherical_vae.config.validation import flatten
from spherical_vae.experiments import ablation
from spherical_vae.experiments.laboratory.address import address
from spherical_vae.experiments.laboratory.runs import Laboratory
from spherical_vae.experiments.rendering.shown import show

SENTENCES, DOCUMENTS = ablation.PARTS
RECIPE = ablation.RECIPE


@pytest.mark.parametrize("scale", ["cpu", "full"])
def test_a_row_differs_from_the_recipe_by_its_idea_alone(scale, tmp_path):
    laboratory = Laboratory(tmp_path, scale, 1)
    settings = ablation.settings(scale)
    configs = {s.name: laboratory.config(s.run({}, 0)) for s in settings}
    # Also that no name, and no run, is there twice.
    assert len({address(config) for config in configs.values()}) == len(settings)
    changed = {
        (part.corpus, idea.name): set(idea.changed)
        for part in ablation.PARTS
        for idea in part.ideas
    }
    for setting in settings:
        corpus, model, idea = (setting.facts[key] for key in ("corpus", "model", "idea"))
        recipe = flatten(configs[f"{corpus} {model} {RECIPE}"])
        mine = flatten(configs[setting.name])
        differing = {key for key in mine if mine[key] != recipe[key]}
        assert differing == changed.get((corpus, idea), set())


def test_the_models_of_a_part_have_one_budget(tmp_path):
    laboratory = Laboratory(tmp_path, "cpu", 1)
    budgets = {}
    for setting in ablation.settings("cpu"):
        c = laboratory.config(setting.run({}, 0))
        budget = c.data, c.train, c.embedding_size, c.encoder.hidden_size, c.decoder.hidden_size
        budgets.setdefault(setting.facts["corpus"], set()).add(str(budget))
    assert {corpus: len(found) for corpus, found in budgets.items()} == {"PTB": 1, "20NG": 1}


def test_the_language_model_is_not_given_what_it_has_no_use_for():
    """It has no code, and so neither prior nor rate, nor anything that an encoder would tell it."""
    for idea in SENTENCES.ideas:
        of_codes = any(key.startswith(("prior", "rate", "encoder")) for key in idea.changed)
        assert (ablation.RNNLM in idea.models) != of_codes


def row(part, model, idea, *nats, first_seed=0):
    runs = [
        {
            "seed": first_seed + i,
            "validation": {
                "nll_nats": float(np.mean(values)),
                "kl_nats": 1.5,
                "perplexity": 100.0 + i,
                "document_perplexity": 120.0 + i,
                "nll_nats_by_example": values,
            },
            "train_seconds": 1.0,
            "best_step": 2,
            "device": "2 CPU cores",
            "date": "2026-11-27",
            "command": "python",
        }
        for i, values in enumerate(nats)
    ]
    name = f"{part.corpus} {model} {idea}"
    facts = {"corpus": part.corpus, "model": model, "idea": idea}
    return {"name": name, "facts": facts, "runs": runs, "missing": None}


def lines(table):
    return {
        line[0].partition(", ")[2]: dict(zip(table.head, line, strict=True)) for line in table.rows
    }


def test_differences_are_paired_over_examples():
    found = [
        row(SENTENCES, "RNNLM", RECIPE, [90.0, 100.0, 80.0]),
        row(SENTENCES, "vMF", RECIPE, [10.0, 20.0, 30.0]),
        # Above by 1, 3, 2: mean 2, deviation 1.
        row(SENTENCES, "RNNLM", "without tied embeddings", [91.0, 103.0, 82.0]),
        # Below by as much.
        row(SENTENCES, "vMF", "without tied embeddings", [9.0, 17.0, 28.0]),
        row(SENTENCES, "RNNLM", "without state dropout"),
        # Its recipe was not run.
        row(SENTENCES, "Gaussian", "without state dropout", [9.0, 17.0, 28.0]),
        # The other part has a recipe of the same name.
        row(DOCUMENTS, "vMF", RECIPE, [0.0, 0.0, 0.0]),
    ]
    table = lines(ablation.ideas_table(SENTENCES, found))
    error = f"{1 / math.sqrt(3):.2f}"
    assert table[RECIPE]["RNNLM: ELBO nats"] == "90.00"
    assert table[RECIPE]["vMF: ELBO nats"] == "20.00"
    assert table[RECIPE]["Gaussian: ELBO nats"] == "not run"
    untied = table["without tied embeddings"]
    assert untied["RNNLM: ELBO nats"] == f"+2.00 ± {error}"
    assert untied["vMF: ELBO nats"] == f"**-2.00 ± {error}**"
    assert untied["vMF: PPL"] == "100.0"
    assert untied["vMF: KL"] == "1.50"
    assert table["without state dropout"]["RNNLM: ELBO nats"] == "not run"
    assert table["without state dropout"]["Gaussian: ELBO nats"] == "-"
    assert table["without the mixture prior"]["RNNLM: ELBO nats"] == "not applicable"
    assert table["without the mixture prior"]["vMF: ELBO nats"] == "not run"
    documents = lines(ablation.ideas_table(DOCUMENTS, found))
    assert documents[RECIPE]["vMF: PPL, per document"] == "120.0"
    assert documents["with 5 spheres"]["Gaussian: KL"] == "not applicable"


def test_differences_are_over_means_of_the_same_seeds():
    """Seeds 0 and 1 of the recipe, 1 and 2 of the row: only seed 1 is in both."""
    recipe = row(DOCUMENTS, "vMF", RECIPE, [100.0, 200.0], [5.0, 6.0])
    name = "with 5 spheres"
    one = row(DOCUMENTS, "vMF", name, [7.0, 8.0], [300.0, 100.0], first_seed=1)
    table = lines(ablation.ideas_table(DOCUMENTS, [recipe, one]))
    assert table[name]["vMF: ELBO nats"] == "+2.00 ± 0.00"
    # Of two seeds in both, +2 and +2 of the one, -1 and +1 of the other: 0.5 and 1.5 an example.
    two = row(DOCUMENTS, "vMF", name, [102.0, 202.0], [4.0, 7.0])
    table = lines(ablation.ideas_table(DOCUMENTS, [recipe, two]))
    assert table[name]["vMF: ELBO nats"] == "+1.00 ± 0.50"
    apart = row(DOCUMENTS, "vMF", name, [1.0, 2.0], first_seed=5)
    table = lines(ablation.ideas_table(DOCUMENTS, [recipe, apart]))
    assert table[name]["vMF: ELBO nats"] == "-"


def test_what_does_not_help_and_what_would_is_named():
    found = [
        row(DOCUMENTS, "vMF", RECIPE, [10.0, 20.0, 30.0]),
        row(DOCUMENTS, "vMF", "without KL warm-up", [10.0, 20.0, 31.0]),  # by less than two errors
        row(DOCUMENTS, "vMF", "without the mixture prior", [12.0, 22.0, 32.1]),
        row(DOCUMENTS, "vMF", "with the vamp prior", [8.0, 18.0, 28.1]),
        row(DOCUMENTS, "vMF", "with a linear skip from z", [12.0, 22.0, 32.1]),
    ]
    idle, helpful = ablation.remarks({"rows": found})
    assert "without KL warm-up +0.33 ± 0.33" in idle
    assert "mixture" not in idle
    assert "with the vamp prior -1.97 ± 0.03" in helpful
    assert "skip" not in helpful
    shown = show(ablation.EXPERIMENT, {"scale": "cpu", "rows": found})
    # Not run, where they apply.
    assert "20NG, with power spherical" in shown.remarks[-1]
    assert "PTB, full recipe" in shown.remarks[-1]
    assert ablation.remarks({"rows": found[1:]}) == []


@pytest.mark.usefixtures("quick_to_compile")
def test_every_example_of_validation_is_measured_once_and_kept(tmp_path):
    name = f"20NG Gaussian {RECIPE}"
    laboratory = Laboratory(tmp_path, "smoke", 1, only=name)
    (found,) = ablation.collect(laboratory)["rows"]
    (run,) = found["runs"]
    (setting,) = [s for s in ablation.settings("smoke") if s.name == name]
    corpus = laboratory.corpus(laboratory.config(setting.run({}, 0)))
    validation = run["validation"]
    nats = validation["nll_nats_by_example"]
    assert len(nats) == validation["examples"] == len(corpus.splits["valid"])
    assert validation["tokens"] == corpus.splits["valid"].counts.sum()
    assert validation["tokens"] != corpus.splits["test"].counts.sum()
    # Each is rounded by 0.005 at most.
    assert np.mean(nats) == pytest.approx(validation["nll_nats"], abs=0.005)
    expected = math.exp(validation["nll_nats"] * len(nats) / validation["tokens"])
    assert validation["perplexity"] == pytest.approx(expected)
    again = Laboratory(tmp_path, "smoke", 1, only=name, training=False)
    assert ablation.collect(again)["rows"] == [found]
