"""Differences have the right values, and errors that are over what varies."""

import numpy as np
import pytest
from made import made_run

from paper.differences import (
    Difference,
    deviation_between_seeds,
    difference,
    tight_difference,
    unpaired,
    weighted,
)
from paper.specs import HONEST
from paper.store import tight_rows

ONE, OTHER = ([3.0, 5.0, 10.0, 2.0], [2.5, 5.5, 8.0, 1.0])
honest = weighted(HONEST)


def tight(run):
    return run.tight


def test_a_difference_is_paired_over_examples():
    found = difference([made_run(tight=ONE)], [made_run(tight=OTHER)], tight)
    gaps = np.subtract(ONE, OTHER)
    assert found.value == pytest.approx(gaps.mean())
    assert found.error == pytest.approx(gaps.std(ddof=1) / 2)
    assert found.paired
    # Were it not paired, it would be larger by far.
    assert found.error < 0.5 * np.hypot(*(np.std(v, ddof=1) / 2 for v in (ONE, OTHER)))


def test_a_difference_is_over_common_seeds_and_so_is_its_error():
    ours = [made_run(0, tight=ONE), made_run(1, tight=OTHER), made_run(5, tight=[9.0] * 4)]
    theirs = [made_run(0, tight=OTHER), made_run(1, tight=OTHER)]
    gaps = np.subtract(ONE, OTHER) / 2
    found = difference(ours, theirs, tight)
    assert found.value == pytest.approx(gaps.mean())
    seeds = (np.mean(ONE) - np.mean(OTHER)) / np.sqrt(2) / np.sqrt(2)
    assert found.error == pytest.approx(np.hypot(gaps.std(ddof=1) / 2, seeds))
    assert found.level == pytest.approx((np.mean(ONE) + 3 * np.mean(OTHER)) / 4)
    assert difference(ours[2:], theirs, tight) is None
    assert difference(ours, [made_run(0)], tight) is None


def test_without_values_per_example_the_error_is_over_seeds():
    ours = [made_run(seed, iw_nll_nats=level) for seed, level in enumerate((5.0, 7.0))]
    theirs = [made_run(seed, iw_nll_nats=level) for seed, level in enumerate((1.0, 2.0))]
    found = difference(ours, theirs, honest)
    assert (found.value, found.paired) == (4.5, False)
    assert found.error == pytest.approx(np.sqrt(2 / 2 + 0.5 / 2))
    assert difference(ours[:1], theirs, honest).error is None
    assert unpaired([], [1.0]) is None


def test_honest_nats_of_all_of_test_are_paired_too():
    found = difference([made_run(nats=ONE)], [made_run(nats=OTHER)], honest)
    assert found.paired
    assert found.value == pytest.approx(np.subtract(ONE, OTHER).mean())


@pytest.mark.parametrize(
    ("value", "error", "decided"), [(2.0, 1.0, True), (-1.9, 1.0, False), (9.0, None, False)]
)
def test_a_difference_is_decided_by_two_errors(value, error, decided):
    assert Difference(value, error).decided == decided


def test_tight_differences_are_of_all_of_test():
    """By simulation: unbiased, with the error that it shows, far below that of the examples alone.

    400 tests of 60 examples, 15 of them measured tightly; few examples have large differences. The
    bounds of the mean are four of its errors wide, those of the error a quarter: it fails for one
    seed in 10,000. Forgotten corrections are told apart.
    """
    generator = np.random.default_rng(0)
    total, size, change = 60, 15, 0.5
    values, errors, alone = [], [], []
    for _ in range(400):
        gap = generator.standard_t(4, total)
        other = generator.normal(100, 30, total)
        closer = generator.normal(change, 0.2, size)
        rows = tight_rows(total, size)
        ours = made_run(nats=list(other + gap), tight=list((other + gap)[rows] - closer))
        theirs = made_run(nats=list(other), tight=list(other[rows]))
        found = tight_difference([ours], [theirs])
        values.append(found.value)
        errors.append(found.error)
        alone.append(difference([ours], [theirs], tight).error)
    spread = np.std(values, ddof=1)
    assert abs(np.mean(values) + change) < 4 * spread / 20
    assert change > 8 * spread / 20  # without the correction the mean would be outside
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(spread, rel=0.25)
    assert np.mean(alone) > 1.6 * spread


def test_tight_differences_of_some_examples_are_theirs_alone():
    """Constant in each half: 1 and 3 by few samples, by many 2 less in the first half."""
    total, size = 40, 20
    rows, other = tight_rows(total, size), np.full(total, 50.0)
    first = np.arange(total) < total / 2
    few, many = np.where(first, 1.0, 3.0), np.where(first, -1.0, 3.0)
    ours = made_run(nats=list(other + few), tight=list((other + many)[rows]))
    theirs = made_run(nats=list(other), tight=list(other[rows]))
    for half, value in ((first, -1.0), (~first, 3.0)):
        found = tight_difference([ours], [theirs], np.flatnonzero(half))
        assert (found.value, found.error) == pytest.approx((value, 0.0))
    both = tight_difference([ours], [theirs])
    assert tight_difference([ours], [theirs], np.arange(total)) == both
    # An error needs two examples with a tight bound, and all of test its nats.
    assert tight_difference([ours], [theirs], rows[:1]) is None
    assert tight_difference([made_run(tight=ONE)], [made_run(tight=OTHER)], np.arange(4)) is None


def test_tight_differences_of_all_examples_are_plain_ones():
    ours, theirs = made_run(nats=OTHER, tight=ONE), made_run(nats=ONE, tight=OTHER)
    found, plain = tight_difference([ours], [theirs]), difference([ours], [theirs], tight)
    assert (found.value, found.error) == pytest.approx((plain.value, plain.error))


@pytest.mark.parametrize("more", [{}, {"nats": [*ONE, 7.0], "importance_samples": 500}])
def test_without_comparable_nats_of_test_tight_differences_are_of_their_examples(more):
    ours, theirs = made_run(nats=[*ONE, 3.0], tight=ONE), made_run(tight=OTHER, **more)
    assert tight_difference([ours], [theirs]) == difference([ours], [theirs], tight)


def test_the_deviation_between_seeds_is_of_all_models_that_have_several():
    levels = {"a": (99.0, 100.0, 101.0), "b": (198.0, 202.0), "c": (5.0,)}
    runs = [
        made_run(seed, iw_nll_nats=level, settings={"name": name})
        for name, found in levels.items()
        for seed, level in enumerate(found)
    ]
    # Variances relative to the squared mean: 1e-4 with two degrees of freedom, 2e-4 with one.
    assert deviation_between_seeds(runs) == pytest.approx((np.sqrt(4e-4 / 3), 2))
    assert deviation_between_seeds(runs[-1:]) is None
