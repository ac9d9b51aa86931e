"""The main job at a tiny length: table, samples, a walk; started again it only prints them again.

Also what `python -m spherical_vae.train` refuses, before it compiles anything.
"""

import json
import re
import shutil

import pytest
from small_run import (
    RECURRENT,
    ROOT,
    SIZES,
    call,
    command,
    environment,
    metrics_without_times,
    one_error_line,
    overrides,
    run,
    training_command,
    write_text_corpus,
)

from spherical_vae import evaluate, train
from spherical_vae.system.errors import UserError

TINY = {
    **RECURRENT,
    "baselines": "none,gaussian",
    "data.label_classes": 0,
    "label_embedding_size": 0,
    "train.steps": 15,
    "train.checkpoint_every": 0,
}
ROWS = ["unigram", "RNNLM", "Gaussian", "vMF"]
TIMES = re.compile(r"^\d+ s for training")


def without_labels(corpus):
    for file in corpus.iterdir():
        lines = file.read_text(encoding="utf-8").splitlines()
        file.write_text("".join(f"{line[2:]}\n" for line in lines), encoding="utf-8")
    return corpus


def train_it(corpus, workdir, settings):
    """Trains in this process; returns what is printed."""
    return call(train.main, *training_command(corpus, workdir, settings)[3:])


@pytest.fixture(scope="module")
def twice(tmp_path_factory):
    """The main job and its second start: their outputs, and the working directory."""
    folder = tmp_path_factory.mktemp("main_job")
    corpus = without_labels(write_text_corpus(folder / "corpus"))
    first = train_it(corpus, folder / "run", TINY)
    before = metrics_without_times(folder / "run")
    second = train_it(corpus, folder / "run", TINY)
    assert metrics_without_times(folder / "run") == before
    return first, second, folder / "run"


def test_the_table_has_all_rows(twice):
    lines = twice[0].stdout.splitlines()
    head = next(i for i, line in enumerate(lines) if line.startswith("model"))
    assert lines[head].split() == [
        "model",
        "tokens",
        "seen",
        "recon",
        "KL",
        "ELBO",
        "IW",
        "IW",
        "PPL",
    ]
    rows = {line.split()[0]: line.split()[1:] for line in lines[head + 1 : head + 5]}
    assert list(rows) == ROWS
    for seen, *numbers in rows.values():
        reconstruction, kl, elbo, iw, perplexity = map(float, numbers)
        assert int(seen) > 1000
        assert elbo == pytest.approx(reconstruction + kl, abs=0.02)
        assert iw <= elbo + 0.01
        assert perplexity > 1
    # Equal steps on the same batches, so that the models are compared and not their luck.
    assert len({rows[name][0] for name in ROWS[1:]}) == 1
    assert [float(rows[name][2]) for name in ("unigram", "RNNLM")] == [0, 0]
    assert float(rows["vMF"][2]) > 1
    differences = [line for line in lines if line.startswith("vMF against ")]
    assert [line.split()[2].rstrip(":") for line in differences] == ROWS[:3]
    assert all("standard error" in line for line in differences)


def test_what_is_printed_is_kept(twice):
    first, _, workdir = twice
    found = json.loads((workdir / "results.json").read_text(encoding="utf-8"))
    assert [one["model"] for one in found["models"]] == ROWS
    below = {one["model"]: one["iw_nats_below"] for one in found["iw_nats_below"]}
    means = {one["model"]: one["iw_nll_nats"] for one in found["models"]}
    for label, gain in below.items():
        assert gain == pytest.approx(means[label] - means["vMF"], abs=1e-6)
        better = "vMF" if gain >= 0 else label
        line = f"vMF against {label}: {abs(gain):.2f} nats per example in favour of {better}, "
        assert line in first.stdout
    assert all(text in first.stdout for text in found["texts"])
    # As the evaluation of the run says.
    evaluated = evaluate.main([f"--workdir={workdir}"])
    assert evaluated["iw_nll_nats"] == pytest.approx(means["vMF"], rel=1e-6)
    assert {one["step"] for one in found["models"][1:]} == {TINY["train.steps"]}


@pytest.mark.thorough
def test_of_a_longer_training_all_is_measured_again(twice, tmp_path):
    shutil.copytree(twice[2], tmp_path / "run")
    longer = TINY | {"train.steps": TINY["train.steps"] + 2}
    train_it(twice[2].parent / "corpus", tmp_path / "run", longer | {"baselines": ""})
    assert not (tmp_path / "run" / "results.json").exists()
    train_it(twice[2].parent / "corpus", tmp_path / "run", longer)
    found = json.loads((tmp_path / "run" / "results.json").read_text(encoding="utf-8"))
    assert {one["step"] for one in found["models"][1:]} == {longer["train.steps"]}
    evaluated = evaluate.main([f"--workdir={tmp_path / 'run'}"])
    assert evaluated["iw_nll_nats"] == pytest.approx(found["models"][-1]["iw_nll_nats"], rel=1e-6)


