"""Table 6 and figures 4 to 6: whose runs they are, what a bag is, and what stands beside it."""

import numpy as np
import pytest

from spherical_vae.data.batch import END_ID
from spherical_vae.data.corpus import Split
from spherical_vae.experiments import fig4, fig5, fig6, table3, table5, table6
from spherical_vae.experiments.laboratory.address import address
from spherical_vae.experiments.laboratory.runs import Laboratory

SENTENCES = [[2, 3, 2, END_ID], [0, END_ID], [END_ID], [4, 4, 4, 3, END_ID]]
SPLIT = Split(
    np.concatenate(SENTENCES).astype(np.int32),
    None,
    np.cumsum([0, *map(len, SENTENCES)]).astype(np.int64),
    None,
)


def counts():
    return table6.count_matrix(SPLIT, 6)


def test_counts_are_those_of_the_words_without_end_marks():
    expected = [[0, 0, 2, 1, 0, 0], [1, 0, 0, 0, 0, 0], [0] * 6, [0, 0, 0, 1, 3, 0]]
    np.testing.assert_array_equal(counts().toarray(), expected)
    np.testing.assert_array_equal(table6.frequent_counts(counts()), expected)


def test_frequent_words_are_those_of_the_lowest_ids(monkeypatch):
    monkeypatch.setattr(table6, "COUNTED_WORDS", 3)
    assert table6.frequent_counts(counts()).tolist() == [[0, 0, 2], [1, 0, 0], [0] * 3, [0] * 3]


def test_mean_embeddings_are_means_over_words():
    embeddings = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    found = table6.mean_embeddings(counts(), embeddings)
    for row, words in zip(found, SENTENCES, strict=True):
        mean = embeddings[words[:-1]].mean(axis=0) if words[:-1] else np.zeros(4)
        np.testing.assert_allclose(row, mean, atol=1e-6)


@pytest.mark.parametrize("experiment", [table6, fig5])
@pytest.mark.parametrize("scale", ["smoke", "cpu", "full"])
def test_nothing_is_trained_that_tables_3_and_5_do_not_train(experiment, scale, tmp_path):
    laboratory = Laboratory(tmp_path, scale, 1)

    def addresses(settings):
        made = [run for s in settings for run in [*s.trials(scale), s.run(s.alternatives[0], 0)]]
        return {address(laboratory.config(run)) for run in made}

    theirs = addresses(s for s in table3.settings(scale) if "PTB" in s.name)
    theirs |= addresses(table5.settings(scale))
    ours = addresses(experiment.settings(scale))
    assert ours <= theirs
    assert len(ours) >= 4


@pytest.mark.parametrize("scale", ["cpu", "full"])
def test_figures_4_and_6_share_their_runs_at_the_scale_of_two_cores(scale, tmp_path):
    laboratory = Laboratory(tmp_path, scale, 1)

    def addresses(settings):
        return {address(laboratory.config(s.run({}, 0))) for s in settings}

    ours = addresses(
        s for s in fig6.settings(scale) if s.name.startswith("PTB inputless vMF kappa")
    )
    shared = ours & addresses(fig4.settings(scale))
    assert (shared == ours) is (scale == "cpu")
    assert shared & addresses(table3.settings(scale))


def record(scale):
    rows = []
    for i, setting in enumerate(table6.settings(scale)):
        probe = {
            "cosine": 0.9 - 0.1 * i,
            "constant_cosine": 0.5,
            "gain": 0.4 - 0.1 * i,
            "gain_standard_error": 0.01,
            "epochs": 3,
        }
        probes = {
            kind: dict.fromkeys(table6.DIRECTIONS, probe) for kind in ("embeddings", "counts")
        }
        run = {
            "seed": 0,
            "probes": probes,
            "measured": {"honest": {"kl_nats": 1.5}},
            "train_seconds": 1.0,
            "best_step": 2,
            "device": "2 CPU cores",
            "date": "2026-11-25",
            "command": "python",
        }
        runs = [run] if i < 3 else []
        facts = dict(setting.facts)
        rows.append({"name": setting.name, "facts": facts, "runs": runs, "missing": None})
    return {"scale": scale, "rows": rows}


def test_printed_values_stand_beside_ours_at_full_scale_alone():
    embeddings, counted, _ = table6.tables(record("full"))
    assert embeddings.rows[0][:5] == [
        "PTB inputless Gaussian", "0.74", "0.900", "0.500", "0.400 ± 0.010",
    ]  # fmt: skip
    assert embeddings.rows[1][1] == "0.77"
    assert embeddings.rows[1][5] == "0.57"
    assert embeddings.rows[2][1] == "0.32"
    assert embeddings.rows[2][5] == "-"
    assert embeddings.rows[3][1:3] == ["0.23", "not run"]
    assert not any("paper" in title for title in counted.head)
    for table in table6.tables(record("cpu")):
        assert "paper" not in table.markdown()
    for table in (embeddings, counted):
        assert {len(row) for row in table.rows} == {len(table.head)}
