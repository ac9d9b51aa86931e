"""The list of experiments, and estimates that are steps times what a step took in the records."""

from pathlib import Path

import pytest

from spherical_vae.experiments import catalogue, documents
from spherical_vae.experiments.listing import NOT_MEASURED, estimate, listing, measured_rates
from spherical_vae.experiments.records import read_all

RESULTS = Path(__file__).parent.parent.parent / "results"
CPU = "2 CPU cores"


def record_of(*runs, scale="full"):
    setting = documents.vmf("news20", 25)
    row = {"name": setting.name, "chosen": setting.alternatives[0], "runs": list(runs)}
    return {"experiment": "table4", "scale": scale, "rows": [row]}


def trained(seconds, steps=1000, device=CPU, **more):
    return {"train_seconds": seconds, "last_step": steps, "device": device, **more}


def test_it_names_them_all(tmp_path):
    lines = listing("full", None, RESULTS).splitlines()[2:]
    cells = {line.split("|")[1].strip(): line.split("|")[5].strip() for line in lines}
    assert list(cells) == list(catalogue.NAMES)
    assert cells["fig3"] == "no training"
    rated = {config for config, _ in measured_rates(read_all(RESULTS))}
    assert "news20" in rated
    assert f" on {CPU}" in cells["table4"]
    if not any(config.startswith("ptb") for config in rated):
        assert cells["table3"] == NOT_MEASURED
    assert {
        line.split("|")[5].strip() for line in listing("smoke", 1, tmp_path).splitlines()[2:]
    } == {
        NOT_MEASURED,
        "no training",
    }


def test_a_rate_is_over_all_runs_whose_seconds_are_known_and_a_sweep_is_shared_out():
    runs = [trained(10.0), trained(None), trained(60.0, sweep={"replicas": 2})]
    other = trained(1.0, device="1 fast one")
    rates = measured_rates([record_of(*runs, other)])
    assert rates == {("news20", 100): {CPU: 40.0 / 2000, "1 fast one": 0.001}}


def test_an_estimate_is_steps_times_seconds_a_step():
    """Three trials of 15 epochs and two seeds of 60, at 11 batches of 100 an epoch and 2 s each."""
    rates = measured_rates([record_of(trained(2000.0))])
    vmf = documents.vmf("news20", 25)
    steps = 11 * (3 * 15 + 2 * 60)
    assert (
        estimate([vmf], "full", 2, rates, {"news20": 1050}) == f"{steps * 2 / 60:.0f} min on {CPU}"
    )
    # Neither the other configuration nor a corpus that was not counted is guessed at.
    both = [vmf, documents.gaussian("news20", 25)]
    said = estimate(both, "full", 2, rates, {"news20": 1050})
    assert said.endswith(f"on {CPU} for 5 of 10, the others {NOT_MEASURED}")
    assert estimate([vmf], "full", 2, rates, {}) == NOT_MEASURED


@pytest.mark.parametrize("scale", ["cpu", "full"])
def test_the_rows_of_a_record_that_are_no_longer_made_give_no_rate(scale):
    record = record_of(trained(1.0), scale=scale)
    record["rows"][0]["name"] = "gone"
    assert measured_rates([record]) == {}
