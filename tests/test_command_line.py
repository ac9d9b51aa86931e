"""Every mistake on a command line is one line on standard error, exit status 2 and no traceback."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from spherical_vae.config import base_config
from spherical_vae.config.command_line import (
    CommandFlags,
    given_places,
    load_config_file,
    packaged_configs,
)
from spherical_vae.system.errors import UserError

CONFIGS = Path(__file__).parent.parent / "configs"

COMMAND = """
'Says what it is given.'
import os, signal, sys
from absl import logging
from spherical_vae.config.command_line import CommandFlags
from spherical_vae.system.errors import Interrupted, UserError
flags = CommandFlags(__name__, __doc__)
flags.define_config()
flags.DEFINE_string("do", "print", "what main does")
@flags.command
def main(given):
    if given.do == "refuse":
        raise UserError("this is\\n  one line")
    if given.do == "fail":
        raise ZeroDivisionError("a mistake of the program")
    if given.do == "stop":
        raise Interrupted(15, 3)
    if given.do == "interrupt":
        # A job in the background of a script inherits that Control-C is ignored.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.kill(os.getpid(), signal.SIGINT)
    if given.do == "lines":
        for number in range(100_000):
            print(number)
    if given.do == "words":
        print("na\\u00efve \\u65e5 \\udcff")
    logging.info("of interest to nobody")
    assert "jax" not in sys.modules
    print("result", given.config.latent.concentration)
