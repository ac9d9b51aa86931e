"""The main job: one model with several kinds of latent, equal in size and steps, in a table."""

import copy
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from spherical_vae.data.corpus import Corpus
from spherical_vae.evaluation.example_file import own_example_file
from spherical_vae.evaluation.measures import (
    BAG_NOTE,
    about_examples,
    build_evaluator,
    json_values,
)
from spherical_vae.evaluation.metrics import (
    ExampleNats,
    perplexity,
    standard_error,
    summarise,
    unigram_nats,
)
from spherical_vae.generation import texts
from spherical_vae.generation.decoding import WordChoice
from spherical_vae.models.latents import LATENTS
from spherical_vae.parallel import hosts
from spherical_vae.random.keys import Purpose, root_key
from spherical_vae.runs.run_directory import RunDirectory, open_run
from spherical_vae.runs.trained_model import TrainedModel
from spherical_vae.system.errors import DivergedError
from spherical_vae.system.jax_settings import settings_of_models
from spherical_vae.system.provenance import circumstances
from spherical_vae.system.standard_error import tell
from spherical_vae.training.trainer import train_model

PRIOR_SAMPLES = 5
INTERPOLATION_POINTS = 7
PATH_TEMPERATURE = 0.5


@dataclass(frozen=True)
class Row:
    """One model of the table; `step` is that of its parameters, None of the unigram model."""

    label: str
    tokens_seen: int
    nats: ExampleNats
    step: int | None = None


@dataclass(frozen=True)
class Comparison:
    """The result of the main job.

    Attributes:
      corpus: its name.
      config: of the model.
      rows: of the models, that of the configured one last.
      diverged: the reason, by the label of each baseline without a row.
      texts: samples.
      seconds: of this start.
      folder: of the run.
    """

    corpus: str
    config: ConfigDict
    rows: list[Row]
    diverged: dict[str, str]
    texts: list[str]
    seconds: float
    folder: Path

    def differences(self) -> list[tuple[Row, float, float]]:
        """Returns by how many nats an example the model is below each other one, and the error."""
        own, found = self.rows[-1].nats.iw_nll_nats, []
        for row in self.rows[:-1]:
            assert own is not None
            assert row.nats.iw_nll_nats is not None
            gains = row.nats.iw_nll_nats - own
            found.append((row, float(gains.mean()), standard_error(gains)))
        return found

    def text(self) -> str:
        """Returns what the command prints."""
        nats, model = self.rows[-1].nats, self.rows[-1].label
        samples = self.config.evaluation.importance_samples
        lines = [
            "",
            f"{self.corpus}, test: {len(nats.tokens)} examples, {nats.tokens.sum()} tokens; nats "
            f"per example; IW: importance-weighted bound, {samples} samples; seed "
            f"{self.config.seed}",
            *table(self.rows),
            *(f"{label:20s}{reason}" for label, reason in self.diverged.items()),
            "",
        ]
        for row, gain, error in self.differences():
            better = model if gain >= 0 else row.label
            lines.append(
                f"{model} against {row.label}: {abs(gain):.2f} nats per example in favour of "
                f"{better}, standard error {error:.2f} (paired, IW)"
            )
        return "\n".join(
            [
                *lines,
                "",
                *self.texts,
                f"{self.seconds:.0f} s for training, evaluation and text, this start; the run is "
                f"in {self.folder}",
            ]
        )

    def to_json(self) -> dict[str, Any]:
        """Returns the content of `results.json`."""
        return {
            "corpus": self.corpus,
            "split": "test",
            "seed": self.config.seed,
            "importance_samples": self.config.evaluation.importance_samples,
            "models": [
                {"model": row.label, "step": row.step, "tokens_seen": row.tokens_seen}
                | json_values(summarise(row.nats))
                for row in self.rows
            ],
            "diverged": self.diverged,
            "iw_nats_below": [
                {"model": row.label} | json_values({"iw_nats_below": gain, "standard_error": error})
                for row, gain, error in self.differences()
            ],
            "texts": self.texts,
            **circumstances(),
        }


@settings_of_models()
def compare(config: ConfigDict, corpus: Corpus, run: RunDirectory) -> Comparison:
    """Trains the baselines and the model, measures all on test, and writes samples.

    Each of `config.baselines` is a run of its own below that of the model.
    """
    begun = time.monotonic()
    rows, diverged, trained = train_rows(config, corpus, run)
    texts = sample_texts(trained)
    seconds = time.monotonic() - begun
    return Comparison(corpus.name, config, rows, diverged, texts, seconds, run.path)


def measure_test(trained: TrainedModel, directory: RunDirectory) -> ExampleNats:
    """Measures a trained model on test; what has been measured is kept in its directory."""
    evaluator, kept = build_evaluator(trained), None
    if not hosts.several():
        about = about_examples(evaluator, trained, "test", 0, "honest")
        size = len(trained.corpus.splits["test"])
        kept = own_example_file(directory.examples_path, about, size)
    if hosts.is_first():
        tell(f"{trained.config.name}: measuring test")
    # The samples of `python -m spherical_vae.evaluate --seed=0`, so that both print the same.
    key, _ = jax.random.split(root_key(0, Purpose.EVALUATE))
    return evaluator.nats(trained.params, "test", key, importance_weighted=True, kept=kept)


def train_rows(
    config: ConfigDict, corpus: Corpus, run: RunDirectory
) -> tuple[list[Row], dict[str, str], TrainedModel]:
    """Trains the baselines and the model, and measures them on test.

    Returns:
      The rows of the table, that of the model last; the reason by the label of each baseline that
      diverged; the model.
    """
    rows = [Row("unigram", corpus.splits["train"].tokens, unigram_nats(corpus, "test"))]
    diverged: dict[str, str] = {}
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
                diverged[LATENTS[kind].label] = error.reason
                continue
            nats = measure_test(trained, directory)
        rows.append(Row(LATENTS[kind].label, trained.tokens_seen, nats, trained.step))
    trained = train_model(config, corpus, run)
    nats = measure_test(trained, run)
    label = LATENTS[config.latent.kind].label
    rows.append(Row(label, trained.tokens_seen, nats, trained.step))
    return rows, diverged, trained


def table(rows: list[Row]) -> list[str]:
    """Returns the lines of the table."""
    titles = "".join(f"{title:>9s}" for title in ("ELBO", "IW", "IW PPL"))
    lines = [f"{'model':20s}{'tokens seen':>12s}{'recon':>9s}{'KL':>8s}{titles}"]
    for row in rows:
        nats = row.nats
        assert nats.iw_nll_nats is not None
        lines.append(
            f"{row.label:20s}{row.tokens_seen:12d}{nats.reconstruction_nats.mean():9.2f}"
            f"{nats.kl_nats.mean():8.2f}{nats.nll_nats.mean():9.2f}{nats.iw_nll_nats.mean():9.2f}"
            f"{perplexity(nats.iw_nll_nats, nats.tokens):9.1f}"
        )
    return lines


def sample_texts(trained: TrainedModel) -> list[str]:
    """Returns texts from the prior, and a walk between two codes if test and model have them."""
    if trained.config.condition_on_bag:
        return [BAG_NOTE, "no samples: the decoder needs the bag of words of a given sentence"]
    key = root_key(trained.config.seed, Purpose.GENERATE)
    key_prior, key_path = jax.random.split(key)
    samples = texts.prior_texts(trained, key_prior, PRIOR_SAMPLES, WordChoice(), label=0)
    lines = ["from the prior:", *(f"  {text}" for text in samples)]
    if not texts.has_codes(trained) or len(trained.corpus.splits["test"]) < 2:
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
