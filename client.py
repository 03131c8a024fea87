"""The client from a checkout: `python client.py --help`. After `pip install` it is `wireproto-client`."""

import sys

from wireproto.client.cli import main

if __name__ == "__main__":
    sys.exit(main())
