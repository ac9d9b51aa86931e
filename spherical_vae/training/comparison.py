"""The main job: one model with several kinds of latent, equal in size and steps, in a table."""

import copy
import sys
import time
from dataclasses import dataclass

import jax
from ml_collections import ConfigDict

from spherical_vae.data.corpus import Corpus
from spherical_vae.evaluation.measures import BAG_NOTE, build_evaluator
from spherical_vae.evaluation.metrics import ExampleNats, perplexity, standard_error, unigram_nats
from spherical_vae.generation import texts
from spherical_vae.generation.decoding import WordChoice
from spherical_vae.models.latents import LATENTS
from spherical_vae.parallel import hosts
from spherical_vae.random.keys import Purpose, root_key
from spherical_vae.runs.run_directory import RunDirectory, open_run
from spherical_vae.runs.trained_model import TrainedModel
from spherical_vae.system.errors import DivergedError
from spherical_vae.system.jax_settings import settings_of_models
from spherical_vae.training.trainer import train_model

PRIOR_SAMPLES = 5
INTERPOLATION_POINTS = 7
PATH_TEMPERATURE = 0.5


@dataclass(frozen=True)
class Row:
    """One model of the table."""

    label: str
    tokens_seen: int
    nats: ExampleNats


@settings_of_models()
def compare(config: ConfigDict, corpus: Corpus, run: RunDirectory) -> str:
    """Trains the baselines and the model, measures all on test, and writes samples.

    Each of `config.baselines` is a run of its own below that of the model.

    Returns:
      The output of the main job.
    """
    begun = time.monotonic()
    rows, failed, trained = train_rows(config, corpus, run)
    row = rows[-1]
    seconds = time.monotonic() - begun
    samples = config.evaluation.importance_samples
    lines = [
        "",
        f"{corpus.name}, test: {len(row.nats.tokens)} examples, {row.nats.tokens.sum()} tokens; "
        f"nats per example; IW: importance-weighted bound, {samples} samples; seed {config.seed}",
        *table(rows),
        *failed,
        "",
        *(_difference(row, other) for other in rows[:-1]),
        "",
        *sample_texts(trained),
        f"{seconds:.0f} s for training, evaluation and text, this start; the run is in {run.path}",
    ]
    return "\n".join(lines)


def measure_test(trained: TrainedModel) -> ExampleNats:
    """Measures a trained model on test."""
    if hosts.is_first():
        print(f"{trained.config.name}: measuring test", file=sys.stderr)
    # The samples of `python -m spherical_vae.evaluate --seed=0`, so that both print the same.
    key, _ = jax.random.split(root_key(0, Purpose.EVALUATE))
    return build_evaluator(trained).nats(trained.params, "test", key, importance_weighted=True)


def train_rows(
    config: ConfigDict, corpus: Corpus, run: RunDirectory
) -> tuple[list[Row], list[str], TrainedModel]:
    """Trains the baselines and the model, and measures them on test.

    Returns:
      The rows of the table, that of the model last; a line for each baseline that diverged; the
      model.
    """
    rows = [Row("unigram", corpus.splits["train"].tokens, unigram_nats(corpus, "test"))]
    failed: list[str] = []
    for kind in config.baselines:
        if kind == config.latent.kind:
            continue  # It is the model itself.
        baseline = copy.deepcopy(config)
        with baseline.unlocked():
            baseline.latent.kind = kind
            baseline.baselines = ()
            baseline.name = f"{config.name}-{kind}"
        with open_run(run.baselines_path / kind, baseline, corpus=corpus) as directory:
            try:
                trained = train_model(baseline, corpus, directory)
            except DivergedError as error:
                # It would diverge again at the next start, and the model may not.
                failed.append(f"{LATENTS[kind].label:20s}{error.reason}")
                continue
        rows.append(Row(LATENTS[kind].label, trained.tokens_seen, measure_test(trained)))
    trained = train_model(config, corpus, run)
    rows.append(Row(LATENTS[config.latent.kind].label, trained.tokens_seen, measure_test(trained)))
    return rows, failed, trained


def table(rows: list[Row]) -> list[str]:
    """Returns the lines of the table; perplexities are of the importance-weighted bound."""
    lines = [
        f"{'model':20s}{'tokens seen':>12s}{'recon':>9s}{'KL':>8s}{'ELBO':>9s}{'IW':>9s}{'PPL':>9s}"
    ]
    for row in rows:
        nats = row.nats
        assert nats.iw_nll_nats is not None
        lines.append(
            f"{row.label:20s}{row.tokens_seen:12d}{nats.reconstruction_nats.mean():9.2f}"
            f"{nats.kl_nats.mean():8.2f}{nats.nll_nats.mean():9.2f}{nats.iw_nll_nats.mean():9.2f}"
            f"{perplexity(nats.iw_nll_nats, nats.tokens):9.1f}"
        )
    return lines


def _difference(row: Row, other: Row) -> str:
    assert row.nats.iw_nll_nats is not None
    assert other.nats.iw_nll_nats is not None
    gains = other.nats.iw_nll_nats - row.nats.iw_nll_nats
    return (
        f"{row.label} against {other.label}: {gains.mean():+.2f} nats per example in its favour, "
        f"standard error {standard_error(gains):.2f} (paired, IW)"
    )


def sample_texts(trained: TrainedModel) -> list[str]:
    """Returns texts from the prior, and an interpolation if the model has latent codes."""
    if trained.config.condition_on_bag:
        return [BAG_NOTE, "no samples: the decoder needs the bag of words of a given sentence"]
    key = root_key(trained.config.seed, Purpose.GENERATE)
    key_prior, key_path = jax.random.split(key)
    samples = texts.prior_texts(trained, key_prior, PRIOR_SAMPLES, WordChoice(), label=0)
    lines = ["from the prior:", *(f"  {text}" for text in samples)]
    if not texts.has_codes(trained):
        return lines
    key_choice, key_words = jax.random.split(key_path)
    ends = texts.sample_examples(trained.corpus, "test", key_choice, 2)
    choice = WordChoice(PATH_TEMPERATURE)
    path = texts.interpolation_texts(trained, key_words, ends, INTERPOLATION_POINTS, choice)
    return [
        *lines,
        f"a walk from one example of test to another, temperature {PATH_TEMPERATURE}:",
        *(f"  {text}" for text in path),
    ]
