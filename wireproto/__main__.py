"""`python -m wireproto COMMAND ...`: the operator's command line."""

import sys

from wireproto.admin.cli import main

if __name__ == "__main__":
    sys.exit(main())
