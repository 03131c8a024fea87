"""A server that answers reads as it is told to: rightly, wrongly, late or not at all."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Callable, Iterator

from bench.dialects import DIALECTS
from bench.targets import Target
from bench.workload import Workload

Answer = Callable[[int, bytes], bytes | None]
"""From the number of the request, counted over all connections, and the right reply to what is sent; None hangs up."""


@contextlib.contextmanager
def fake_target(answer: Answer, workload: Workload, protocol: str = "resp") -> Iterator[Target]:
    """A plain TCP server in threads of this process."""
    dialect = DIALECTS[protocol]
    count = iter(range(10**9))

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            rest = b""
            while data := connection.recv(65536):
                requests = re.split(rb"(?<=\n)(?=\*|READ |#)", rest + data)
                rest = b"" if requests[-1].endswith(b"\n") and b"key:" in requests[-1] else requests.pop()
                for request in requests:
                    found = re.search(rb"key:(\d+)", request)
                    assert found is not None, request
                    reply = answer(next(count), dialect.value(workload.value(int(found[1]))))
                    if reply is None:
                        return
                    connection.sendall(reply)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        yield Target("fake", protocol, "127.0.0.1", listener.getsockname()[1], tls=False)
        listener.shutdown(socket.SHUT_RDWR)
        accepting.join()
