"""Presets lie beside the package in a checkout and in it where it is installed, which pyproject.toml cannot say."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["caa_core*"]), "caa_core.presets"],
    package_dir={"caa_core.presets": "presets"},
    package_data={"caa_core.presets": ["*", "*/*"], "caa_core.app.opening.languages": ["*.po"]},
)
