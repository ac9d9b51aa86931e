"""Memory does not grow with the corpus, and a corpus of any size is opened in milliseconds.

Resident memory is the high-water mark of a process of its own, mapped pages included.
"""

import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from small_run import SMALL_MODEL, environment, overrides

from spherical_vae.data.corpus import Corpus, Split, Vocabulary
from spherical_vae.data.store import open_corpus, write_corpus

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="resident memory is read from /proc"
)
ROOT = Path(__file__).parents[2]
MIB = 2**20

PEAK = """
def peak_bytes():
    from pathlib import Path
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])
"""
READ = f"""{PEAK}
import itertools, sys
from pathlib import Path
from spherical_vae.data.batches import epoch_batches
from spherical_vae.data.corpus import Split
from spherical_vae.data.store import open_corpus
if sys.argv[3] == "keep":
    Split.release_pages = lambda self: None
split = open_corpus(Path(sys.argv[1])).splits["train"]
longest = int(split.lengths.max())
batches = epoch_batches(split, 64, (longest,), seed=0, epoch=0)
for batch in itertools.islice(batches, int(sys.argv[2]) or None):
    pass
print(peak_bytes())
"""
TRAIN = f"""{PEAK}
import contextlib, runpy, sys
sys.argv = ["train", *sys.argv[1:]]
with contextlib.suppress(SystemExit):
    runpy.run_module("spherical_vae.train", run_name="__main__", alter_sys=True)
print(peak_bytes())
"""


def run(*command, **options):
    done = subprocess.run(
        [sys.executable, *map(str, command)], capture_output=True, text=True, cwd=ROOT, **options
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def peak_of_reading(folder, batches=0, release="release"):
    return int(run("-c", READ, folder, batches, release))


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Prepared corpora of 1 million and of 32 million tokens, 500 an example."""
    folders = []
    for tokens in (10**6, 32 * 10**6):
        ids, offsets = np.ones(tokens, np.int32), np.arange(0, tokens + 1, 500)
        train, small = Split(ids, None, offsets, None), Split(ids[:500], None, offsets[:2], None)
        vocabulary = Vocabulary(("<unk>", "</s>"), np.array([0, tokens]))
        splits = {"train": train, "valid": small, "test": small}
        folders.append(tmp_path_factory.mktemp("store"))
        write_corpus(Corpus("big", "sequences", vocabulary, splits, 0, ()), folders[-1], {})
    return folders


def test_reading_a_large_corpus_keeps_none_of_it(stores):
    small, large = (peak_of_reading(folder, batches=300) for folder in stores)
    assert large - small < 80 * MIB
    # The corpus has 128 MB: a process that never gives pages back would be seen.
    assert peak_of_reading(stores[1], batches=300, release="keep") - small > 80 * MIB


def test_opening_takes_milliseconds_at_any_size(stores):
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        open_corpus(stores[1])
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.02


def write_text(folder, tokens):
    """Writes sentences of 20 to 28 words out of 20,000, drawn from a pool of 5,000."""
    generator = random.Random(0)
    words = [f"w{i}" for i in range(20_000)]
    weights = np.cumsum([1 / (i + 10) for i in range(len(words))]).tolist()
    pool = [
        " ".join(generator.choices(words, cum_weights=weights, k=generator.randint(20, 28))) + "\n"
        for _ in range(5000)
    ]
    folder.mkdir()
    for name in ("valid", "test"):
        (folder / f"{name}.txt").write_text("".join(pool[:50]), encoding="utf-8")
    with (folder / "train.txt").open("w", encoding="utf-8") as file:
        written = 0
        while written < tokens:
            lines = generator.choices(pool, k=5000)
            file.writelines(lines)
            written += sum(line.count(" ") + 2 for line in lines)


@pytest.mark.slow
def test_training_on_50_million_tokens_takes_the_memory_of_one_million(tmp_path, capsys):
    """Prepared and trained by the real commands; and all batches of an epoch are read."""
    peaks = {}
    variables = environment(cache=tmp_path / "compiled")
    variables["XDG_CACHE_HOME"] = str(tmp_path / "cache")
    for tokens in (10**6, 50 * 10**6):
        corpus = tmp_path / f"text{tokens}"
        write_text(corpus, tokens)
        start = time.perf_counter()
        run("-m", "spherical_vae.data", "prepare", "text", f"--path={corpus}", env=variables)
        prepared = time.perf_counter() - start
        settings = SMALL_MODEL | {"data.label_classes": 0, "label_embedding_size": 0}
        steps = {"data.path": corpus, "train.steps": 200, "train.batch_size": 64}
        # The second finds its programs compiled: a compiler's memory would hide the corpus's.
        for again in range(2):
            arguments = ["--config=configs/text.py", f"--workdir={tmp_path / f'{tokens}-{again}'}"]
            trained = run("-c", TRAIN, *arguments, *overrides(settings, steps), env=variables)
        (folder,) = (tmp_path / "cache" / "spherical_vae").glob("text-*")
        begin = time.perf_counter()
        corpus = open_corpus(folder)
        opened = time.perf_counter() - begin
        peaks[tokens] = int(trained.split()[-1]), peak_of_reading(folder)
        with capsys.disabled():
            print(
                f"\n{corpus.splits['train'].tokens:,} tokens: prepared in {prepared:.1f} s, opened "
                f"in {1e3 * opened:.1f} ms; peak of training {peaks[tokens][0] / MIB:.0f} MiB, of "
                f"reading an epoch {peaks[tokens][1] / MIB:.0f} MiB"
            )
        folder.rename(tmp_path / "cache" / f"done{tokens}")
    for large, small in zip(peaks[50 * 10**6], peaks[10**6], strict=True):
        assert large - small < 200 * 10**6
