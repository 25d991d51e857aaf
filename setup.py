"""Which packages the distribution holds; everything else about it stands in `pyproject.toml`.

`./kernels` and `./autotune` are installed as `fastk.kernels` and `fastk.autotune`. Only real folders are
searched, never the links `fastk/kernels` and `fastk/autotune`: each package is found exactly once, and a source
distribution, which holds no links, builds the same wheel.
"""

from setuptools import find_packages, setup

FOLDERS = {"fastk": "fastk", "fastk.kernels": "kernels", "fastk.autotune": "autotune"}
LINKS = ("kernels", "kernels.*", "autotune", "autotune.*")

packages = []
for name, folder in FOLDERS.items():
    inner = find_packages(folder, exclude=LINKS if folder == "fastk" else ())
    packages += [name, *(f"{name}.{package}" for package in inner)]

setup(packages=packages, package_dir=FOLDERS)
