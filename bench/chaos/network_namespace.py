"""A network namespace of Linux that is held by an open file alone.

It has no name, so that two runs cannot collide, and the kernel removes it, with all interfaces in it, when the last
file and process go: after a `kill -9` nothing is left to be cleaned up. `ip netns` would leave its names.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

_CLONE_NEWNET = 0x40000000
_OF_THIS_THREAD = "/proc/thread-self/ns/net"
_COMMAND_TIMEOUT = 20.0
# os.unshare and os.setns exist since Python 3.12.
_LIBC = ctypes.CDLL(None, use_errno=True)


class NetworkError(RuntimeError):
    """The network could not be made or changed; the text holds what `ip` said."""


def available() -> str:
    """Why no network namespaces can be made here; empty if they can."""
    if sys.platform != "linux":
        return "network namespaces need Linux"
    if shutil.which("ip") is None:
        return "network namespaces need the program ip (iproute2)"
    try:
        NetworkNamespace.new().close()
    except OSError as error:
        return f"network namespaces need root: {error.strerror}"
    return ""


class NetworkNamespace:
    """One namespace, as long as it is not closed and nobody uses it."""

    def __init__(self, file: int) -> None:
        self._file = file

    @classmethod
    def current(cls) -> NetworkNamespace:
        """The one of the calling thread. Raises OSError."""
        return cls(os.open(_OF_THIS_THREAD, os.O_RDONLY | os.O_CLOEXEC))

    @classmethod
    def new(cls) -> NetworkNamespace:
        """A new, empty one. Raises OSError (PermissionError without root)."""
        before = cls.current()
        try:
            _check(_LIBC.unshare(_CLONE_NEWNET))
            try:
                return cls.current()
            finally:
                before._enter()
        finally:
            before.close()

    @property
    def path(self) -> str:
        """Where `ip` finds it, as long as this process has it open."""
        return f"/proc/{os.getpid()}/fd/{self._file}"

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Within the block, sockets that this thread makes and processes that it starts are in this namespace.

        They stay there afterwards. Other threads are not moved; do not await within the block.
        """
        before = NetworkNamespace.current()
        try:
            self._enter()
            try:
                yield
            finally:
                before._enter()
        finally:
            before.close()

    def ip(self, *lines: str) -> None:
        """Run commands of `ip`, one a line, in this namespace, up to the first that fails. Raises NetworkError."""
        self._run(["ip", "-batch", "-"], "\n".join(lines) + "\n")

    def ask_ip(self, *words: str) -> str:
        """What one command of `ip` prints, as JSON. Raises NetworkError."""
        return self._run(["ip", "-json", *words], "")

    def set_kernel(self, **settings: str) -> None:
        """Set what is under `/proc/sys/net/ipv4` in this namespace, `__` for a slash. Raises OSError."""
        with self.entered():
            for name, value in settings.items():
                Path("/proc/sys/net/ipv4", *name.split("__")).write_text(value)

    def close(self) -> None:
        """Let go of it."""
        os.close(self._file)

    def _enter(self) -> None:
        _check(_LIBC.setns(self._file, _CLONE_NEWNET))

    def _run(self, command: Sequence[str], text: str) -> str:
        with self.entered():
            done = subprocess.run(
                command, input=text, text=True, capture_output=True, timeout=_COMMAND_TIMEOUT, check=False
            )
        if done.returncode:
            raise NetworkError(f"{' '.join(command)}: {done.stderr.strip()}\n{text}")
        return done.stdout


def _check(result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
