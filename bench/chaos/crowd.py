"""Many clients that stay connected: half of them do nothing, half read a key now and then, and check what they get."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from types import TracebackType

from bench.targets import Target
from bench.workload import Workload

AT_ONCE = 50
"""Connections that are opened at the same time."""
OK, MISS = "OK", "MISS"
SHORTEST_REST, LONGEST_REST = 0.2, 1.8
"""Seconds between two reads of a client."""


class Crowd:
    """So many clients of a server; over TLS where it has it. `async with` connects and disconnects them."""

    def __init__(self, target: Target, workload: Workload, clients: int) -> None:
        self.answers: Counter[str] = Counter()
        """What reads were answered: OK, MISS, or an error's code."""
        self.wrong: list[bytes] = []
        """Answers that cannot be true."""
        self.dropped = 0
        """Connections that the server has ended."""
        self._target = target
        self._workload = workload
        self._clients = clients
        self._context = target.client_context() if target.tls else None
        self._limit = asyncio.Semaphore(AT_ONCE)
        self._group = asyncio.TaskGroup()
        self._tasks: list[asyncio.Task[None]] = []
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Crowd:
        await self._group.__aenter__()
        connected = await asyncio.gather(*(self._connect() for _ in range(self._clients)))
        for number, (reader, writer) in enumerate(connected):
            life = self._work(number, reader, writer) if number % 2 else self._idle(reader)
            self._tasks.append(self._group.create_task(life))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await self._group.__aexit__(kind, error, trace)
        for writer in self._writers:
            writer.transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        target = self._target
        async with self._limit:
            name = target.host if self._context else None
            reader, writer = await asyncio.open_connection(
                target.host, target.port, ssl=self._context, server_hostname=name
            )
            self._writers.append(writer)
            writer.write(b"AUTH %d:%b\n" % (len(target.api_key), target.api_key.encode()))
            answer = await reader.readline()
        if not answer.startswith(b"OK "):
            raise ConnectionError(f"the login was answered {answer!r}")
        return reader, writer

    async def _idle(self, reader: asyncio.StreamReader) -> None:
        try:
            heard = await reader.read(100)
        except OSError:
            heard = b""
        if heard:
            self.wrong.append(heard)
        else:
            self.dropped += 1

    async def _work(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        dice = random.Random(number)
        workload = self._workload
        try:
            while True:
                await asyncio.sleep(dice.uniform(SHORTEST_REST, LONGEST_REST))
                chosen = dice.randrange(workload.keys)
                key, value = workload.key(chosen), workload.value(chosen)
                writer.write(b"READ %d:%b\n" % (len(key), key))
                line = await reader.readline()
                if not line:
                    break
                self._note(line, b"OK %d:%b\n" % (len(value), value))
        except OSError:
            pass
        self.dropped += 1

    def _note(self, line: bytes, expected: bytes) -> None:
        words = line.decode(errors="replace").split()
        if line == expected:
            self.answers[OK] += 1
        elif line == b"MISS\n":
            self.answers[MISS] += 1
        elif words[0] == "ERR":
            self.answers[words[1]] += 1
        else:
            self.wrong.append(line)
