"""NVDM on eight devices, its vocabulary in one, two and four parts: the same steps, less memory.

A program of its own for test_sharding.py, as devices are counted when JAX starts.
"""

import jax
import numpy as np
from jax.sharding import PartitionSpec
from small_models import WORDS, small_config, small_corpus

from spherical_vae.data.batches import gather_batch
from spherical_vae.models.vae import build_vae, init_params
from spherical_vae.parallel.sharding import data_mesh, place, shard_batch, state_shardings
from spherical_vae.training.optimizer import build_optimizer
from spherical_vae.training.step import hyperparameters, init_state, make_train_step

BATCH, STEPS = 16, 3
OVER_WORDS = {"encoder.layer_0.kernel", "decoder.words.kernel", "decoder.words.bias"}


def main() -> None:
    assert jax.device_count() == 8
    config = small_config(
        encoder__kind="bag_of_words", decoder__kind="bag_of_words", encoder__layers=2
    )
    corpus = small_corpus("bags")
    model, optimizer = build_vae(config, WORDS), build_optimizer(config.optimizer)
    step = make_train_step(model, optimizer, config)
    batch = gather_batch(corpus.splits["train"], np.arange(BATCH), 8)
    hyper = hyperparameters(config, 0.01)
    found = {}
    for parts in (1, 2, 4):
        mesh = data_mesh(BATCH, parts)
        state = init_state(init_params(model, 0, corpus.vocabulary.train_counts), optimizer, config)
        shardings = state_shardings(state, mesh, model.vocabulary_axes)
        check_layout(shardings, parts)
        call = jax.jit(step, donate_argnums=0, out_shardings=shardings)
        state = place(state, shardings)
        for _ in range(STEPS):
            state = call(state, shard_batch(batch, mesh), hyper)
        check_parts(state, parts)
        found[parts] = jax.tree.map(np.asarray, state.params)
    for parts in (2, 4):
        for one, other in zip(
            jax.tree.leaves(found[1]), jax.tree.leaves(found[parts]), strict=True
        ):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)


def named(tree):
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


def check_layout(shardings, parts):
    """What is over the vocabulary is split, in the parameters and in both moments of Adam."""
    split = {name for name, leaf in named(shardings).items() if leaf.spec != PartitionSpec()}
    ends = ("params.", "mu.", "nu.")
    assert {name.partition(end)[2] for name in split for end in ends if end in name} == OVER_WORDS
    assert len(split) == 3 * len(OVER_WORDS)


def check_parts(state, parts):
    for name, leaf in named(state).items():
        whole = not any(name.endswith(end) for end in OVER_WORDS)
        held = leaf.addressable_shards[0].data.size
        assert held == (leaf.size if whole else leaf.size // parts), name


if __name__ == "__main__":
    main()
