"""What `accelerator.py` trains: a table, and what begins a training or goes on with it.

Each is `python -m spherical_vae.train` as a process of its own. When its time is over it is asked
to stop by SIGTERM, saves its state, and goes on in a later queue if its folder is still there.
"""

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import carry_parameters
from job_queue import Settings, UnfinishedError, say

from spherical_vae.system.errors import UserError

ROOT = Path(__file__).parents[1]
# For saving the state after SIGTERM, and for what is done with the rest of the queue.
STOP_SECONDS = 30.0


class Training(NamedTuple):
    """A sweep of one configuration.

    Attributes:
      name: of the record and of the folder.
      config: a file of the folder `configs` with its variant, as `ptb:inputless`.
      overrides: of the configuration, by dotted key.
      sweep: as the flag; single runs are sweeps of one seed.
      seconds: below which it is not begun or gone on with.
      origin: packed parameters of the run that it starts from, by their name in `PARAMETERS`.
    """

    name: str
    config: str
    overrides: dict[str, Any]
    sweep: str = "seed=0,1,2"
    seconds: float = 60.0
    origin: str = ""

    @property
    def question(self) -> str:
        """What the record says, in a line."""
        return f"test bounds of configs/{self.config}, {self.sweep}"


SMOKE: dict[str, Any] = {
    "embedding_size": 8,
    "encoder.hidden_size": 8,
    "decoder.hidden_size": 8,
    "latent.dimension": 4,
    "data.vocabulary_size": 50,
    "data.buckets": 1,
    "train.batch_size": 16,
    "train.steps": 4,
    "train.epochs": 1,
    "rate.autoencoder_epochs": 0,
    "train.steps_per_call": 2,
    "train.evaluate_every": 0,
    "evaluation.importance_samples": 2,
    "evaluation.chunk": 2,
    "evaluation.batch_size": 16,
}
# Few padded lengths: what is compiled is time that is lent. A state of several replicas is some
# hundred megabytes, so it is saved every ten epochs only.
CARD: dict[str, Any] = {
    "data.buckets": 2,
    "compute.dtype": "bfloat16",
    "train.evaluate_every": 10 * 658,
    "train.epochs": 30,
    "evaluation.batch_size": 256,
}
ADDED = CARD | {"train.epochs": 7, "train.evaluate_every": 2 * 658}
# Table 1 is about the authors' own training: SGD at 10, batches of 20, in float32, until validation
# does not improve. The figures compare settings by shorter runs of equal length.
PAPER: dict[str, Any] = {"data.buckets": 2, "evaluation.batch_size": 256}
FIGURE = CARD | {
    "latent.dimension": 50,
    "optimizer.name": "adam",
    "optimizer.learning_rate": 2e-3,
    "optimizer.schedule": "cosine",
    "optimizer.clip_norm": 5.0,
    "train.nats_per": "example",
    "train.batch_size": 64,
    "train.early_stopping": 0,
    "train.epochs": 10,
    "train.evaluate_every": 5 * 658,
    "evaluation.importance_samples": 50,
}
GAUSSIAN = {"latent.kind": "gaussian"}
THREE_LAYERS = {"encoder.layers": 3, "decoder.layers": 3}
ANNEALING = "kl_weight.schedule=constant,sigmoid;seed=0,1,2"
KL_WEIGHTS = "kl_weight.value=0.2,0.5,1.0"
FIG4_KAPPAS = "latent.concentration=20,40,60,80,100,120"
FIG6_KAPPAS = "latent.concentration=20,50,80,110,150,200"
DROPOUTS = "dropout_rate=0.4,0.5"
# Where `carry_parameters.py pack` puts what comes along.
PARAMETERS = ROOT / ".carry" / "parameters"
# Trying kernels on the card took a minute a program, and gave nothing that a step would show.
COMPILER_FLAGS = "--xla_gpu_autotune_level=0 --xla_gpu_enable_triton_gemm=false"
TRAININGS = (
    Training("ptb_vmf_added", "best_ptb:vmf_added", ADDED, origin="ptb_rnnlm"),
    Training("ptb_gaussian_added", "best_ptb:gaussian_added", ADDED, origin="ptb_rnnlm"),
    Training("ptb_vmf", "best_ptb:vmf", CARD, DROPOUTS),
    Training("ptb_gaussian", "best_ptb:gaussian", CARD, DROPOUTS),
    Training("ptb_rnnlm", "best_ptb:rnnlm", CARD, DROPOUTS),
    Training("ptb_inputless_vmf", "best_ptb:vmf_inputless", CARD),
    Training("ptb_inputless_gaussian", "best_ptb:gaussian_inputless", CARD),
    Training("ptb_inputless_rnnlm", "best_ptb:rnnlm_inputless", CARD),
    Training("table1_gaussian", "ptb:inputless", PAPER | GAUSSIAN, ANNEALING),
    Training("table1_three_layers", "ptb:inputless", PAPER | GAUSSIAN | THREE_LAYERS, ANNEALING),
    Training("table1_vmf", "ptb:inputless", PAPER),
    Training("fig4_gaussian", "ptb:inputless", FIGURE | GAUSSIAN, KL_WEIGHTS),
    Training("fig4_vmf", "ptb:inputless", FIGURE, FIG4_KAPPAS),
    *(
        Training(f"fig6_{setting}", f"ptb:{setting}", FIGURE, FIG6_KAPPAS)
        for setting in ("standard", "inputless", "standard_bow", "inputless_bow")
    ),
)


