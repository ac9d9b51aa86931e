"""Nats of each example in a file: an interrupted evaluation continues, two files are compared."""

import json

import jax
import numpy as np
import pytest
from small_models import small_config, small_corpus

from spherical_vae.evaluation.evaluator import Evaluator
from spherical_vae.evaluation.example_file import ExampleFile, paired_difference
from spherical_vae.models.vae import build_vae, init_params
from spherical_vae.system.errors import UserError

ABOUT = {"corpus": "made", "corpus_fingerprint": 1, "split": "test", "step": 7}
SIZE = 12


def measured(path, **about):
    return ExampleFile(path, {**ABOUT, **about}, SIZE)


def written(path, nats, **about):
    file = measured(path, **about)
    file.columns["iw_nll_nats"][:] = nats
    file.columns["tokens"][:] = 3.0
    file.save()
    return path


def test_an_interrupted_evaluation_continues(tmp_path):
    config, corpus = small_config(latent__kind="gaussian", data__buckets=3), small_corpus()
    model = build_vae(config, len(corpus.vocabulary))
    params, key = init_params(model, 0), jax.random.key(3)
    measures = Evaluator(model, config, corpus)
    whole = measures.nats(params, "test", key, importance_weighted=True)
    path = tmp_path / "examples.json"

    def nats():
        file = measured(path)
        return measures.nats(params, "test", key, importance_weighted=True, kept=file)

    def equal(found):
        for name in ("reconstruction_nats", "kl_nats", "iw_nll_nats", "tokens"):
            np.testing.assert_array_equal(getattr(found, name), getattr(whole, name))

    equal(nats())
    # As if it had been ended after some batches; what is there is not measured again.
    content = json.loads(path.read_text())
    lost = np.argsort(content["tokens"])[5:]
    for name in ("reconstruction_nats", "kl_nats", "iw_nll_nats", "tokens"):
        for i in lost:
            content[name][i] = None
    path.write_text(json.dumps(content))
    equal(nats())
    content["kl_nats"] = [None if value is None else 100.0 for value in content["kl_nats"]]
    path.write_text(json.dumps(content))
    assert 0 < (nats().kl_nats == 100.0).sum() < SIZE
    nats()
    assert measures.token_samples_per_second is None


def test_a_file_of_something_else_is_an_error(tmp_path):
    path = written(tmp_path / "a.json", np.ones(SIZE))
    with pytest.raises(UserError, match="step is 7, this evaluation has 8"):
        measured(path, step=8)
    path.write_text("{}")
    with pytest.raises(UserError, match=r"a\.json"):
        measured(path)
    with pytest.raises(UserError, match="nowhere"):
        measured(tmp_path / "nowhere" / "a.json")


def test_the_text_decides_and_not_the_name_of_its_folder(tmp_path):
    path = written(tmp_path / "a.json", np.ones(SIZE))
    np.testing.assert_array_equal(measured(path, corpus="moved").columns["iw_nll_nats"], 1.0)
    other = written(tmp_path / "b.json", np.zeros(SIZE), corpus="moved")
    assert paired_difference(path, other) == (1.0, 0.0)
    with pytest.raises(UserError, match="corpus_fingerprint is 1, this evaluation has 2"):
        measured(path, corpus_fingerprint=2)


def test_a_file_without_any_measure_is_begun_anew(tmp_path):
    path = tmp_path / "a.json"
    measured(path, protocol="averaged")
    written(path, np.ones(SIZE), protocol="honest")
    with pytest.raises(UserError, match="protocol is 'honest'"):
        measured(path, protocol="averaged")


@pytest.mark.parametrize(
    "other", [{"split": "valid"}, {"condition_on_bag": True}, {"importance_samples": 1}]
)
def test_what_is_not_the_same_quantity_is_not_compared(tmp_path, other):
    ours = written(tmp_path / "a.json", np.ones(SIZE), importance_samples=500)
    theirs = written(tmp_path / "b.json", np.ones(SIZE), **{"importance_samples": 500} | other)
    (key,) = other
    with pytest.raises(UserError, match=rf"a\.json has {key} .*b\.json {other[key]!r}"):
        paired_difference(ours, theirs)


def test_an_exact_likelihood_is_compared_with_any_bound(tmp_path):
    ours = written(tmp_path / "a.json", np.ones(SIZE), importance_samples=500)
    exact = written(tmp_path / "b.json", np.zeros(SIZE), importance_samples=1, exact=True)
    assert paired_difference(ours, exact) == (1.0, 0.0)


def test_what_is_not_finite_is_missing(tmp_path):
    path = written(tmp_path / "a.json", np.ones(SIZE))
    file = measured(path)
    file.columns["iw_nll_nats"][3] = np.inf
    file.save()
    np.testing.assert_array_equal(np.isnan(measured(path).columns["iw_nll_nats"]).nonzero(), [[3]])
    with pytest.raises(UserError, match="has no importance-weighted bound of every example"):
        paired_difference(path, path)


def test_columns_of_other_lengths_are_an_error(tmp_path):
    path = written(tmp_path / "a.json", np.ones(SIZE))
    with pytest.raises(UserError, match=f"has {SIZE} examples, this evaluation {SIZE + 1}"):
        ExampleFile(path, ABOUT, SIZE + 1)
    content = json.loads(path.read_text())
    content["kl_nats"].pop()
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"a\.json"):
        measured(path)


def test_the_difference_is_paired(tmp_path):
    generator = np.random.default_rng(0)
    common = 50 * generator.normal(size=SIZE)
    gains = generator.normal(size=SIZE)
    ours = written(tmp_path / "a.json", common - gains)
    theirs = written(tmp_path / "b.json", common)
    mean, error = paired_difference(ours, theirs)
    assert mean == pytest.approx(-gains.mean())
    assert error == pytest.approx(gains.std(ddof=1) / np.sqrt(SIZE))
    measured(tmp_path / "d.json")
    with pytest.raises(UserError, match=r"d\.json"):
        paired_difference(ours, tmp_path / "d.json")
