"""Two processes of four devices each train as one does, and stop, die and resume together."""

import json
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from small_run import (
    PLATEAU_SGD,
    ROOT,
    call,
    checkpoint_contents,
    command,
    environment,
    metrics_without_times,
    one_error_line,
    run,
    training_command,
    write_text_corpus,
)

from spherical_vae import train
from spherical_vae.parallel import hosts
from spherical_vae.system.errors import UserError

STEPS = 20
SETTINGS = {
    **PLATEAU_SGD,
    "optimizer.learning_rate": 1.0,
    "train.steps": STEPS,
    "train.checkpoint_every": 5,
    "train.log_every": 2,
}
# As in test_sharding.py: sums over a batch are taken in another order.
TOLERANCE = 5e-6


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def start(arguments, devices=4, count=2):
    """Starts one command as several processes that find each other on this machine."""
    coordinator = f"--coordinator=127.0.0.1:{free_port()}"
    return [
        subprocess.Popen(
            [*arguments, coordinator, f"--process_count={count}", f"--process_index={index}"],
            env=environment(devices),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(count)
    ]


def finish(processes, expect=0, timeout=240):
    """Waits for all; returns their outputs."""
    try:
        ended = [process.communicate(timeout=timeout) for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, (out, err) in zip(processes, ended, strict=True):
        assert process.returncode == expect, f"status {process.returncode}\n{out}\n{err}"
    return ended


def wait_until(condition, processes, timeout=240):
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        assert all(process.poll() is None for process in processes), "ended before its time"
        time.sleep(0.002)


def sealed(workdir):
    return [int(path.parent.name) for path in (workdir / "checkpoints").glob("*/files.json")]


def params_of(workdir):
    return {
        name: np.frombuffer(content, np.float32)
        for name, content in checkpoint_contents(workdir)[STEPS].items()
        if name.startswith("state.params.") and content
    }


def assert_same_training(workdir, other):
    params, others = params_of(workdir), params_of(other)
    assert params.keys() == others.keys()
    for name, values in params.items():
        np.testing.assert_allclose(values, others[name], rtol=0, atol=TOLERANCE, err_msg=name)
    records, other_records = metrics_without_times(workdir), metrics_without_times(other)
    for record, other_record in zip(records, other_records, strict=True):
        for key, value in record.items():
            wanted = value if isinstance(value, str | None) else pytest.approx(value, rel=1e-4)
            assert other_record[key] == wanted, key


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_text_corpus(tmp_path_factory.mktemp("hosts") / "corpus")


@pytest.fixture(scope="module")
def alone(corpus, tmp_path_factory):
    """A run of one process with one device."""
    workdir = tmp_path_factory.mktemp("alone") / "run"
    call(train.main, *training_command(corpus, workdir, SETTINGS)[3:])
    return workdir


@pytest.fixture(scope="module")
def together(corpus, tmp_path_factory):
    """A run of two processes that was never interrupted, and what they wrote."""
    workdir = tmp_path_factory.mktemp("together") / "run"
    ended = finish(start(training_command(corpus, workdir, SETTINGS)))
    return workdir, ended


@pytest.mark.thorough
def test_two_processes_train_as_one(alone, together):
    workdir, ((first, _), (second, other_log)) = together
    assert_same_training(workdir, alone)
    # Process 0 alone tells anything.
    assert first.startswith(f"{STEPS} steps, ")
    assert first.count("\n") == 1
    assert second == ""
    assert "step" not in other_log


@pytest.mark.slow
def test_both_killed_and_resumed(corpus, together, tmp_path):
    arguments = training_command(corpus, tmp_path / "run", SETTINGS)
    for least in (5, 10):
        processes = start(arguments)
        wait_until(lambda least=least: max(sealed(tmp_path / "run"), default=0) >= least, processes)
        for process in processes:
            process.kill()
        finish(processes, expect=-signal.SIGKILL)
    (_, told), _ = finish(start(arguments))
    assert f"resumed {tmp_path / 'run'} at step 1" in told
    assert metrics_without_times(tmp_path / "run") == metrics_without_times(together[0])
    mine, theirs = checkpoint_contents(tmp_path / "run"), checkpoint_contents(together[0])
    assert mine == theirs


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_one_killed_ends_the_other(corpus, together, tmp_path, killed):
    arguments = training_command(corpus, tmp_path / "run", SETTINGS)
    processes = start(arguments)
    wait_until(lambda: sealed(tmp_path / "run"), processes)
    processes[killed].kill()
    finish([processes[killed]], expect=-signal.SIGKILL)
    _, told = processes[1 - killed].communicate(timeout=2 * hosts.HEARTBEAT_SECONDS + 30)
    assert processes[1 - killed].returncode not in (0, None)
    assert "another task died" in told
    finish(start(arguments))
    assert_same_training(tmp_path / "run", together[0])


@pytest.mark.slow
def test_a_signal_to_one_stops_both_at_one_step(corpus, together, tmp_path):
    arguments = training_command(corpus, tmp_path / "run", SETTINGS)
    processes = start(arguments)
    wait_until(lambda: sealed(tmp_path / "run"), processes)
    processes[1].send_signal(signal.SIGTERM)
    ended = finish(processes, expect=128 + signal.SIGTERM)
    last = max(checkpoint_contents(tmp_path / "run"))
    assert last < STEPS
    for _, told in ended:
        assert f"stopped by signal 15 after step {last}; the state is saved" in told
    finish(start(arguments))
    assert metrics_without_times(tmp_path / "run") == metrics_without_times(together[0])


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [((4, 2), (2, 1)), ((8, 1), (2, 2))])
def test_resumed_on_other_devices_and_processes(corpus, alone, tmp_path, before, after):
    arguments = training_command(corpus, tmp_path / "run", SETTINGS)
    processes = start(arguments, *before)
    wait_until(lambda: max(sealed(tmp_path / "run"), default=0) >= 5, processes)
    for process in processes:
        process.kill()
    finish(processes, expect=-signal.SIGKILL)
    finish(start(arguments, *after))
    assert_same_training(tmp_path / "run", alone)


@pytest.mark.slow
def test_two_processes_evaluate_as_one(together):
    arguments = command("evaluate", f"--workdir={together[0]}", "--json")
    one = json.loads(run(arguments, environment(1)).stdout)
    (out, _), (nothing, _) = finish(start(arguments))
    assert nothing == ""
    for name, value in json.loads(out).items():
        wanted = pytest.approx(value, rel=1e-4) if isinstance(value, float) else value
        assert one[name] == wanted, name


@pytest.mark.slow
def test_a_mistake_ends_all_with_one_line(corpus, tmp_path):
    (tmp_path / "file").write_text("")
    ended = finish(start(training_command(corpus, tmp_path / "file", SETTINGS)), expect=2)
    for _, told in ended:
        assert told.splitlines()[-1].startswith(f"error: {tmp_path / 'file'}: is a file;")


@pytest.mark.slow
def test_different_commands_are_refused(corpus, tmp_path):
    arguments = training_command(corpus, tmp_path / "run", SETTINGS)
    coordinator = [f"--coordinator=127.0.0.1:{free_port()}", "--process_count=2"]
    processes = [
        subprocess.Popen(
            [*arguments, *coordinator, f"--process_index={i}", f"--config.seed={i}"],
            env=environment(1),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]
    for _, told in finish(processes, expect=2):
        assert "error: the configuration of process 1 differs from that of process 0" in told
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("a:1", None, None), "--process_count=VALUE is missing: --coordinator, --process_count"),
        ((None, 2, 0), "--coordinator=VALUE is missing"),
        (("a:1", 2, None), "--process_index=VALUE is missing"),
        (("a:1", 2, 2), "--process_index=2: 0 to 1 is allowed with --process_count=2"),
        (("a", 2, 0), "--coordinator=a: HOST:PORT is allowed"),
        (("a:b", 2, 0), "--coordinator=a:b: HOST:PORT is allowed"),
        ((":7", 2, 0), "--coordinator=:7: HOST:PORT is allowed"),
        (("a:70000", 2, 0), "--coordinator=a:70000: HOST:PORT is allowed"),
    ],
)
def test_flags_that_make_no_sense_are_refused(given, told):
    with pytest.raises(UserError) as error:
        hosts.join(*given)
    assert told in str(error.value)


