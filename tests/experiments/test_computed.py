"""The computed figures, and the corpora's counts: what they say agrees with what else is known."""

import numpy as np
import pytest

from spherical_vae.experiments import fig1, fig3, table2
from spherical_vae.experiments.laboratory.runs import Laboratory


@pytest.fixture
def laboratory(tmp_path):
    return Laboratory(tmp_path, "smoke", 1)


def test_the_oracle_of_figure_3_is_the_papers_worked_example():
    """19.515 nats at d=50, kappa=80, by the exact formula."""
    kl, cosine = fig3.exact(50, 80.0)
    assert kl == pytest.approx(19.515, abs=6e-4)
    # A_3 has a closed form.
    assert fig3.exact(3, 2.0)[1] == pytest.approx(1 / np.tanh(2.0) - 0.5, rel=1e-12)
    assert 0 < cosine < 1


def test_figure_3(laboratory):
    points = fig3.collect(laboratory)["points"]
    assert len(points) == 28
    for point in points:
        assert point["kl_nats"] == pytest.approx(point["kl_nats_exact"], rel=1e-5)
        assert point["mean_cosine"] == pytest.approx(point["mean_cosine_exact"], rel=1e-6)
        # Five standard errors in 28 points: fails by chance once in 60,000 seeds.
        gap = abs(point["mean_cosine_drawn"] - point["mean_cosine_exact"])
        assert gap < 5 * point["standard_error"]
        # Guu et al.'s formula is another one, and the figure must not mix them up.
        assert abs(point["kl_nats_guu"] / point["kl_nats_exact"] - 1) > 1e-4


def test_figure_1(laboratory):
    found = fig1.collect(laboratory)
    np.testing.assert_allclose(np.linalg.norm(found["vmf"], axis=1), 1, atol=2e-3)
    gap = abs(found["vmf_mean_cosine"] - found["vmf_mean_cosine_exact"])
    # Fails by chance once in 1.7 million seeds.
    assert gap < 5 * found["vmf_standard_error"]


def test_table_2_counts_what_is_there(laboratory):
    """The tiny corpora have 64, 16 and 16 examples."""
    rows = {row["name"]: row for row in table2.collect(laboratory)["corpora"]}
    assert {row["missing"] for row in rows.values()} == {None}
    for row in rows.values():
        assert (row["train"], row["valid"], row["test"]) == (64, 16, 16)
    words = rows["PTB"]["mean_words_train"]
    assert 2 <= words <= 6
    path = laboratory.folder / "tiny_corpora" / "sentences" / "train.txt"
    lines = path.read_text(encoding="utf-8").splitlines()
    assert words == pytest.approx(np.mean([len(line.split()) for line in lines]))
