"""``python -m harness.cli`` is ``turnbench``."""

import sys

from harness.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    sys.exit(main())
