"""Write the schema to standard output: `python -m strataflow.api.graphql > docs/schema.graphql`."""

from __future__ import annotations

import sys

from .schema import build

if __name__ == "__main__":
    sys.stdout.write(build().text)
