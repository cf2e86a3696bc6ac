"""Show the tree to tools that read files, under the name by which it is installed.

The editable install maps `strataflow` to the folder `facade` and `strataflow.engine` to `engine`. A running Python
knows that; a type checker or an import linter that reads files does not. This makes `.cache/links/strataflow`, whose
entries are symbolic links to the layers and to the files of the facade. It is never committed and can be made again at
any time.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LAYERS = ("api", "services", "engine", "executors", "repositories", "migrations")


def make(root: Path = ROOT) -> Path:
    """Make or mend the links and give the folder that belongs on a search path."""
    top = root / ".cache" / "links"
    package = top / "strataflow"
    package.mkdir(parents=True, exist_ok=True)
    wanted = {name: root / name for name in LAYERS}
    wanted |= {path.name: path for path in (root / "facade").iterdir() if path.name != "__pycache__"}
    for entry in package.iterdir():
        if entry.is_symlink() and (entry.name not in wanted or not entry.exists()):
            entry.unlink()
    for name, target in wanted.items():
        if not (package / name).is_symlink():
            (package / name).symlink_to(os.path.relpath(target, package))
    return top


if __name__ == "__main__":
    sys.stdout.write(f"{make().relative_to(ROOT)}\n")
