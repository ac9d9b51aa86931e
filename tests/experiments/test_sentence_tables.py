"""What is said of sentence models: what averaging is worth, what the paper quotes."""

import pytest

from spherical_vae.experiments import table3
from spherical_vae.experiments.rendering.sentence_tables import averaging_remarks

NATS = {"RNNLM": 97.5, "Gaussian": 98.25, "vMF": 96.125}


def measured(model):
    facts = {"perplexity": 100.0, "kl_nats": 5.0, "iw_nll_nats": NATS[model], "split": "test"}
    found = {
        name: facts | {"nll_nats": nll, "reconstruction_nats": nll - 5.0}
        for name, nll in (("honest", 99.0), ("paper", 95.0))
    }
    if model == "vMF":
        found["averaged"] = facts | {
            "nll_nats": 101.0, "reconstruction_nats": 92.0, "kl_nats": 9.0, "perplexity": 110.0,
        }  # fmt: skip
    return found


def row(model, mode="standard"):
    return {
        "name": f"PTB {mode} {model}",
        "facts": {"corpus": "PTB", "mode": mode, "model": model, "label": ""},
        "runs": [{"measured": measured(model)}],
    }


ROWS = [row("RNNLM"), row("Gaussian"), row("vMF"), row("RNNLM", "inputless")]


def test_averaging_is_shown_at_both_prices():
    (line,) = averaging_remarks(ROWS)
    assert "one draw, reconstruction 94.00 and KL 5.00 nats a sentence, perplexity 100.0" in line
    assert "reconstruction 92.00 and KL 9.00 nats a sentence, perplexity 110.0" in line


@pytest.mark.parametrize("scale", ["cpu", "full"])
def test_what_others_printed_is_quoted_at_full_scale_alone(scale):
    course = {
        "steps": [1],
        "kl_nats_by_step": [1.0],
        "kl_nats": {"first": 1.0, "highest": 1.0, "last": 1.0},
        "perplexity": {"first": 1.0, "lowest": 1.0, "last": 1.0},
        "still_falling": True,
    }
    rows = [dict(row(model), alternatives=[], trials=[], missing=None) for model in NATS]
    for one in rows:
        run = one["runs"][0]
        for found in run["measured"].values():
            found |= {
                "document_perplexity": 1.0,
                "importance_samples": 7,
                "mutual_information_ceiling_nats": 8.0,
                "mutual_information_nats": 1.0,
                "active_units": 3,
                "iw_perplexity": 1.0,
            }
        run |= {
            "dev": course,
            "seed": 0,
            "train_seconds": 1.0,
            "best_step": 1,
            "device": "CPU",
            "date": "today",
            "command": "python",
        }
    text = "\n".join(table.markdown() for table in table3.tables({"scale": scale, "rows": rows}))
    assert ("Bowman" in text) is (scale == "full")
    assert ("Dev" in text.split("\n")[0]) is False
