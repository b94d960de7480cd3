"""What a wheel holds: the packages of kdbench/, and the suites, which lie beside it in a checkout."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["kdbench*"]), "kdbench.suites"],
    package_dir={"kdbench.suites": "suites"},
)
