"""Which groups keys are exchanged in: the three of Mozilla's "modern" profile, X25519 first.

OpenSSL's own choice has X448 and secp521r1 too, which that profile wants refused. Python can set one group before 3.15
and no list, so OpenSSL's function is called here by its C name. With P-256 alone, what Python could do, every usual
client would be asked to begin anew: 0.6 ms more of CPU where both ends together take 0.8, and a round trip more. A
configuration file (OPENSSL_CONF) would have to be there before the process is, and would hold for the nodes too.
"""

from __future__ import annotations

import ctypes
import logging
import ssl
import sys
from typing import Final

GROUPS: Final = "X25519:P-256:P-384"
_SET_GROUPS_LIST: Final = 92
"""SSL_CTRL_SET_GROUPS_LIST in OpenSSL's ssl.h: the same number since 1.1.1."""

log = logging.getLogger("wireproto.certificates")


def limit_groups(context: ssl.SSLContext) -> None:
    """Have `context` exchange keys in `GROUPS` only; where that cannot be told to OpenSSL, in P-256 only."""
    if hasattr(context, "set_groups"):  # Python 3.15
        context.set_groups(GROUPS)
    elif not _set_groups(context):
        log.warning("this Python cannot tell OpenSSL its groups: keys are exchanged in P-256 only")
        context.set_ecdh_curve("prime256v1")


def _set_groups(context: ssl.SSLContext) -> bool:
    """Whether OpenSSL's own function could be called, and has done it."""
    if sys.implementation.name != "cpython":
        return False
    try:
        import _ssl

        # The library that Python's module has loaded, and no other that may be installed.
        control = ctypes.CDLL(getattr(_ssl, "__file__", None)).SSL_CTX_ctrl
    except (ImportError, OSError, AttributeError):
        return False
    control.restype = ctypes.c_long
    control.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_char_p)
    # `SSL_CTX *` is the first member of CPython's SSLContext, behind the head that all objects have, since Python 3.2.
    pointer = ctypes.c_void_p.from_address(id(context) + object.__basicsize__)
    return bool(control(pointer, _SET_GROUPS_LIST, 0, GROUPS.encode("ascii")) == 1)
