"""The server from a checkout: `python server.py --help`. After `pip install` it is `wireproto-server`."""

import sys

from wireproto.cli import main

if __name__ == "__main__":
    sys.exit(main())
