"""A claim is decided by its number and error, and by nothing where runs are missing."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from made import filled, made_run
from scipy.optimize import brentq

from paper.specs import GAUSSIAN, VMF
from paper.verdicts import CLAIMS, SLOWEST_FALL, missing_runs, verdict_table

ROOT = Path(__file__).parents[2]

GROUP = "PTB, standard"


def decided(text, views, setting=GROUP):
    """Returns verdict, number, error, seeds and scale of a claim, None without runs."""
    (claim,) = (one for one in CLAIMS if (one.text, one.setting) == (text, setting))
    row = claim.row(views)
    return row and (row[2], *row[4:])


def pair(vmf, gaussian):
    return [filled(*vmf, group=GROUP), filled(*gaussian, group=GROUP, model=GAUSSIAN)]


def test_without_runs_nothing_is_decided():
    assert not verdict_table({}).rows
    missing = missing_runs({})
    assert all(claim.text in missing and claim.setting in missing for claim in CLAIMS)
    one_sided = {("table3", "full"): pair([made_run(tight=[1.0, 2.0])], [])}
    assert decided("vMF beats the Gaussian", one_sided) is None
    both = {("table3", "full"): pair([made_run(tight=[1.0, 2.0])], [made_run(tight=[2.0, 4.0])])}
    table = verdict_table(both)
    assert {len(row) for row in table.rows} == {len(table.head)}
    assert [row[0] for row in table.rows] == ["vMF beats the Gaussian"]
    assert missing_runs(both) != missing


@pytest.mark.parametrize(
    ("gaussian", "seeds", "verdict"),
    [
        ([2.0, 3.1, 4.0], 2, "**holds**"),
        ([2.0, 3.1, 4.0], 1, "**holds** (one seed)"),
        ([0.0, 0.9, 2.0], 2, "**does not hold**"),
        ([0.0, 4.0, 3.0], 2, "not decided: within two errors"),
    ],
)
def test_a_paired_difference_decides(gaussian, seeds, verdict):
    runs = [[made_run(s, tight=nats) for s in range(seeds)] for nats in ([1.0, 2.0, 3.0], gaussian)]
    found = decided("vMF beats the Gaussian", {("table3", "full"): pair(*runs)})
    assert found[0] == verdict
    assert float(found[1]) == pytest.approx(2 - sum(gaussian) / 3, abs=0.006)
    assert found[3:] == (str(seeds), "full")


@pytest.mark.parametrize(
    ("above", "falls", "verdict"),
    [
        # 20 samples are taken to leave 0.9 of what a bound fell from one sample.
        (1.0, (0.5, 0.0), "**does not hold** (one seed)"),
        (1.0, (2.0, 0.0), "not decided: bounds may still fall"),
        (1.0, (2.0, 2.0), "**does not hold** (one seed)"),
        (-1.0, (2.0, 0.0), "**holds** (one seed)"),
        (-1.0, (0.0, 2.0), "not decided: bounds may still fall"),
    ],
)
def test_bounds_that_may_fall_beyond_the_threshold_decide_nothing(above, falls, verdict):
    gaussian = np.array([90.0, 99.0, 108.0])
    vmf = gaussian + above + [-0.1, 0.0, 0.1]
    runs = [
        [made_run(nats=nats.tolist(), nll_nats=nats.mean() + fall)]
        for nats, fall in zip((vmf, gaussian), falls, strict=True)
    ]
    assert decided("vMF beats the Gaussian", {("table3", "full"): pair(*runs)})[0] == verdict


def test_bounds_of_the_committed_runs_fall_at_least_as_fast_as_is_assumed():
    """ELBO, bound of few samples and of many: c, c few^-a and c many^-a above one number."""
    powers = []
    for path in (ROOT / "results" / "runs").glob("*.json"):
        run = json.loads(path.read_text())
        bounds, tight = run["bounds"].get("test/honest"), run.get("tight")
        if not (bounds and tight) or tight["gain_nats"] <= 0.01:
            continue
        few, many = tight["fewer_importance_samples"], tight["importance_samples"]
        assert few == bounds["importance_samples"]
        share = tight["gain_nats"] / (bounds["nll_nats"] - bounds["iw_nll_nats"])
        powers.append(
            brentq(lambda a: (few**-a - many**-a) / (1 - few**-a) - share, 0.01, 3)  # noqa: B023
        )
    assert len(powers) > 50
    assert min(powers) == pytest.approx(SLOWEST_FALL, abs=0.005)


def test_the_larger_scale_decides_and_one_seed_without_examples_does_not():
    full = pair([made_run(iw_nll_nats=3.0)], [made_run(iw_nll_nats=4.0)])
    cpu = pair([made_run(tight=[1.0, 1.1])], [made_run(tight=[2.0, 2.3])])
    views = {("table3", "full"): full, ("table3", "cpu"): cpu}
    verdict, number, error, _, scale = decided("vMF beats the Gaussian", views)
    assert verdict.startswith("not decided: one seed")
    assert (number, error, scale) == ("-1.00", "-", "full")
    assert decided("vMF beats the Gaussian", {("table3", "cpu"): cpu})[-1] == "cpu"


def test_a_code_without_information_has_collapsed():
    def verdict(levels):
        runs = [made_run(i, mutual_information_nats=v) for i, v in enumerate(levels)]
        return decided("A vMF latent does not collapse", {("table3", "full"): pair(runs, runs)})[0]

    assert verdict([3.8, 3.9, 4.0]) == "**holds**"
    assert verdict([0.01, 0.02, 0.01]) == "**does not hold**"
    assert verdict([0.0, 0.9, 0.1]) == "not decided: within two errors"
    assert verdict([3.8]).startswith("not decided: one seed")
    # It is about the vMF alone.
    views = {("table3", "full"): pair([made_run(s, mutual_information_nats=4.0 + s)
                                       for s in range(2)], [])}  # fmt: skip
    assert decided("A vMF latent does not collapse", views)[0] == "**holds**"


def test_seeds_are_those_that_the_number_is_a_mean_of():
    nats = [1.0, 2.0, 3.0], [2.0, 3.1, 4.0]
    vmf, gaussian = (
        [made_run(seed, tight=values) for seed in seeds]
        for values, seeds in zip(nats, ((0, 1, 2), (2, 3)), strict=True)
    )
    found = decided("vMF beats the Gaussian", {("table3", "full"): pair(vmf, gaussian)})
    assert (found[0], found[3]) == ("**holds** (one seed)", "1")


def test_bounds_with_other_samples_or_examples_or_of_the_elbo_alone_are_not_compared():
    def verdict(vmf, gaussian):
        views = {("table3", "full"): pair([made_run(**vmf)], [made_run(**gaussian)])}
        return decided("vMF beats the Gaussian", views)

    ours, theirs = {"nats": [1.0, 2.0, 3.0]}, {"nats": [2.0, 3.1, 4.0]}
    assert verdict(ours, theirs)[0] == "**holds** (one seed)"
    assert verdict(ours, theirs | {"importance_samples": 500}) is None
    # Without a code the bound is exact, however many samples there would have been.
    assert verdict(ours, theirs | {"importance_samples": 500, "kl_nats": 0.0}) is not None
    assert verdict(ours, {"nats": [2.0, 3.1]}) is None
    assert verdict({"iw_nll_nats": None, "nll_nats": 2.0}, {"iw_nll_nats": None}) is None


@pytest.mark.parametrize("floor", ["rate.free_nats", "rate.target_nats"])
def test_a_kl_that_the_loss_holds_up_does_not_show_that_a_code_is_used(floor):
    code = {"mutual_information_nats": 3.8}
    free, held = (
        made_run(perplexity=level, settings=settings, **code)
        for level, settings in ((100.0, {}), (90.0, {floor: 4.0}))
    )

    def found(*vmf):
        views = {("table3", "full"): [filled(one, group=GROUP) for one in vmf]}
        views["table3", "full"] += [filled(free, group=GROUP, model=GAUSSIAN)]
        return decided("A vMF latent does not collapse", views)

    assert found(held) is None
    assert found(held, free) == found(free) is not None


@pytest.mark.parametrize(
    ("error", "verdict"),
    [(0.02, "**holds** (one seed)"), (2.0, "not decided: within two errors")],
)
def test_one_seed_decides_about_collapse_by_its_error_over_examples(error, verdict):
    run = made_run(mutual_information_nats=3.8, mutual_information_nats_standard_error=error)
    views = {("table3", "full"): pair([run], [run])}
    found = decided("A vMF latent does not collapse", views)
    assert found == (verdict, "+3.80", f"{error:.2f}", "1", "full")


def test_the_order_of_words_is_not_compared_with_a_collapsed_gaussian():
    def views(information, units=50):
        swaps = [
            [SimpleNamespace(probability=1.0, mean_cosine=cosine, standard_error=0.01)]
            for cosine in (0.8, 0.9)
        ]
        vmf, gaussian = (
            [made_run(extras={"swaps": s}, mutual_information_nats=information, active_units=units)]
            for s in swaps
        )
        return {("fig5", "cpu"): pair(vmf, gaussian)}

    assert decided("vMF encodes order", views(2.0))[0] == "**holds** (one seed)"
    for collapsed in (views(0.0), views(2.0, units=1)):
        assert decided("vMF encodes order", collapsed)[0].startswith("not decided: the Gaussian")


@pytest.mark.parametrize(
    ("other", "verdict"), [((103.0, 100.0), "**holds**"), ((100.0, 150.0), "**does not hold**")]
)
def test_a_concentration_transfers_if_it_is_near_the_best_everywhere(other, verdict):
    """Of two settings: the lowest is at 40 in the first."""

    def rows(group, levels):
        return [
            filled(*(made_run(s, perplexity=1.0) for s in ()), group=group, label=label)
            if level is None
            else filled(*(with_perplexity(s, level) for s in range(2)), group=group, label=label)
            for label, level in zip(("kappa=40", "kappa=80"), levels, strict=True)
        ]

    def with_perplexity(seed, level):
        import dataclasses

        run = made_run(seed)
        found = dataclasses.replace(run.bounds["test/honest"], perplexity=level + seed / 100)
        return dataclasses.replace(run, bounds={"test/honest": found})

    first = (100.0, 120.0) if verdict == "**holds**" else (150.0, 100.0)
    views = {("fig6", "full"): [*rows("a", first), *rows("b", other)]}
    (claim,) = (one for one in CLAIMS if one.experiment == "fig6")
    assert claim.row(views)[2] == verdict
    same_end = {("fig6", "full"): [*rows("a", (100.0, 120.0)), *rows("b", (100.0, 150.0))]}
    assert claim.row(same_end)[2].startswith("not decided: the best kappa is the smallest")
    incomplete = {("fig6", "full"): [*rows("a", first), *rows("b", (None, 1.0))]}
    assert claim.row(incomplete) is None


def test_every_claim_compares_vmf_or_what_is_learned():
    assert all(VMF in claim.models or claim.models == (GAUSSIAN, GAUSSIAN) for claim in CLAIMS)
    assert {claim.experiment for claim in CLAIMS} == {
        "table1", "table3", "table4", "fig5", "fig6", "learned_kappa",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("deviation", "verdict"), [(0.01, "**holds** (one seed)"), (0.1, "not decided: within two")]
)
def test_the_error_of_one_seed_has_the_deviation_between_seeds_of_other_models(deviation, verdict):
    one = [made_run(tight=[99.8, 100.0, 100.2])], [made_run(tight=[99.9, 100.1, 100.3])]
    levels = (200.0, 200.0 * (1 + np.sqrt(2) * deviation / 100))
    other = [
        made_run(seed, iw_nll_nats=level, settings={"name": "other"})
        for seed, level in enumerate(levels)
    ]
    table = verdict_table({("table3", "full"): pair(*one), ("table4", "full"): [filled(*other)]})
    (row,) = (row for row in table.rows if row[0] == "vMF beats the Gaussian")
    assert row[2].startswith(verdict)
    assert float(row[4]) == pytest.approx(-0.1, abs=0.006)
    assert float(row[5]) == pytest.approx(np.sqrt(2) * deviation, abs=0.006)
