"""Secrets that change while the server runs: their files are looked at twice a second, and at once after SIGHUP.

What is new is loaded, checked, and handed to whoever uses it. What cannot be loaded, or is not as safe as it must be,
changes nothing: what was in force stays so, and the log says it once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from wireproto.errors import ConfigurationError

LOOK_INTERVAL: Final = 0.5
"""Seconds between two looks. To look at ten files takes 0.2 ms."""

Secret = TypeVar("Secret")
Fingerprint = tuple[tuple[int, ...] | None, ...]

log = logging.getLogger("wireproto.secrets")


@dataclass(frozen=True, slots=True)
class WatchedSecret(Generic[Secret]):
    """A secret that lies in files."""

    name: str
    """For the log: `the API keys`."""
    paths: tuple[Path, ...]
    load: Callable[[], Secret]
    """Reads and checks the files; what it gives can be compared by `==`. Raises ConfigurationError or OSError. It is
    called from another thread, so it may take its time."""
    take: Callable[[Secret], None]
    """Puts a new secret in force, or raises ConfigurationError and changes nothing."""
    in_force: Secret
    """What was loaded at the start."""


class SecretsWatch:
    """Keeps secrets as their files are. `hangup` is set by SIGHUP."""

    def __init__(self, watched: Sequence[WatchedSecret[Any]], hangup: asyncio.Event) -> None:
        self._kept = [_Kept(secret) for secret in watched]
        self._hangup = hangup

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            asked = self._hangup.is_set()
            self._hangup.clear()
            for kept in self._kept:
                await kept.look(asked=asked)
            if asked:
                log.info("SIGHUP: the files of %s have been looked at", ", ".join(kept.name for kept in self._kept))
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_INTERVAL):
                    await self._hangup.wait()


class _Kept:
    """One secret, and what has been seen of its files."""

    def __init__(self, secret: WatchedSecret[Any]) -> None:
        self.name = secret.name
        self._secret = secret
        self._in_force = secret.in_force
        self._settled: Fingerprint | None = None
        """Of files that have been dealt with: taken, or refused aloud."""
        self._failed: Fingerprint | None = None
        """Of files that could not be loaded a moment ago."""
        self._is_refused = False

    async def look(self, *, asked: bool) -> None:
        """Take what is new. `asked` is for a person who waits for an answer: then nothing passes for seen."""
        seen = _fingerprint(self._secret.paths)
        if seen == self._settled and not asked:
            return
        try:
            found = await asyncio.to_thread(self._secret.load)
        except (ConfigurationError, OSError) as error:
            # Who replaces a certificate and its key does one after the other: so what is wrong must be so twice.
            if asked or seen == self._failed:
                log.error("%s stay as they are: %s", self.name, error)
                self._settled, self._is_refused = seen, True
            self._failed = seen
            return
        self._settled, self._failed = seen, None
        if found != self._in_force:
            try:
                self._secret.take(found)
            except ConfigurationError as error:
                log.error("%s stay as they are: %s", self.name, error)
                self._is_refused = True
                return
            self._in_force = found
            log.info("%s have changed; the new ones are in force", self.name)
        elif self._is_refused:
            log.info("%s are in order again, and as they were", self.name)
        self._is_refused = False


def _fingerprint(paths: Sequence[Path]) -> Fingerprint:
    """What changes when a file is written, replaced, removed, or given to others."""
    return tuple(map(_status, paths))


def _status(path: Path) -> tuple[int, ...] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
