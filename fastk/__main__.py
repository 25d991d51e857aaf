"""`python -m fastk`: the command `fastk`."""

import sys

from fastk.cli import main

if __name__ == "__main__":
    sys.exit(main())
