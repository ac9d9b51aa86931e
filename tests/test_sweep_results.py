"""Mean and spread over seeds, held against NumPy; the table; JSON without NaN."""

import json
import math

import numpy as np
import pytest

from spherical_vae.evaluation.sweep import ReplicaResult, SweepResults

NATS = {(0, 10.0): 120.0, (1, 10.0): 124.5, (2, 10.0): 119.5, (0, 40.0): 118.0, (1, 40.0): 121.0}


def result(nats):
    return {
        "nll_nats": nats,
        "reconstruction_nats": nats - 2.0,
        "kl_nats": 2.0,
        "perplexity": math.exp(nats / 25),
        "iw_nll_nats": None,
        "active_units": int(min(nats, 1000.0)) % 7,
        "mutual_information_at_ceiling": False,
        "examples": 40,
        "note": "text",
    }


def replica(seed, concentration, nats):
    settings = {"seed": seed, "latent.concentration": concentration}
    name = f"seed={seed},latent.concentration={concentration:g}"
    # As `evaluate --json` has it: None for a number that is not finite.
    found = nats and {k: None if v == math.inf else v for k, v in result(nats).items()}
    return ReplicaResult(name, settings, None if nats else 12, found)


@pytest.fixture
def results():
    replicas = [replica(*key, nats) for key, nats in NATS.items()]
    return SweepResults("the title", [*replicas, replica(2, 40.0, None)])


def test_mean_and_spread_over_seeds(results):
    ten, forty = results.groups
    assert (ten.settings, ten.seeds, ten.left_out) == (
        {"latent.concentration": 10.0},
        [0, 1, 2],
        [],
    )
    assert (forty.seeds, forty.left_out) == ([0, 1], [2])
    for group in (ten, forty):
        values = [NATS[seed, group.settings["latent.concentration"]] for seed in group.seeds]
        assert group.mean["nll_nats"] == pytest.approx(np.mean(values))
        assert group.standard_deviation["nll_nats"] == pytest.approx(np.std(values, ddof=1))
        assert group.mean["perplexity"] == pytest.approx(np.mean(np.exp(np.divide(values, 25))))
        units = [int(value) % 7 for value in values]
        assert group.mean["active_units"] == pytest.approx(np.mean(units))
        assert group.mean.keys() == group.standard_deviation.keys()
        assert group.mean.keys() == {
            *("nll_nats", "kl_nats", "perplexity", "reconstruction_nats", "active_units")
        }


def test_one_seed_has_no_spread():
    (group,) = SweepResults("", [replica(5, 10.0, 100.0)]).groups
    assert group.mean["nll_nats"] == 100.0
    assert group.standard_deviation["nll_nats"] is None


def test_without_seeds_nothing_is_averaged():
    one = ReplicaResult("dropout_rate=0.1", {"dropout_rate": 0.1}, None, result(100.0))
    assert SweepResults("", [one]).groups == []


def test_a_value_that_is_not_finite_makes_no_mean():
    (group,) = SweepResults("", [replica(0, 1.0, 100.0), replica(1, 1.0, math.inf)]).groups
    assert group.mean["nll_nats"] is None
    assert group.mean["kl_nats"] == 2.0


def test_the_table_says_all(results):
    title, head, *rows = results.table().splitlines()
    assert title == "the title"
    assert head.split()[:5] == ["replica", "recon", "KL", "ELBO", "PPL"]
    assert [row.split()[0] for row in rows[:6]] == [one.name for one in results.replicas]
    assert rows[0].split()[1:6] == ["118.00", "2.00", "120.00", "121.5", "-"]
    assert rows[5].endswith("diverged in step 12")
    assert rows[6].startswith("latent.concentration=10 mean of 3 seeds ")
    assert rows[7].startswith("latent.concentration=10 standard deviation ")
    assert rows[8].startswith("latent.concentration=40 mean of 2 of 3 seeds ")
    assert len(rows) == 10
    assert len({len(row) for row in (head, *rows) if "diverged" not in row}) == 1


def test_json_is_strict_and_whole(results):
    broken = SweepResults("", [*results.replicas, replica(3, 10.0, math.inf)])
    read = json.loads(json.dumps(broken.to_json(), allow_nan=False))
    assert [one["name"] for one in read["replicas"]] == [one.name for one in broken.replicas]
    assert read["replicas"][0]["result"]["nll_nats"] == 120.0
    assert read["replicas"][5] == {
        **{"name": "seed=2,latent.concentration=40", "diverged_step": 12, "result": None},
        "settings": {"seed": 2, "latent.concentration": 40.0},
    }
    assert read["replicas"][6]["result"]["nll_nats"] is None
    assert [group["settings"] for group in read["groups"]] == [
        {"latent.concentration": 10.0},
        {"latent.concentration": 40.0},
    ]
