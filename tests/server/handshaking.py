"""Two ends of TLS in memory."""

from __future__ import annotations

import ssl


def shake_hands(*ends: ssl.SSLObject) -> None:
    """Have both ends get on in turn until neither waits for the other. Raises ssl.SSLError."""
    waiting = True
    while waiting:
        waiting = False
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                waiting = True
