"""The sealer of this process: its dice, and what becomes of it when the process forks."""

from __future__ import annotations

import os
import secrets

from wireproto.core.keyring import Keyring
from wireproto.core.sealing import Sealer
from wireproto.core.xaes import PREFIX_BYTES


def process_sealer(keyring: Keyring) -> Sealer:
    """A sealer that also a child of this process can use: there it draws prefixes of its own.

    It lives as long as the process.
    """
    sealer = Sealer(keyring, new_prefix)
    os.register_at_fork(after_in_child=sealer.renew)
    return sealer


def new_prefix() -> bytes:
    """12 random bytes for the nonces of one key in this process."""
    return secrets.token_bytes(PREFIX_BYTES)
