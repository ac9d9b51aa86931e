"""How far the concentrations are apart is said of each setting in which two of them were run."""

import pytest

from spherical_vae.experiments import fig6


def row(name, elbo, iw):
    setting = next(s for s in fig6.settings("cpu") if s.name == name)
    measured = {"honest": {"perplexity": elbo, "iw_perplexity": iw, "importance_samples": 20}}
    runs = [] if elbo is None else [{"measured": measured}]
    return {"name": name, "facts": dict(setting.facts), "runs": runs}


@pytest.mark.parametrize(
    ("measured", "said"),
    [
        (
            [(200.0, 110.0), (100.0, 100.0), (125.0, 105.0)],
            "standard, kappa = 40, 80, 120, by one seed: "
            "ELBO PPL 200.0, 100.0, 125.0, the highest 100.0% above the lowest; "
            "IW PPL by 20 draws 110.0, 100.0, 105.0, the highest 10.0% above the lowest.",
        ),
        (
            [(150.0, 140.0), (None, None), (100.0, None)],
            "standard, kappa = 40, 120, by one seed: "
            "ELBO PPL 150.0, 100.0, the highest 50.0% above the lowest.",
        ),
    ],
)
def test_what_is_said_of_a_setting(measured, said):
    rows = [
        row(f"PTB standard vMF kappa={kappa}", *values)
        for kappa, values in zip((40, 80, 120), measured, strict=True)
    ]
    rows.append(row("PTB inputless vMF kappa=80", 300.0, 200.0))
    assert fig6.remarks({"rows": rows}) == [said]
