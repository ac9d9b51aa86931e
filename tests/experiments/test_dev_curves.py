"""How rows went on dev: extremes, whether they converged, and one panel for each setting."""

import pytest

from spherical_vae.experiments.rendering.dev_curves import (
    NOT_THE_LAST,
    STILL_FALLING,
    dev_course,
    dev_table,
    draw_dev,
    kl_remarks,
)


def course(kl, ppl):
    return dev_course(
        {
            "step": 10 * i,
            "kl_nats": k if k is None else float(k),
            "perplexity": p and float(p),
            "split": "valid",
        }
        for i, (k, p) in enumerate(zip(kl, ppl, strict=True), 1)
    )


def row(corpus, mode, model, *courses):
    return {
        "name": f"{corpus} {mode} {model}",
        "facts": {"corpus": corpus, "mode": mode, "model": model},
        "runs": [{"dev": one} for one in courses],
    }


ROWS = [
    row("PTB", "standard", "RNNLM", course([0, 0], [200, 150])),
    row("PTB", "standard", "Gaussian", course([4, 9, 0.5], [300, 200, 201])),
    row("PTB", "standard", "vMF", course([7, 7, 7], [310, 220, 210])),
    row("PTB", "inputless", "Gaussian"),
    row("PTB", "inputless", "vMF", course([18, 18], [400, 390]), course([18, 19], [401, 395])),
]


def test_what_is_kept_of_a_course():
    found = course([4.00004, 9, 0.5], [300, 200.0004, 201])
    assert found == {
        "steps": [10, 20, 30],
        "kl_nats_by_step": [4.0, 9, 0.5],
        "perplexity_by_step": [300, 200.0, 201],
        "kl_nats": {"first": 4.0, "highest": 9, "last": 0.5},
        "perplexity": {"first": 300, "lowest": 200.0, "last": 201},
        "still_falling": False,
    }
    assert course([1, 1], [300, 200])["still_falling"]


@pytest.mark.parametrize(
    ("ppl", "lowest", "falling"), [([None, 300], 300, True), ([300, None], 300, False)]
)
def test_a_perplexity_that_was_not_finite_is_no_lowest_one(ppl, lowest, falling):
    found = course([1, 1], ppl)
    assert found["perplexity"]["lowest"] == lowest
    assert found["still_falling"] is falling


def test_a_kl_that_was_not_finite_is_no_highest_one():
    found = course([None, 3], [None, 300])
    assert found["kl_nats"] == {"first": None, "highest": 3.0, "last": 3.0}
    one = row("PTB", "standard", "Gaussian", found)
    assert dev_table([one]).rows[0][2:5] == ["-", "3.00", "3.00"]
    assert kl_remarks([one]) == []
    assert len(draw_dev({"rows": [one]}).axes) == 1


def test_the_table_marks_what_has_not_converged():
    by_name = {cells[0]: cells[1:] for cells in dev_table(ROWS).rows}
    assert by_name["PTB standard RNNLM"][-2:] == [STILL_FALLING, "1"]
    assert by_name["PTB standard Gaussian"] == [
        "3", "4.00", "9.00", "0.50",
        "300.0", "200.0", "201.0", NOT_THE_LAST, "1",
    ]  # fmt: skip
    assert by_name["PTB inputless Gaussian"] == [*["not run"] * 8, "-"]
    assert by_name["PTB inputless vMF"][3] == "18.50 (18.00 to 19.00)"


def test_remarks_are_of_models_with_a_code_that_were_run():
    standard, inputless = kl_remarks(ROWS)
    assert standard == (
        "KL on dev, PTB, standard: Gaussian 4.00 after the first evaluation, 0.50 in the end; "
        "vMF 7.00 after the first evaluation, 7.00 in the end (nats a sentence)."
    )
    assert "Gaussian" not in inputless
    assert "vMF 18.00 after the first evaluation, 18.50 in the end" in inputless


def test_a_panel_for_each_setting_and_a_line_for_each_run():
    figure = draw_dev({"rows": ROWS})
    assert [axes.get_title() for axes in figure.axes] == ["PTB, standard", "PTB, inputless"]
    lines = [[list(line.get_ydata()) for line in axes.lines] for axes in figure.axes]
    assert lines == [[[4, 9, 0.5], [7, 7, 7]], [[18, 18], [18, 19]]]
    assert len(draw_dev({"rows": ROWS[:1]}).axes) == 1
