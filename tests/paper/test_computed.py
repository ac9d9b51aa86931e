"""The computed figures, and the corpora's counts: what they say agrees with what else is known."""

import dataclasses

import numpy as np
import pytest

from paper import corpora, fig1, fig2, fig3
from paper.catalogue import EXPERIMENTS
from paper.runner import Runner, Unavailable
from paper.specs import Place
from paper.store import Store, write_record


@pytest.fixture
def runner(tmp_path):
    return Runner(Place(tmp_path, "smoke"), Store(tmp_path / "runs"))


def test_the_oracle_of_figure_3_is_the_papers_worked_example():
    """19.515 nats at d=50, kappa=80, by the exact formula."""
    kl, cosine = fig3.exact(50, 80.0)
    assert kl == pytest.approx(19.515, abs=6e-4)
    # A_3 has a closed form.
    assert fig3.exact(3, 2.0)[1] == pytest.approx(1 / np.tanh(2.0) - 0.5, rel=1e-12)
    assert 0 < cosine < 1


def test_figure_3(runner):
    points = fig3.compute(runner).points
    assert len(points) == 28
    for point in points:
        assert point.kl_nats == pytest.approx(point.kl_nats_exact, rel=1e-5)
        assert point.mean_cosine == pytest.approx(point.mean_cosine_exact, rel=1e-6)
        # Five standard errors in 28 points: fails by chance once in 60,000 seeds.
        gap = abs(point.mean_cosine_sampled - point.mean_cosine_exact)
        assert gap < 5 * point.standard_error
        # Guu et al.'s formula is another one, and the figure must not mix them up.
        assert abs(point.kl_nats_guu / point.kl_nats_exact - 1) > 1e-4


def test_figure_1(runner):
    found = fig1.compute(runner)
    np.testing.assert_allclose(np.linalg.norm(found.vmf, axis=1), 1, atol=2e-3)
    # Fails by chance once in 1.7 million seeds.
    assert abs(found.vmf_mean_cosine - found.vmf_mean_cosine_exact) < 5 * found.vmf_standard_error


@pytest.mark.parametrize("kappa", [0.5, 6.0, 100.0])
def test_the_cap_of_figure_2_holds_its_share(kappa):
    """Against a sum over a fine grid of the density of mu.z in R^3, exp(kappa w)."""
    w = np.linspace(-1, 1, 200_001)
    density = np.exp(kappa * (w - 1))
    share = density[w > fig2.cap_cosine(kappa)].sum() / density.sum()
    assert share == pytest.approx(fig2.INSIDE, abs=2e-3)


def test_table_2_counts_what_is_there_and_is_read_back(runner, tmp_path):
    """The tiny corpora have 64, 16 and 16 examples."""
    values = corpora.compute(runner)
    assert not any(hasattr(one, "missing") for one in values.corpora)
    assert {(one.train, one.valid, one.test) for one in values.corpora} == {(64, 16, 16)}
    words = {one.name: one.mean_words_train for one in values.corpora}["PTB"]
    lines = (tmp_path / "tiny_corpora" / "sentences" / "train.txt").read_text().splitlines()
    assert words == pytest.approx(np.mean([len(line.split()) for line in lines]))
    table2 = EXPERIMENTS["table2"]
    table2.write(runner, tmp_path / "data")
    record = table2.read(tmp_path / "data")
    assert record.values == values
    assert record.scale == "smoke"
    assert EXPERIMENTS["fig1"].read(tmp_path / "data") is None


def test_numbers_are_not_replaced_by_fewer(runner, tmp_path, monkeypatch, capsys):
    """Of a corpus whose files are not here any more, or of a smaller scale."""
    table2, folder = EXPERIMENTS["table2"], tmp_path / "data"
    whole = table2.write(runner, folder).read_text()

    def unavailable(config):
        raise Unavailable("its archive is damaged")

    without = Runner(Place(tmp_path, "smoke"), Store(tmp_path / "runs"))
    monkeypatch.setattr(without, "corpus", unavailable)
    assert table2.write(without, folder).read_text() == whole
    assert "stays as it is, for it has numbers of 20NG" in capsys.readouterr().err
    found = table2.write(without, tmp_path / "other").read_text()
    assert "its archive is damaged" in found
    record = dataclasses.replace(table2.read(folder), scale="full")
    write_record(folder / "table2.json", record)
    table2.write(runner, folder)
    assert "stays as it is, for it has numbers of scale full" in capsys.readouterr().err
    assert table2.read(folder) == record
