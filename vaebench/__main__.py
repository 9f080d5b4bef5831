"""``python -m vaebench``: the same as the command ``vaebench``."""

import sys

from vaebench.cli import main

if __name__ == "__main__":
    sys.exit(main())
