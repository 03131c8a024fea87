"""Child processes of a benchmark: started with their output in a file, waited for, and ended whatever happens."""

from __future__ import annotations

import contextlib
import ctypes
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

START_TIMEOUT = 20.0
STOP_TIMEOUT = 15.0
_PR_SET_PDEATHSIG = 1


class StartError(RuntimeError):
    """A process did not come up; the text holds what it wrote last."""


def free_port() -> int:
    """A TCP port on 127.0.0.1 that nothing listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def end_with_parent() -> None:
    """In the child: have the kernel kill it when the benchmark is killed and can clean up no more (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


@contextlib.contextmanager
def running(
    command: Sequence[str | Path], folder: Path, name: str, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A child process in `folder`, its standard output and error in `NAME.out` and `NAME.log`; ended with the block."""
    with (folder / f"{name}.out").open("wb") as output, (folder / f"{name}.log").open("wb") as errors:
        process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            env=None if environment is None else dict(environment),
            cwd=folder,
            preexec_fn=end_with_parent,
        )
    try:
        yield process
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End it: kindly first, and if it does not end in time, by force. A stopped process is continued first."""
    if process.poll() is None:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def written(folder: Path, name: str) -> str:
    """What the process of that name has written to its standard output so far."""
    return (folder / f"{name}.out").read_text(errors="replace")


def wait_for(process: subprocess.Popen[bytes], folder: Path, name: str, is_up: Callable[[], bool]) -> None:
    """Return when `is_up()` is true. Raises StartError when the process ends first, or after 20 seconds."""
    deadline = time.monotonic() + START_TIMEOUT
    while not is_up():
        if process.poll() is not None or time.monotonic() > deadline:
            log = (folder / f"{name}.log").read_text(errors="replace")
            raise StartError(f"{name} did not start:\n{(written(folder, name) + log)[-2000:]}")
        time.sleep(0.01)


def accepts(address: tuple[str, int] | Path) -> bool:
    """Whether something accepts connections at a TCP address or on a unix socket."""
    family = socket.AF_UNIX if isinstance(address, Path) else socket.AF_INET
    with socket.socket(family) as probe:
        try:
            probe.connect(str(address) if isinstance(address, Path) else address)
        except OSError:
            return False
        return True
