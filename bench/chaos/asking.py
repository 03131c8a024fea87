"""One connection that asks in the protocol's own words, and notes what it is answered: nothing is asked again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Final, Self

from bench.chaos.exchanges import Exchange
from bench.chaos.running import ChaosError
from wireproto.client.options import ClientOptions
from wireproto.core.reply_wire import OK, Reply, ReplyParser
from wireproto.core.request_encoding import encode_request
from wireproto.core.verbs import Verb

TIMEOUT: Final = 15.0
"""Seconds for an answer: well above what the server allows itself."""


class Asker:
    """Logs in at the start of a block. Raises ChaosError when the server says nothing more; it is not what is hurt."""

    def __init__(self, url: str) -> None:
        self._options = ClientOptions.from_sources(url, {})
        self._parser = ReplyParser()

    async def __aenter__(self) -> Self:
        options = self._options
        self._reader, self._writer = await asyncio.open_connection(options.host, options.port)
        api_key = options.api_key or b""
        self._writer.write(encode_request(Verb.AUTH, (api_key,)))
        if (await self._reply()).status != OK:
            raise ChaosError("the server does not let us in")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def ask(self, *exchanges: Exchange) -> None:
        """Send some in one packet, and wait for all answers."""
        self._writer.write(b"".join(exchange.request() for exchange in exchanges))
        for exchange in exchanges:
            exchange.answer(await self._reply(), time.monotonic())

    async def _reply(self) -> Reply:
        while (reply := self._parser.next()) is None:
            try:
                async with asyncio.timeout(TIMEOUT):
                    data = await self._reader.read(1 << 16)
            except TimeoutError as error:
                raise ChaosError(f"no answer in {TIMEOUT:.0f} s") from error
            if not data:
                raise ChaosError("the server has closed the connection")
            self._parser.feed(data)
        return reply


async def ask_in_turn(url: str, exchanges: Sequence[Exchange], at_once: int = 100) -> None:
    """Ask all of them over one connection, so many in a packet."""
    async with Asker(url) as asker:
        for first in range(0, len(exchanges), at_once):
            await asker.ask(*exchanges[first : first + at_once])
