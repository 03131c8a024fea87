"""One direction of a proxied connection: takes bytes, holds them, passes them on as its faults of the moment say."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import random
import socket
from collections.abc import Callable
from dataclasses import dataclass, field

from bench.chaos.faults import NO_FAULTS, Cut, Ending, Faults, Garbage, Silence
from bench.chaos.kernel_queue import unsent

HELD_LIMIT = 1 << 20
"""Bytes that a direction holds; a side that sends more is not read, so that its own kernel makes it wait."""
_READ_SIZE = 1 << 16
_POLL = 0.001
_COST_OF_A_CHUNK = 256
"""Of memory, beside its bytes; else bytes that come one by one would be held by the hundred megabytes."""


class ConnectionCut(Exception):  # noqa: N818 - not an error: what was asked for
    """The connection must end now, for both sides."""

    def __init__(self, ending: Ending) -> None:
        super().__init__(ending)
        self.ending = ending


@dataclass
class _Chunk:
    """What one read brought in; without data, the end."""

    data: bytes
    ending: Ending | None
    arrived: float
    luck: float = field(default_factory=random.random)

    @property
    def cost(self) -> int:
        return len(self.data) + _COST_OF_A_CHUNK


class Pump:
    """Passes on what `source` sends to `target`, two sockets that do not block. `count` is told what was passed on."""

    def __init__(self, source: socket.socket, target: socket.socket, count: Callable[[int], None]) -> None:
        self.source = source
        self.target = target
        self.opposite = self
        self.target_is_broken = False
        """The other direction has found that its source, our target's peer, can be written to no more."""
        self._count = count
        self._faults = NO_FAULTS
        self._held: collections.deque[_Chunk] = collections.deque()
        self._cost = 0
        self._passed = 0
        self._cut_from = self._garbage_from = 0
        self._is_over = False
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()

    @property
    def faults(self) -> Faults:
        """Set at any time; `Cut` and `Garbage` count from the bytes passed on when they were set."""
        return self._faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        if faults.cut is not self._faults.cut:
            self._cut_from = self._passed
        if faults.garbage is not self._faults.garbage:
            self._garbage_from = self._passed
        self._faults = faults
        self._tell()

    async def run(self) -> None:
        """Pass bytes on until the source has closed, and that has been passed on too.

        Raises ConnectionCut when the connection must end: by a fault, or since a side has reset it.
        """
        reading = asyncio.create_task(self._read())
        try:
            while await self._pass_next():
                pass
        finally:
            self._is_over = True
            self.opposite._tell()
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    # --- Taking -------------------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        ending = Ending.FIN
        try:
            while data := await self._loop.sock_recv(self.source, _READ_SIZE):
                self._hold(data, None)
                while self._cost >= HELD_LIMIT:
                    await self._wait()
        except OSError:
            ending = Ending.RESET
        self._hold(b"", Ending.RESET if self.opposite.target_is_broken else ending)

    def _hold(self, data: bytes, ending: Ending | None) -> None:
        chunk = _Chunk(data, ending, self._loop.time())
        self._held.append(chunk)
        self._cost += chunk.cost
        self._tell()

    # --- Passing on ---------------------------------------------------------------------------------------------------

    async def _pass_next(self) -> bool:
        """Whether there may be more."""
        while not self._held:
            await self._wait()
        chunk = self._held[0]
        while (left := self._due(chunk) - self._loop.time()) > 0:
            await self._wait(left)
        if chunk.ending is None:
            await self._pass(memoryview(chunk.data))
            self._held.popleft()
            self._cost -= chunk.cost
            self._tell()
            return True
        while self._faults.silence:
            await self._wait()
        if chunk.ending is Ending.RESET:
            raise ConnectionCut(Ending.RESET)
        with contextlib.suppress(OSError):
            self.target.shutdown(socket.SHUT_WR)
        return False

    def _due(self, chunk: _Chunk) -> float:
        return chunk.arrived + self._faults.latency + self._faults.jitter * chunk.luck

    async def _pass(self, data: memoryview) -> None:
        while data:
            while self._faults.silence is Silence.HOLD:
                await self._wait()
            faults = self._faults
            if faults.silence is Silence.DROP:
                return
            size = min(faults.piece_size(len(data)), self._left_until(faults.cut))
            await self._send(bytes(data[:size]), faults.garbage)
            if faults.cut is not None and not self._left_until(faults.cut):
                raise ConnectionCut(faults.cut.by)
            data = data[size:]
            await self._pause(faults, faults.pause_after(size))
            while faults.piece and self._faults is faults and unsent(self.target):
                await self._wait(_POLL)

    def _left_until(self, cut: Cut | None) -> int:
        return _READ_SIZE if cut is None else max(0, self._cut_from + cut.after - self._passed)

    async def _send(self, piece: bytes, garbage: Garbage | None) -> None:
        sent = garbage.spoil(piece, self._passed - self._garbage_from) if garbage is not None else piece
        # Counted before, since other tasks run while the send waits, and one of them may set a fault.
        self._passed += len(piece)
        try:
            await self._loop.sock_sendall(self.target, sent)
        except OSError:
            await self._report_broken()
        self._count(len(sent))

    async def _report_broken(self) -> None:
        """Our target is gone. The source hears of it in the other direction, under that direction's faults."""
        self.target_is_broken = True
        while not self.opposite._is_over:
            await self._wait()
        while self.opposite.faults.silence:
            await self.opposite._wait()
        raise ConnectionCut(Ending.RESET)

    async def _pause(self, faults: Faults, seconds: float) -> None:
        """Wait, but not on when the faults have changed. Let others have a turn in any case."""
        await asyncio.sleep(0)
        end = self._loop.time() + seconds
        while self._faults is faults and (left := end - self._loop.time()) > 0:
            await self._wait(left)

    # --- Waiting ------------------------------------------------------------------------------------------------------

    def _tell(self) -> None:
        """Wake up everybody who waits in this direction; each looks whether it was for them."""
        self._news.set()
        self._news = asyncio.Event()

    async def _wait(self, seconds: float | None = None) -> None:
        news = self._news
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await news.wait()
