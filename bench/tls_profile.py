"""Is the server's TLS what Mozilla calls "modern"? sslyze says, against a server that is started for it.

    python -m bench.tls_profile SSLYZE     (`make check-tls` does it, with sslyze in an environment of its own)

It prints what sslyze prints, and ends with sslyze's own exit code: 0 if there is nothing to object to.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from bench.targets import wireproto_server

PROFILE = "modern"
PATIENCE = 120
"""Seconds for sslyze; it needs one or two."""


def check(sslyze: Path) -> int:
    """Start a server with the certificate that it makes for itself, and have it looked at. The exit code of sslyze."""
    with wireproto_server("--shards", "1") as server:
        command = [
            sslyze,
            f"--mozilla_config={PROFILE}",
            "--certinfo_ca_file",
            server.ca,
            f"{server.host}:{server.port}",
        ]
        # What it warns of is in the public authorities that it carries along.
        done = subprocess.run(list(map(str, command)), stderr=subprocess.DEVNULL, timeout=PATIENCE, check=False)
    return done.returncode


if __name__ == "__main__":
    sys.exit(check(Path(sys.argv[1])))
