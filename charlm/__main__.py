"""`charlm` and `python -m charlm`."""

import sys

from charlm.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
