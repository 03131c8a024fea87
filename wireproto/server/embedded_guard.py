"""The process that owns the nodes which a server starts, and ends them with it, however the server ends.

    python -I -S embedded_guard.py     orders on standard input, reports on standard output, one JSON object a line

The first order says what to run and where. The guard makes the private folder, starts the nodes and their Sentinels,
and reports their process ids. Then it reports those that end, and starts again what it is told to (`{"start": name,
"lines": [...]}`). When its standard input ends, which is what a `kill -9` of the server comes to, it ends all of them
and removes the folder. On Linux the kernel ends them should the guard itself be killed.

It uses the standard library alone, so that it starts in a few milliseconds, and it is in a session of its own, so that
Ctrl-C at the server's terminal does not reach the nodes before the server has drained.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any, Final

Node = subprocess.Popen[bytes]

POLL: Final = 0.1
"""Seconds between two looks at whether a node has ended by itself."""
GRACE: Final = 1.0
"""Seconds between asking the nodes to end and killing them. Nothing of them is kept, so there is little to ask for."""
LOG_TAIL: Final = 2000
"""Bytes of a node's log that go into a report."""
_PR_SET_PDEATHSIG: Final = 1
"""prctl(2)"""


def main() -> None:
    """Start what the first order says, and end it with standard input."""
    server = os.getppid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # A handler, and not SIG_IGN, which the nodes would inherit.
        signal.signal(number, lambda *_: None)
    # Nodes and Sentinels rewrite their configurations, with the passwords, with what this leaves of 0644.
    os.umask(0o077)
    orders = _Orders()
    lines: list[bytes] | None = []
    while not lines:
        lines = orders.read()
        if lines is None:
            return  # the server ended before it had said what to start
    order = json.loads(lines[0])
    folder = Path(order["folder"])
    try:
        # The name is random, and somebody else's folder of that name is an error: it is neither used nor removed.
        folder.mkdir(mode=0o700)
    except OSError as error:
        _report({"error": str(error)})
        return
    guard = _Guard(order["program"], folder, set(order["sentinels"]))
    try:
        for name, configuration in [*order["nodes"].items(), *order["sentinels"].items()]:
            guard.start(name, configuration)
        _report({"pids": {name: node.pid for name, node in guard.nodes.items()}})
        guard.watch(orders, server)
    except OSError as error:
        _report({"error": str(error)})
    finally:
        _end(list(guard.nodes.values()))
        shutil.rmtree(folder, ignore_errors=True)


class _Orders:
    """Standard input, a line at a time."""

    def __init__(self) -> None:
        self._begun = b""

    def read(self) -> list[bytes] | None:
        """The lines that have come to their end with what can be read now; None when nothing will come any more."""
        read = os.read(sys.stdin.fileno(), 65536)
        *lines, self._begun = (self._begun + read).split(b"\n")
        return lines if read else None


class _Guard:
    """The processes that run."""

    def __init__(self, program: str, folder: Path, sentinels: set[str]) -> None:
        self.nodes: dict[str, Node] = {}
        self._program = program
        self._folder = folder
        self._sentinels = sentinels
        self._end_with_guard = _end_with_guard()

    def start(self, name: str, lines: list[str]) -> None:
        """Start a node with a configuration file that nobody else can read: it may hold a password.

        Its socket is named relative to its folder: the folder's own path may hold what a configuration would have to
        quote. Raises OSError.
        """
        configuration = self._folder / f"{name}.conf"
        # A Sentinel keeps in it what it has learnt, and writes it anew by renaming: it is always whole.
        if name not in self._sentinels or not configuration.exists():
            with _new_file(configuration) as file:
                file.write("\n".join([*lines, f"unixsocket {name}.sock", ""]).encode())
        with _new_file(self._folder / f"{name}.log") as log:
            self.nodes[name] = subprocess.Popen(  # noqa: S603 - the program that the operator named
                [self._program, str(configuration), *(["--sentinel"] if name in self._sentinels else [])],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._folder,
                # A group of its own: the program may be a script around the real one, and both are to end.
                process_group=0,
                preexec_fn=self._end_with_guard,
            )

    def watch(self, orders: _Orders, server: int) -> None:
        """Report nodes that end by themselves, and start what is ordered, until standard input or the server ends.

        A process that the server forked may hold the other end of standard input; hence the look at the server.
        """
        while os.getppid() == server:
            if select.select([sys.stdin], [], [], POLL)[0]:
                lines = orders.read()
                if lines is None:
                    return
                for line in lines:
                    self._obey(json.loads(line))
            for name, node in list(self.nodes.items()):
                if node.poll() is not None:
                    del self.nodes[name]
                    _signal(node, signal.SIGKILL)
                    _report({"ended": name, "code": node.returncode, "log": tail(self._folder / f"{name}.log")})

    def _obey(self, order: dict[str, Any]) -> None:
        name = order["start"]
        try:
            self.start(name, order["lines"])
        except OSError as error:
            _report({"refused": name, "reason": str(error)})
        else:
            _report({"started": name, "pid": self.nodes[name].pid})


def _new_file(path: Path) -> IO[bytes]:
    """An empty file in place of the one that may be there, for this user alone. Raises OSError."""
    path.unlink(missing_ok=True)
    return open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600), "wb")


def _end_with_guard() -> Callable[[], None]:
    """What a node does before it becomes its program: have the kernel end it with the guard, where it can (Linux)."""
    if sys.platform != "linux":
        return lambda: None
    # Looked up here: between fork and exec as little as possible should happen.
    prctl = ctypes.CDLL(None).prctl
    guard = os.getpid()

    def before_exec() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != guard:
            os._exit(1)  # the guard was killed just before

    return before_exec


def tail(path: Path) -> str:
    """The end of a node's log, or nothing: what clears up old temporary files may have taken it."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - LOG_TAIL))
            return file.read(LOG_TAIL).decode("utf-8", "replace")
    except OSError:
        return ""


def _end(nodes: Iterable[Node]) -> None:
    """End nodes, also those that are stopped and cannot be asked. All have the same second to end in."""
    deadline = time.monotonic() + GRACE
    for node in nodes:
        _signal(node, signal.SIGTERM)
    for node in nodes:
        try:
            node.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            pass
    for node in nodes:
        _signal(node, signal.SIGKILL)
        node.wait()


def _signal(node: Node, number: int) -> None:
    """Send a signal to a node and whatever it has started."""
    try:
        os.killpg(node.pid, number)
    except OSError:
        pass  # nobody is left


def _report(what: dict[str, Any]) -> None:
    try:
        print(json.dumps(what), flush=True)
    except BrokenPipeError:
        # The server is gone; standard input will say so too.
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - for the rest of the process


if __name__ == "__main__":
    main()