@pytest.mark.thorough
def test_a_second_command_of_a_process_has_joined_already():
    script = (
        "from spherical_vae.parallel import hosts\n"
        f"for _ in range(2): hosts.join('127.0.0.1:{free_port()}', 1, 0)\n"
    )
    run([sys.executable, "-c", script], environment(1))


def test_the_command_refuses_in_one_line(corpus, tmp_path):
    arguments = [*training_command(corpus, tmp_path / "run", SETTINGS), "--process_count=2"]
    line = one_error_line(run(arguments, environment(1), expect=2))
    assert "--coordinator=VALUE is missing" in line


SLURM = {"SLURM_JOB_ID": "7", "SLURM_STEP_NODELIST": "a", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}


@pytest.mark.parametrize(
    ("environ", "found"),
    [
        ({}, False),
        ({**SLURM, "SLURM_NTASKS": "2"}, True),
        ({**SLURM, "SLURM_NTASKS": "1"}, False),
        ({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "2"}, False),
        ({"TPU_WORKER_HOSTNAMES": "a,b"}, True),
        ({"TPU_WORKER_HOSTNAMES": "localhost"}, False),
        ({"TPU_WORKER_HOSTNAMES": "a,b", "JAX_PLATFORMS": "cpu"}, False),
        ({"TPU_PROCESS_ADDRESSES": "a:1,b:1"}, True),
        ({"TPU_WORKER_HOSTNAMES": "a", "MEGASCALE_NUM_SLICES": "2"}, True),
    ],
)
def test_launchers_are_found(environ, found):
    # Or else a machine with TPUs would ask its metadata server.
    assert hosts.launched_together({"TPU_SKIP_MDS_QUERY": "1", **environ}) is found
