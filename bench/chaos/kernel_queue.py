"""What the kernel still has to send of a socket's bytes (Linux; elsewhere nothing is known, and 0 is said)."""

from __future__ import annotations

import array
import fcntl
import socket
import sys

_SIOCOUTQ = 0x5411
_SIOCOUTQNSD = 0x894B
_TCP_CLOSE = 7


def unacknowledged(connection: socket.socket) -> int:
    """Bytes that the peer's kernel has not confirmed, and may yet."""
    return _ask(connection, _SIOCOUTQ)


def unsent(connection: socket.socket) -> int:
    """Bytes that have not left; what is written while there are some can share a packet with them."""
    return _ask(connection, _SIOCOUTQNSD)


def _ask(connection: socket.socket, question: int) -> int:
    if sys.platform != "linux" or connection.family == socket.AF_UNIX:
        return 0
    # After a reset nothing leaves any more, though it is still counted. The state is the first byte.
    if connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _TCP_CLOSE:
        return 0
    answer = array.array("i", [0])
    fcntl.ioctl(connection, question, answer)
    return answer[0]
