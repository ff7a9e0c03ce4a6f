"""``python -m partialroot``."""

import sys

from partialroot.cli import main

if __name__ == "__main__":
    sys.exit(main())
