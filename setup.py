"""Which packages the distribution holds; everything else about it stands in `pyproject.toml`.

`./kernels`, `./autotune` and `./bench` are installed as `fastk.kernels`, `fastk.autotune` and `fastk.bench`. Only real
folders are searched, never the links in `fastk/`: each package is found exactly once, and a source distribution, which
holds no links, builds the same wheel.
"""

from setuptools import find_packages, setup

FOLDERS = {"fastk": "fastk", "fastk.kernels": "kernels", "fastk.autotune": "autotune", "fastk.bench": "bench"}
LINKS = tuple(f"{folder}{inner}" for folder in list(FOLDERS.values())[1:] for inner in ("", ".*"))

packages = []
for name, folder in FOLDERS.items():
    inner = find_packages(folder, exclude=LINKS if folder == "fastk" else ())
    packages += [name, *(f"{name}.{package}" for package in inner)]

setup(packages=packages, package_dir=FOLDERS)
