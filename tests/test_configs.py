"""Every config file and each of its variants loads, validates and is a short delta of the base."""

import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from small_run import ROOT

from spherical_vae.config import base_config
from spherical_vae.config.command_line import load_config_file
from spherical_vae.config.validation import flatten, validate
from spherical_vae.system.errors import UserError

CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("*.py"))


def _module(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _selections():
    for path in CONFIGS:
        yield pytest.param(str(path), id=path.stem)
        for variant in _module(path).VARIANTS:
            yield pytest.param(f"{path}:{variant}", id=f"{path.stem}:{variant}")


def test_the_configs_are_there():
    assert {path.stem for path in CONFIGS} >= {"kjv", "news20", "ptb", "text", "yelp"}


@pytest.mark.parametrize("selected", list(_selections()))
def test_config_is_valid(selected):
    validate(load_config_file(selected))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config_is_named_and_recorded(path):
    assert load_config_file(str(path)).name == path.stem
    for field in ("Paper row:", "Command:", "Device:", "Expected:"):
        assert field in _module(path).__doc__


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config_is_made_afresh_by_each_call(path):
    first = load_config_file(str(path))
    first.latent.dimension = 7
    assert load_config_file(str(path)).latent.dimension != 7


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_unknown_variant_is_refused_with_the_nearest(path):
    variants = list(_module(path).VARIANTS)
    with pytest.raises(UserError, match=f"did you mean '{variants[-1]}'"):
        load_config_file(f"{path}:{variants[-1]}x")


def test_kjv_is_the_base_configuration():
    assert load_config_file(str(CONFIGS[0].parent / "kjv.py")) == base_config()


def test_variants_of_ptb_are_the_papers_two_settings():
    ptb = str(CONFIGS[0].parent / "ptb.py")
    standard, inputless = load_config_file(ptb), load_config_file(f"{ptb}:inputless")
    differing = {
        key for key, value in flatten(standard).items() if value != flatten(inputless)[key]
    }
    assert differing == {"decoder.inputless", "latent.dimension", "latent.concentration"}
    assert (inputless.latent.dimension, inputless.latent.concentration) == (50, 80.0)


def test_the_wheel_has_the_configs(tmp_path):
    """Built, unpacked, and used from a folder that has no `configs/`."""
    source, wheels, site = tmp_path / "source", tmp_path / "wheels", tmp_path / "site"
    no_bytecode = shutil.ignore_patterns("__pycache__")
    for name in ("spherical_vae", "configs"):
        shutil.copytree(ROOT / name, source / name, ignore=no_bytecode)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    wheels.mkdir()
    build = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
    built = subprocess.run(
        [sys.executable, "-c", build, wheels], cwd=source, capture_output=True, check=False
    )
    assert built.returncode == 0, built.stderr.decode()
    (wheel,) = wheels.glob("spherical_vae-*.whl")
    with zipfile.ZipFile(wheel) as files:
        names = {name for name in files.namelist() if name.endswith(".py")}
        files.extractall(site)
    wanted = {str(path.relative_to(source)) for path in source.glob("spherical_vae/**/*.py")}
    wanted |= {f"spherical_vae/{path.relative_to(source)}" for path in source.glob("configs/*.py")}
    assert names == wanted
    show = (
        "from spherical_vae.config.command_line import load_config_file\n"
        "for name in ('ptb', 'ptb:inputless'):\n"
        "    print(load_config_file(name).decoder.inputless)\n"
    )
    shown = subprocess.run(
        [sys.executable, "-P", "-c", show],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (shown.returncode, shown.stdout) == (0, "False\nTrue\n"), shown.stderr
