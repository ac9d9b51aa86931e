"""What is shown of closer bounds: value, error and paired difference, and who is ahead."""

import numpy as np
import pytest

from spherical_vae.experiments.rendering.closer_tables import closer_remarks, closer_tables


def test_the_table_shows_value_error_and_paired_difference():
    closer = {
        "iw_nll_nats": 97.125,
        "iw_nll_nats_standard_error": 3.0,
        "iw_perplexity": 101.06,
        "iw_perplexity_standard_error": 2.04,
        "gain_nats": 0.25,
        "gain_nats_standard_error": 0.02,
        "importance_samples": 500,
        "examples": 200,
        "iw_nll_nats_by_example": [90.0, 100.0, 80.0],
    }
    other = closer | {"iw_nll_nats_by_example": [91.0, 103.0, 82.0]}
    rows = [
        {"name": "a", "facts": {"model": "Gaussian NVDM"}, "runs": [{"closer": closer}]},
        {"name": "b", "facts": {}, "runs": []},
        {"name": "c", "facts": {}, "runs": [{"closer": other}, {"closer": other}]},
        {"name": "d", "facts": {}, "runs": [{"seed": 0}]},
    ]
    (table,) = closer_tables(rows, lambda row: "all", "Gaussian")
    assert table.head[3] == "above the Gaussian"
    first, second = table.rows
    assert first == [
        "a", "97.12 ± 3.00", "101.1 ± 2.0", "-", "0.25 ± 0.02", "500", "200", "1",
    ]  # fmt: skip
    # Differences 1, 3, 2: mean 2, deviation 1.
    assert second[0] == "c"
    assert second[3] == f"2.00 ± {1 / np.sqrt(3):.2f}"
    (alone,) = closer_tables(rows[1:], lambda row: "all", "Gaussian")
    assert alone.rows[0][3] == "-"
    (apart,) = closer_tables(rows, lambda row: row["name"], "Gaussian")
    assert apart.rows[1][3] == "-"
    assert closer_tables([rows[1], rows[3]], lambda row: "all", "Gaussian") == []


def compared(*found):
    runs = [{"closer": {"importance_samples": 500, "examples": 3}} for _ in found]
    for run, (_, nats) in zip(runs, found, strict=True):
        run["closer"]["iw_nll_nats_by_example"] = nats
    return [
        {"name": f"row of {model}", "facts": facts, "runs": [run]}
        for run, (model, _) in zip(runs, found, strict=True)
        for facts in [{} if model == "learned" else {"corpus": "PTB", "model": model}]
    ]


@pytest.mark.parametrize(
    ("vmf", "said"),
    [
        ([89.0, 97.0, 78.0], "vMF is ahead of the Gaussian by 2.00 ± 0.58 nats"),
        ([91.0, 103.0, 82.0], "**the Gaussian is ahead** of vMF by 2.00 ± 0.58 nats"),
        # 1, 0, 5: mean 2, error 1.53.
        (
            [91.0, 100.0, 85.0],
            "the Gaussian is ahead of vMF by 2.00 ± 1.53 nats, less than two errors",
        ),
    ],
)
def test_who_is_ahead_is_paired(vmf, said):
    rows = compared(("Gaussian NVDM", [90.0, 100.0, 80.0]), ("vMF NVDM", vmf))
    line, caution = closer_remarks(rows, lambda row: ("PTB",))
    assert caution.startswith("Fewer draws")
    assert line.startswith(f"PTB, by 500 draws on 3 examples of test: {said} (paired).")
    assert closer_remarks(rows[:1], lambda row: ("PTB",)) == []


def test_each_row_is_compared_with_the_next():
    rows = compared(
        ("Gaussian", [90.0, 100.0, 80.0]),
        ("RNNLM", [91.0, 102.0, 81.0]),
        ("learned", [85.0, 95.0, 74.0]),
    )
    line, _ = closer_remarks(rows, lambda row: ("PTB", "d=5"))
    assert line == (
        "PTB, d=5, by 500 draws on 3 examples of test: row of learned is ahead of the Gaussian by "
        "5.33 ± 0.33 nats; the Gaussian is ahead of the RNNLM by 1.33 ± 0.33 nats (paired)."
    )
