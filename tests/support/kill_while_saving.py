"""Kills a process with SIGKILL while it saves checkpoints, over and over, and checks what is left.

Run by `test_checkpoint.py` in a process of its own: `python kill_while_saving.py DIRECTORY SEED
ROUNDS`. It forks before JAX has started a backend, so that a round costs a fraction of a second.
Prints one JSON object.
"""

import json
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint  # noqa: F401 (once, for all the forks)

from spherical_vae.runs.checkpoint import CheckpointStore


def state_of(step):
    """Returns a state whose every array says which step it is of."""
    return {
        "weights": jnp.arange(3000, dtype=jnp.float32) + step,
        "half": jnp.full((7, 11), step % 256, jnp.bfloat16),
        "step": jnp.asarray(step, jnp.int32),
        "nothing": (),
    }


def host_of(step):
    """Returns the host state of a step."""
    return {"step": step}


def check(store, step):
    """Raises unless the checkpoint of `step` holds what was saved then."""
    assert store.restore_host(step) == host_of(step)
    restored = store.restore(step, "state", state_of(0))
    for found, wanted in zip(
        jax.tree.leaves(restored), jax.tree.leaves(state_of(step)), strict=True
    ):
        assert found.dtype == wanted.dtype
        np.testing.assert_array_equal(found, wanted)


def resume_and_save_for_ever(directory, pipe):
    """Checks what the last round left, then saves until it is killed, telling of every save."""
    store = CheckpointStore(directory)
    found = store.restore_latest({"state": state_of(0)})
    step = 0
    if found is not None:
        step = found[0]
        for there in store.steps():
            check(store, there)
    assert all(path.name.isdecimal() for path in Path(directory).iterdir())
    while True:
        os.write(pipe, f"{step}\n".encode())
        step += 1
        store.save(step, {"state": state_of(step)}, host_of(step))


def play_round(directory, wait):
    """Lets a child save, kills it when `wait` returns, returns what it told.

    Args:
      directory: of the checkpoints.
      wait: called when the child is ready, with the lines that it tells.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        try:
            resume_and_save_for_ever(directory, writer)
        except BaseException:
            os.write(writer, f"FAILED {traceback.format_exc()}".encode())
        os._exit(1)
    os.close(writer)
    with os.fdopen(reader) as lines:
        told = [lines.readline()]
        told += wait(lines)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        told += lines.readlines()
    assert "FAILED" not in "".join(told), "".join(told)
    return [int(line) for line in told]


def main():
    """Plays the rounds and prints how they went."""
    directory, seed, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    generator = random.Random(seed)
    seconds = []

    def three_saves(lines):
        begun = time.monotonic()
        told = [lines.readline() for _ in range(3)]
        seconds.append((time.monotonic() - begun) / 3)
        return told

    last, cut_short = play_round(directory, three_saves)[-1], 0
    for _ in range(rounds):
        # Of a machine that is slow today the kills fall into the saves too.
        delay = generator.uniform(0.0, 3 * seconds[0])
        told = play_round(directory, lambda lines, delay=delay: time.sleep(delay) or [])
        # What was said to be saved is still there, and nothing unsaid beyond one save.
        assert last <= told[0] <= last + 1, (last, told)
        last = told[-1]
        names = [path.name for path in Path(directory).iterdir()]
        unsealed = [n for n in names if not (Path(directory) / n / "files.json").exists()]
        cut_short += bool(unsealed)
    print(json.dumps({"saves": last, "rounds": rounds, "cut_short": cut_short}))


if __name__ == "__main__":
    main()
