"""A lock that all processes share, for as long as its holder does not take too long."""

from __future__ import annotations

import secrets
import threading
import time

from wireproto.client.sync import Client


class DistributedLock:
    """A key that one holder at a time writes, for `seconds` at the most; waiters ask again every `pause` seconds.

    It keeps work from being done twice; it does not make it safe to do it twice. A holder that takes longer than
    `seconds`, or a node that fails, lets a second one in. It may be released by another thread than the one that
    acquired it. Every call raises the client's errors; after one of them, the lock may be held by nobody until its
    time is over.
    """

    def __init__(self, client: Client[bytes], key: bytes, seconds: float, pause: float) -> None:
        self._client = client
        self._key = key
        self._milliseconds = max(1, round(seconds * 1000))
        self._pause = pause
        self._in_process = threading.Lock()
        """Those who share this object wait here, without asking the server."""
        self._token = b""

    def acquire(self, wait: bool = True) -> bool:
        """Whether the lock is the caller's now; with `wait`, it always is."""
        if not self._in_process.acquire(wait):
            return False
        acquired = False
        try:
            token = secrets.token_bytes(16)
            while not (acquired := self._client.write(self._key, token, nx=True, px=self._milliseconds)) and wait:
                time.sleep(self._pause)
            if acquired:
                self._token = token
        finally:
            if not acquired:
                self._in_process.release()
        return acquired

    def release(self) -> None:
        """Let others have it. Raises RuntimeError if it was not acquired; does nothing if its time was over."""
        token, self._token = self._token, b""
        try:
            held = self._client.read(self._key, with_version=True) if token else None
            if held is not None and held.value == token:
                # Where it is False, the time was over just now.
                self._client.delete(self._key, version=held.version)
        finally:
            self._in_process.release()

    def locked(self) -> bool:
        """Whether anybody has it."""
        return self._client.read(self._key) is not None
