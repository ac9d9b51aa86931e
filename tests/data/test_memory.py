"""Memory does not grow with the corpus: private memory of processes that prepare and read one."""

import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

MIB = 2**20

# Prepares a corpus and reads an epoch; prints the largest private memory of either. Mapped pages
# are not private: the system takes them back when it needs them.
READ = """
import sys, threading, time
from pathlib import Path
from spherical_vae.config import base_config
from spherical_vae.data import load_corpus
from spherical_vae.data.batches import epoch_batches
peak = 0
def watch():
    global peak
    while True:
        status = Path("/proc/self/status").read_text()
        peak = max(peak, 1024 * int(status.partition("RssAnon:")[2].split()[0]))
        time.sleep(0.01)
threading.Thread(target=watch, daemon=True).start()
data = base_config().data
data.update(name="text", path=sys.argv[1], cache_dir=sys.argv[2], vocabulary_size=10_000)
split = load_corpus(data).splits["train"]
for batch in epoch_batches(split, 64, (int(split.lengths.max()),), seed=0, epoch=0):
    pass
print(split.tokens, peak)
"""


def write_text(folder, tokens):
    """Writes sentences of 20 to 28 words out of 20,000, sampled from a pool of 5,000."""
    generator = random.Random(0)
    words = [f"w{i}" for i in range(20_000)]
    weights = np.cumsum([1 / (i + 10) for i in range(len(words))]).tolist()
    pool = [
        " ".join(generator.choices(words, cum_weights=weights, k=20 + i % 9)) + "\n"
        for i in range(5_000)
    ]
    folder.mkdir()
    (folder / "test.txt").write_text(pool[0])
    with (folder / "train.txt").open("w") as file:
        for _ in range(tokens // (25 * 1000)):
            file.writelines(generator.choices(pool, k=1000))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_50_million_tokens_take_the_memory_of_one_million(tmp_path, capsys):
    peaks = {}
    for tokens in (10**6, 50 * 10**6):
        write_text(tmp_path / str(tokens), tokens)
        command = [sys.executable, "-c", READ, str(tmp_path / str(tokens)), str(tmp_path / "cache")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        read, peaks[tokens] = map(int, done.stdout.split())
        # Some are carved for validation.
        assert read == pytest.approx(tokens, rel=0.1)
        with capsys.disabled():
            print(f"\n{read:,} tokens: peak of private memory {peaks[tokens] / MIB:.0f} MiB")
    # Without blocks the tokens alone are 200 MB, and the words of a sentence some gigabytes.
    assert peaks[50 * 10**6] - peaks[10**6] < 150 * MIB
