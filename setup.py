"""Puts `configs/` into the wheel, as `spherical_vae/configs`; all else is in `pyproject.toml`."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["spherical_vae*"]), "spherical_vae.configs"],
    package_dir={"spherical_vae.configs": "configs"},
)