def train(settings: Settings, name: str) -> dict[str, Any]:
    """Trains one of `TRAININGS` until it is measured, or until the seconds are over.

    Returns:
      What was trained, its results and the validation curves.

    Raises:
      UnfinishedError: the seconds were over; it has the same, but for the results.
      RuntimeError: the command failed.
    """
    training = next(training for training in TRAININGS if training.name == name)
    workdir = Path(settings.runs).absolute() / name
    if training.origin and not settings.smoke:
        _unpack(training.origin, workdir, settings.corpora)
    command = command_of(training, settings, workdir)
    say(" ".join(command))
    begin = time.monotonic()
    status, asked = _run(command, settings.seconds - STOP_SECONDS)
    found = {
        "config": training.config,
        "overrides": training.overrides,
        "sweep": training.sweep,
        "seconds_of_this_part": time.monotonic() - begin,
        "replicas": {
            log.parent.name: _told(log) for log in sorted(workdir.glob("replicas/*/metrics.jsonl"))
        },
    }
    results = workdir / "results.json"
    if found["replicas"]:
        # Checkpoints are too large to be carried; the best parameters are not.
        target = Path(settings.out).absolute() / "parameters" / name
        try:
            found["parameters"] = [file.name for file in carry_parameters.pack(workdir, target)]
        except (UserError, LookupError) as error:  # nothing was saved, or measured, yet
            found["parameters"] = str(error)
    if status == 0 and results.exists():
        return found | {"results": json.loads(results.read_text())}
    if asked:
        # While it compiles or measures it does not hear; what was saved before is still there.
        raise UnfinishedError(found | {"saved_its_last_step": status == 128 + signal.SIGTERM})
    raise RuntimeError(f"training ended with status {status}; what it told is in the log")


def command_of(training: Training, settings: Settings, workdir: Path) -> list[str]:
    """Returns the command that trains and measures.

    In a smoke run it trains on sentences of its own, which are written beside the runs.
    """
    overrides = dict(training.overrides)
    if settings.corpora:
        overrides["data.cache_dir"] = str(Path(settings.corpora).absolute())
    if settings.smoke:
        overrides |= SMOKE | {
            "data.name": "text",
            "data.path": str(_tiny_corpus(workdir.parent)),
            "data.cache_dir": "none",
        }
    path, _, variant = training.config.partition(":")
    config = Path("configs", f"{path}.py")
    flags = [f"--config={config}:{variant}" if variant else f"--config={config}"]
    flags += [f"--config.{key}={value}" for key, value in overrides.items()]
    flags += [f"--sweep={training.sweep}", f"--workdir={workdir}"]
    if training.origin and not settings.smoke:
        flags.append(f"--init_from={_origin(training.origin, workdir)}")
    if settings.compilation_cache:
        # The command has another working directory, and "none" is no folder.
        given = settings.compilation_cache
        place = given if given == "none" else Path(given).absolute()
        flags.append(f"--compilation_cache={place}")
    return [sys.executable, "-m", "spherical_vae.train", *flags]


def _origin(name: str, workdir: Path) -> Path:
    """Returns the run of packed parameters that another run starts from."""
    return workdir.parent / f"{name}-carried"


def _unpack(name: str, workdir: Path, corpora: str) -> None:
    """Makes that run if it is not there.

    Raises:
      FileNotFoundError: the parameters have not been carried.
    """
    if not _origin(name, workdir).exists():
        cache = str(Path(corpora).absolute()) if corpora else ""
        carry_parameters.unpack(PARAMETERS / name, _origin(name, workdir), cache)


def _run(command: list[str], seconds: float) -> tuple[int, bool]:
    """Runs a command for some seconds; returns its status, and whether it was asked to stop."""
    # It has the card for itself, whatever the queue set for its own process.
    variables = {k: v for k, v in os.environ.items() if k != "XLA_PYTHON_CLIENT_PREALLOCATE"}
    variables["PYTHONPATH"] = os.pathsep.join(
        [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    )
    # Nobody looks at the bar; in a log every state of it is a line.
    variables.setdefault("TQDM_MININTERVAL", "20")
    variables["XLA_FLAGS"] = f"{variables.get('XLA_FLAGS', '')} {COMPILER_FLAGS}".strip()
    process = subprocess.Popen(command, env=variables, cwd=ROOT)
    try:
        return process.wait(max(seconds, 1.0)), False
    except subprocess.TimeoutExpired:
        return _stop(process), True
    finally:
        # The queue itself is being stopped.
        if process.poll() is None:
            _stop(process)


def _stop(process: subprocess.Popen) -> int:
    process.terminate()
    try:
        return process.wait(STOP_SECONDS - 5)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _told(log: Path) -> dict[str, Any]:
    """Returns the validation curve of a replica, and its speed, which all replicas share."""
    records = [json.loads(line) for line in log.read_text().splitlines()]
    rates = [r["tokens_per_second"] for r in records if "tokens_per_second" in r]
    return {
        "last_step": records[-1]["step"] if records else 0,
        "tokens_per_second_median": statistics.median(rates) if rates else None,
        "validation": [record for record in records if record["split"] == "valid"],
    }


def _tiny_corpus(folder: Path) -> Path:
    place = folder / "tiny_corpus"
    place.mkdir(parents=True, exist_ok=True)
    for split, lines in (("train", 64), ("valid", 16), ("test", 16)):
        words = [f"w{i % 7} w{i % 5} w{i % 3}" for i in range(lines)]
        (place / f"{split}.txt").write_text("\n".join(words) + "\n")
    return place
