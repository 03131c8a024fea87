"""The process that owns the nodes which a server starts, and ends them with it, however the server ends.

    python -I embedded_guard.py      commands on standard input, reports on standard output, one JSON object a line

The server writes one line: what to run. The guard makes a private folder, starts the nodes, and reports where they are.
Then it waits. When its standard input ends, which is what a `kill -9` of the server comes to, it ends the nodes and
removes the folder. On Linux the kernel ends the nodes should the guard itself be killed.

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
import tempfile
from pathlib import Path
from typing import Any

POLL = 0.1
"""Seconds between two looks at whether a node has ended by itself."""
GRACE = 1.0
"""Seconds between asking a node to end and killing it. Nothing of it is kept, so there is little to ask for."""
_PR_SET_PDEATHSIG = 1
"""prctl(2)"""


def main() -> None:
    """Start what the first line of standard input says, and end it with standard input."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    order = json.loads(sys.stdin.readline())
    folder = Path(tempfile.mkdtemp(prefix="wireproto-"))
    nodes: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, lines in order["nodes"].items():
            nodes[name] = _start(order["program"], folder, name, lines)
        _report({"folder": str(folder), "pids": {name: process.pid for name, process in nodes.items()}})
        _watch(folder, nodes)
    except OSError as error:
        _report({"error": str(error)})
    finally:
        _end(list(nodes.values()))
        shutil.rmtree(folder, ignore_errors=True)


def _start(program: str, folder: Path, name: str, lines: list[str]) -> subprocess.Popen[bytes]:
    """Start a node with a configuration file that nobody else can read: it may hold a password."""
    configuration = folder / f"{name}.conf"
    with open(os.open(configuration, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write("\n".join([*lines, f"dir {folder}", f"unixsocket {folder / name}.sock", ""]))
    with (folder / f"{name}.log").open("wb") as output:
        return subprocess.Popen(  # noqa: S603 - the program that the operator named
            [program, str(configuration)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            preexec_fn=_end_with_parent,
        )


def _end_with_parent() -> None:
    """Have the kernel end this process with the guard, where it can (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _watch(folder: Path, nodes: dict[str, subprocess.Popen[bytes]]) -> None:
    """Report nodes that end by themselves, until standard input ends."""
    running = dict(nodes)
    while True:
        if select.select([sys.stdin], [], [], POLL)[0] and not os.read(sys.stdin.fileno(), 4096):
            return
        for name, process in list(running.items()):
            if process.poll() is not None:
                del running[name]
                log = (folder / f"{name}.log").read_text(errors="replace")
                _report({"ended": name, "code": process.returncode, "log": log[-2000:]})


def _end(processes: list[subprocess.Popen[bytes]]) -> None:
    """End processes, also those that are stopped and cannot be asked."""
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _report(what: dict[str, Any]) -> None:
    try:
        print(json.dumps(what), flush=True)
    except BrokenPipeError:
        # The server is gone; standard input will say so too.
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - for the rest of the process


if __name__ == "__main__":
    main()
