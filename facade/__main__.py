"""`python -m strataflow`: the same command line as the console script."""

from __future__ import annotations

from strataflow.api.cli import main

if __name__ == "__main__":
    main()
