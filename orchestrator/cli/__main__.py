"""`python -m orchestrator.cli` is `hsfm-sweep`."""

from __future__ import annotations

import sys

from orchestrator.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