main.run()
"""


def parsed(*arguments):
    """Returns the config that a command line gives."""
    flags = CommandFlags("program", None)
    flags.define_config()
    return flags.parse(["program", *arguments]).config


def complaint(*arguments):
    with pytest.raises(UserError) as caught:
        parsed(*arguments)
    message = str(caught.value)
    assert "\n" not in message
    return message


def command(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-c", COMMAND, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        **options,
    )


def test_without_a_config_it_is_the_base():
    assert parsed().to_dict() == base_config().to_dict()


@pytest.mark.parametrize("equals", [True, False])
def test_a_config_file_and_its_variant(equals):
    selected = f"{CONFIGS / 'ptb.py'}:inputless"
    arguments = [f"--config={selected}"] if equals else ["--config", selected]
    config = parsed("--config.latent.dimension=7", *arguments)
    assert (config.name, config.decoder.inputless, config.latent.dimension) == ("ptb", True, 7)


@pytest.mark.parametrize(
    ("argument", "key", "value"),
    [
        ("--config.latent.concentration=80", "latent.concentration", 80.0),
        ("--config.latent.concentration=1e2", "latent.concentration", 100.0),
        ("-config.seed=3", "seed", 3),
        ("--config.data.manual_dir=a=b:c d", "data.manual_dir", "a=b:c d"),
        ("--config.decoder.inputless=false", "decoder.inputless", False),
        ("--noconfig.decoder.inputless", "decoder.inputless", False),
        ("--config.encoder.bidirectional", "encoder.bidirectional", True),
        ("--config.baselines=none", "baselines", ("none",)),
        ("--config.baselines=none,vmf", "baselines", ("none", "vmf")),
        ("--config.baselines=('none', 'vmf')", "baselines", ("none", "vmf")),
        ("--config.baselines=(none,)", "baselines", ("none",)),
        ("--config.baselines=()", "baselines", ()),
        ("--config.baselines=", "baselines", ()),
    ],
)
def test_overrides(argument, key, value):
    expected = base_config()
    expected.update_from_flattened_dict({key: value})
    config = parsed(argument)
    assert config.to_dict() == expected.to_dict()
    assert config.is_locked


def test_an_override_in_two_words_and_the_last_of_two():
    assert parsed("--config.latent.dimension", "9").latent.dimension == 9
    assert parsed("--config.seed=1", "--config.seed=2").seed == 2


def test_a_flag_file(tmp_path):
    (tmp_path / "flags").write_text(f"--config={CONFIGS / 'news20.py'}\n--config.seed=5\n")
    config = parsed(f"--flagfile={tmp_path / 'flags'}")
    assert (config.name, config.seed) == ("news20", 5)


@pytest.mark.parametrize(
    ("argument", "nearest"),
    [
        ("--config.latent.concentraton=3", "--config.latent.concentration"),
        ("--config.concentration=3", "--config.latent.concentration"),
        ("--config.optimizer.lr=3", None),
        ("--config.latnt.kind=vmf", "--config.latent.kind"),
        ("--config.name.kind=vmf", None),
        ("--noconfig.inputless", "--config.decoder.inputless"),
        ("--config.=3", None),
    ],
)
def test_unknown_keys_are_refused_with_the_nearest(argument, nearest):
    message = complaint(argument)
    assert "there is no such key" in message
    assert nearest is None or message.endswith(f"; did you mean {nearest}?")


def test_a_group_is_no_key():
    assert "a group of keys; set one of latent.concentration, " in complaint("--config.latent=3")


@pytest.mark.parametrize(
    ("argument", "kind"),
    [
        ("--config.latent.dimension=three", "int"),
        ("--config.train.steps=1e3", "int"),
        ("--config.train.steps=", "int"),
        ("--config.optimizer.learning_rate=fast", "float"),
        ("--config.decoder.inputless=maybe", "bool"),
    ],
)
def test_values_of_the_wrong_type_are_refused(argument, kind):
    key, value = argument.removeprefix("--").split("=")
    assert complaint(argument).startswith(
        f"{key}: {value!r} given, allowed: a value of type {kind}"
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--config.latent.dimension=1"], "config.latent.dimension: 1 given, allowed: >= 2"),
        (["--config.latent.concentration=nan"], "config.latent.concentration: nan given"),
        (["--config.optimizer.learning_rate=0"], "config.optimizer.learning_rate: 0.0 given"),
        (["--config.latent.kind=gausian"], "did you mean 'gaussian'?"),
        (["--wrkdir=x"], "Unknown command line flag 'wrkdir'"),
        (["--manual_dir=x"], "did you mean --config.data.manual_dir?"),
        (["--seed=3"], "did you mean --config.seed?"),
        (["--batch_size=3"], "--config.evaluation.batch_size or --config.train.batch_size?"),
        (["--confg=x"], "Did you mean: config"),
        (["ptb.py"], "unexpected argument 'ptb.py'"),
        (["--", "--config=x"], "unexpected argument '--config=x'"),
        (["--config.latent.dimension"], "Missing value for flag --config.latent.dimension"),
        (["--config"], "--config: a path is missing"),
        (["--config="], "--config: a path is missing"),
        (["--config=nowhere.py"], "there is no file 'nowhere.py'"),
        (["--config=configs"], "there is no file 'configs'"),
        (["--flagfile=nowhere"], "nowhere"),
    ],
)
def test_mistakes_are_told(arguments, told):
    assert told in complaint(*arguments)


@pytest.mark.parametrize("variant", [None, "inputless"])
def test_a_config_of_the_package_is_found_by_its_name(tmp_path, monkeypatch, variant):
    monkeypatch.chdir(tmp_path)
    behind = "" if variant is None else f":{variant}"
    found = load_config_file(f"ptb{behind}")
    assert found == load_config_file(f"{CONFIGS / 'ptb.py'}{behind}")
    assert set(packaged_configs()) == {path.stem for path in CONFIGS.glob("*.py")}
    message = complaint(f"--config=pbt{behind}")
    listed = ", ".join(packaged_configs())
    assert f"there is no file 'pbt'; configs of the package: {listed}" in message
    assert message.endswith("; did you mean 'ptb'?")


def test_a_path_may_have_colons_and_a_tilde(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = (CONFIGS / "text.py").read_text(encoding="utf-8")
    for path in (Path("a:b.py"), Path("with:colon/c.py"), Path("home/own.py")):
        path.parent.mkdir(exist_ok=True)
        path.write_text(source, encoding="utf-8")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for selected in ("a:b.py", "with:colon/c.py", "~/own.py"):
        assert load_config_file(selected).decoder.inputless
        assert not load_config_file(f"{selected}:standard").decoder.inputless


def test_a_missing_file_has_a_nearest_one():
    assert complaint(f"--config={CONFIGS / 'pbt.py'}").endswith(
        f"did you mean '{CONFIGS / 'ptb.py'}'?"
    )


def test_an_unknown_variant_has_a_nearest_one():
    message = complaint(f"--config={CONFIGS / 'ptb.py'}:inputles")
    assert message == (
        "variant of the ptb config: 'inputles' given, allowed: standard, inputless, standard_bow, "
        "inputless_bow; "
        "did you mean 'inputless'?"
    )


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("def get_config(:", "SyntaxError at line 1"),
        ("import nothing_like_this", "ModuleNotFoundError at line 1"),
        ("\n1 / 0", "ZeroDivisionError at line 2: division by zero"),
        ("def get_config():\n    raise ValueError('a\\nb')", "ValueError at line 2: a"),
        ("def get_config(a, b):\n    pass", "TypeError"),
        ("x = 1", "the file defines no get_config()"),
        ("def get_config():\n    return None", "returned NoneType, not a ConfigDict"),
        ("from ml_collections import ConfigDict as get_config", "config.baselines: missing"),
    ],
)
def test_a_config_file_that_fails_is_told(tmp_path, monkeypatch, source, told):
    (tmp_path / "broken.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    for path in ("broken.py", tmp_path / "broken.py"):
        with pytest.raises(UserError) as caught:
            parsed(f"--config={path}")
        assert told in str(caught.value)


def test_a_config_file_without_variants(tmp_path):
    path = tmp_path / "plain.py"
    path.write_text("from spherical_vae.config import base_config\nget_config = base_config\n")
    assert load_config_file(str(path)) == base_config()
    with pytest.raises(UserError, match="this config has no variants"):
        load_config_file(f"{path}:small")


def test_a_config_file_with_a_key_too_many(tmp_path):
    path = tmp_path / "extra.py"
    path.write_text(
        "from spherical_vae.config import base_config\n"
        "def get_config():\n"
        "    config = base_config()\n"
        "    config.latent.concentraton = 3.0\n"
        "    return config\n"
    )
    assert "did you mean 'config.latent.concentration'?" in complaint(f"--config={path}")


def test_a_required_flag_is_asked_for():
    flags = CommandFlags("program", None)
    flags.DEFINE_string("workdir", None, "where", required=True)
    with pytest.raises(UserError, match=r"^--workdir=VALUE is missing: the command needs it$"):
        flags.parse(["program"])


def test_results_go_to_standard_output_and_nothing_to_the_other():
    done = command("--config.latent.concentration=80")
    assert (done.returncode, done.stdout, done.stderr) == (0, "result 80.0\n", "")


def test_more_is_logged_when_asked_for():
    assert "of interest to nobody" in command("--verbosity=0").stderr


@pytest.mark.parametrize(
    ("argument", "line"),
    [
        ("--do=refuse", "error: this is one line\n"),
        ("--config.seed=-1", "error: config.seed: -1 given, allowed: a finite number >= 0 and "),
        ("--config.sed=1", "error: --config.sed: there is no such key; did you mean"),
        ("--config=nowhere.py", "error: --config=nowhere.py: there is no file 'nowhere.py'"),
        ("--d=1", "error: Unknown command line flag 'd'"),
    ],
)
def test_a_mistake_exits_with_2_and_one_line(argument, line):
    done = command(argument)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(line)
    assert done.stderr.count("\n") == 1


def test_a_mistake_of_the_program_keeps_its_traceback():
    done = command("--do=fail")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "a mistake of the program" in done.stderr


def test_an_interrupt_is_quiet():
    done = command("--do=interrupt")
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_a_signal_that_stopped_training_is_the_status():
    done = command("--do=stop")
    told = "stopped by signal 15 after step 3; the state is saved\n"
    assert (done.returncode, done.stdout, done.stderr) == (143, "", told)


@pytest.mark.parametrize(
    ("encoding", "word"),
    [("ascii", "na\\xefve \\u65e5"), ("latin-1", "naïve \\u65e5"), ("utf-8", "naïve 日")],
)
def test_what_the_output_cannot_encode_is_escaped(encoding, word):
    variables = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, "--do=words"],
        capture_output=True,
        env=variables,
        check=True,
        timeout=60,
    )
    assert done.stdout.decode(encoding) == f"{word} \\udcff\nresult 30.0\n"


def test_commands_are_called_from_python_beside_each_other_and_in_threads():
    def define(name):
        flags = CommandFlags(name, None)
        flags.define_config()
        flags.DEFINE_string("word", f"of {name}", "the same flag in both")

        @flags.command
        def main(given):
            together.wait(10)
            said.append((name, given.word, bool(given["word"].present), given.config.seed))

        return main

    said, together = [], threading.Barrier(1)
    first, second = define("first"), define("second")
    first(["--word=given", "--config.seed=1"])
    first()
    second(["--config.seed=2"])
    assert said == [
        ("first", "given", True, 1),
        ("first", "of first", False, 0),
        ("second", "of second", False, 2),
    ]
    # The same command at the same time, each call with its own flags.
    said.clear()
    together = threading.Barrier(4)
    threads = [
        threading.Thread(target=first, args=([f"--word={i}", f"--config.seed={i}"],))
        for i in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(said) == [("first", str(i), True, i) for i in range(4)]
    with pytest.raises(UserError, match="Unknown command line flag 'wrd'"):
        first(["--wrd=x"])


def test_every_command_can_be_imported_into_one_process():
    modules = ["train", "evaluate", "generate", "data.__main__"]
    script = "".join(f"import spherical_vae.{name}\n" for name in modules)
    script += (
        "from spherical_vae import train, evaluate, generate\n"
        "for command in (train, evaluate, generate):\n"
        "    try: command.main(['--workdir=nowhere', '--config.seed=x', '--seed=x'])\n"
        "    except ValueError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 3


def test_help_is_no_mistake():
    done = command("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "--config" in done.stdout
    assert "(default: 'spherical_vae/config/defaults.py')" in done.stdout
    assert "what main does" in done.stdout
    assert "Says what it is given." in done.stdout


def test_a_reader_that_goes_away_is_no_failure():
    line = f'{sys.executable} -c "$COMMAND" --do=lines | head -n 1'
    done = subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, env={"COMMAND": COMMAND}, check=False
    )
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_the_place_of_a_corpus_has_its_name_in_training_too():
    flags = CommandFlags("program", None)
    flags.define_places()
    given = flags.parse(["program", "--config.data.path=/one", "--manual_dir", "/two"])
    assert given_places(given) == {"path": "/one", "manual_dir": "/two"}
    # Of that call alone.
    assert given_places(flags.parse(["program"])) == {}
    with pytest.raises(UserError, match=r"config\.data\.paths"):
        flags.parse(["program", "--config.data.paths=/one"])
