"""Map the folders at the root to one installed name.

`facade` installs as `strataflow`, every other layer as `strataflow.<layer>`. The folders below a layer are found, not
listed, so that a new subpackage cannot be missing from the wheel. docs/adr/0001 says why.
"""

from setuptools import find_namespace_packages, setup

LAYERS = ["api", "services", "engine", "executors", "repositories", "migrations"]

found = find_namespace_packages(
    ".",
    include=[pattern for layer in LAYERS for pattern in (layer, f"{layer}.*")],
    exclude=["__pycache__", "*.__pycache__", "*.__pycache__.*"],
)

setup(
    packages=["strataflow", *(f"strataflow.{name}" for name in found)],
    package_dir={"strataflow": "facade", **{f"strataflow.{layer}": layer for layer in LAYERS}},
)
