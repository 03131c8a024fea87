"""A fake server that fails where a test says so, and a loader that waits until it may go on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from tests.client.fake_server import Cache, Peer, verb_of
from wireproto.core.request_wire import Frame
from wireproto.core.verbs import Verb

Fault = Callable[[Frame], bytes | None]

TIME_LEFT = 1000
"""Milliseconds that are left of each value, for those who ask for a lease early."""


class LeasingCache(Cache):
    """Serves a dictionary, and notes what is asked.

    `fault`: answers a request in the place of the cache, unless it returns None.
    """

    def __init__(self) -> None:
        super().__init__()
        self.fault: Fault | None = None
        self.early: list[int] = []
        """What READs asked for."""
        self.asked: list[str] = []
        """The verbs, also of those requests that a fault has answered."""

    async def __call__(self, peer: Peer) -> None:
        while (frame := await peer.frame()) is not None:
            self.asked.append(verb_of(frame))
            line = self.fault(frame) if self.fault is not None else None
            if line == b"silence":
                continue
            if line == b"reset":
                peer.reset()
                return
            peer.answer(frame, self.answer(frame) if line is None else line)

    def answer(self, frame: Frame) -> bytes:
        line = super().answer(frame)
        assert frame.spec is not None
        if frame.spec.verb is Verb.READ and "early" in frame.options:
            key, early = frame.arguments[0], frame.options["early"]
            self.early.append(early)
            if line.startswith(b"OK ") and early > TIME_LEFT and key not in self.leases:
                self.leases[key] = b"early-%d" % len(self.early)
                return line + b" lease=%b" % self.leases[key]
        return line


class Loader:
    """A loader that counts its calls, and waits in each until it may go on."""

    def __init__(self, value: object = b"v", waits: bool = False) -> None:
        self.value = value
        self.calls = 0
        self.begun = threading.Event()
        self.may_end = threading.Event()
        if not waits:
            self.may_end.set()

    def __call__(self) -> Any:
        self.calls += 1
        self.begun.set()
        assert self.may_end.wait(10)
        if isinstance(self.value, BaseException):
            raise self.value
        return self.value