@pytest.mark.thorough
def test_a_test_split_of_one_text_has_no_walk(twice, tmp_path):
    shutil.copytree(twice[2].parent / "corpus", tmp_path / "corpus")
    test = tmp_path / "corpus" / "test.txt"
    test.write_text(test.read_text(encoding="utf-8").splitlines()[0] + "\n", encoding="utf-8")
    printed = train_it(tmp_path / "corpus", tmp_path / "run", TINY).stdout
    assert "from the prior:" in printed
    assert "from one example of test" not in printed
    assert (tmp_path / "run" / "results.json").exists()


def test_samples_and_a_walk_are_printed(twice):
    lines = twice[0].stdout.splitlines()
    start = lines.index("from the prior:")
    walk = next(i for i, line in enumerate(lines) if "from one example of test" in line)
    assert walk - start - 1 == 5
    steps = [line.strip() for line in lines[walk + 1 : -1]]
    assert len(steps) == 9
    assert [text[0] + text[-1] for text in (steps[0], steps[-1])] == ["[]", "[]"]
    known = set((twice[2].parent / "corpus" / "train.txt").read_text(encoding="utf-8").split())
    for text in (*lines[start + 1 : walk], *steps[1:-1]):
        assert set(text.split()) <= known | {"<unk>"}
    assert TIMES.match(lines[-1])
    assert str(twice[2]) in lines[-1]


def test_progress_is_on_standard_error(twice):
    for name in ("text-none", "text-gaussian", "text"):
        assert re.search(rf"^{name}: .*15 of 15", twice[0].stderr, re.M)
    assert f"test: {SIZES['test']} examples" in twice[0].stderr
    assert "Traceback" not in twice[0].stderr


def test_started_again_it_prints_the_same_without_training(twice):
    first, second, _ = twice

    def results(done):
        return [line for line in done.stdout.splitlines() if not TIMES.match(line)]

    assert results(second) == results(first)
    assert second.stderr.count("at step 15") == 3
    assert "/15 " not in second.stderr


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"latent.concentraton": 3}, "did you mean --config.latent.concentration?"),
        ({"latent.kind": "vfm"}, "vmf"),
        ({"latent.dimension": 1}, ">= 2"),
        ({"latent.concentration": -1.0}, ">= 0"),
        ({"latent.concentration": "inf"}, "finite"),
        ({"optimizer.learning_rate": 0.0}, "> 0"),
        ({"data.path": "{}/nothing"}, "does not exist"),
        ({"data.path": "{}/no_utf8"}, "train.txt, line 2: byte 0xff is not UTF-8"),
        ({"data.path": "{}/empty"}, "train.txt is empty"),
        ({"data.label_classes": 1}, "train.txt, line 1: begins with '2'"),
    ],
)
def test_bad_input_is_an_error_in_one_line(tmp_path, changed, message):
    corpus = write_text_corpus(tmp_path / "corpus")
    for name, content in (("no_utf8", b"1 the cat\n1 the \xff\n"), ("empty", b"")):
        write_text_corpus(tmp_path / name)
        (tmp_path / name / "train.txt").write_bytes(content)
    (corpus / "train.txt").write_text("2 the cat\n1 the dog\n", encoding="utf-8")
    settings = {
        key: value.format(tmp_path) if isinstance(value, str) else value
        for key, value in changed.items()
    }
    with pytest.raises(UserError) as error:
        train_it(corpus, tmp_path / "run", settings)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_a_workdir_below_a_file_is_an_error(tmp_path):
    corpus = write_text_corpus(tmp_path / "corpus")
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(UserError) as error:
        train_it(corpus, tmp_path / "file" / "run", {})
    assert f"{tmp_path / 'file' / 'run'}: cannot be written" in str(error.value)


@pytest.mark.parametrize(
    ("settings", "argument", "message"),
    [
        ({"data.path": "{}/nothing"}, [], "does not exist"),
        ({}, ["--sweep=latent.dimension=2,4"], "'latent.dimension' given, allowed: seed, "),
    ],
)
def test_mistakes_do_not_wait_for_jax(tmp_path, settings, argument, message):
    # Compilation, or even the import, would be noticed: JAX cannot start here.
    (tmp_path / "jax.py").write_text("raise SystemExit('JAX was imported')", encoding="utf-8")
    variables = environment() | {"PYTHONPATH": str(tmp_path)}
    arguments = command(
        "train",
        f"--config={ROOT / 'configs' / 'text.py'}",
        f"--workdir={tmp_path / 'run'}",
        *overrides({key: value.format(tmp_path) for key, value in settings.items()}),
        *argument,
    )
    assert message in one_error_line(run(arguments, variables, expect=2))
