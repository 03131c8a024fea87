"""A worker: one of the processes that serve clients behind one address.

    python -P -m wireproto.server.worker     orders on standard input, reports on standard output (`worker_messages`)

It ends when it is told to drain, by SIGTERM, and when standard input ends, which is what a `kill -9` of the supervisor
comes to: nobody is to hold the address then.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from typing import Any, Final

import uvloop

from wireproto.core.tokens import TokenAuthority
from wireproto.core.topology import ShardView
from wireproto.errors import ConfigurationError
from wireproto.server.background import either
from wireproto.server.certificate_care import chosen_context
from wireproto.server.hygiene import keep_to_oneself
from wireproto.server.logs import log_loop_problem, set_up_logging
from wireproto.server.router import Router
from wireproto.server.serving import ListeningSockets, ServingProcess, Setup, connected
from wireproto.server.shared_counters import SharedCounters, WorkerSlot
from wireproto.server.shared_quotas import quota_table
from wireproto.server.tls_material import TlsMaterial
from wireproto.server.worker_messages import (
    Descriptors,
    Message,
    Order,
    authority_from_json,
    keyring_from_json,
    quotas_from_json,
    to_line,
    update_authority,
)

EXIT_BUG: Final = 1
EXIT_CONFIGURATION: Final = 2
ORPHAN_DRAIN: Final = 1.0
"""Seconds for open requests when the supervisor is gone, and with it, perhaps, the nodes."""
ORPHAN_LIMIT: Final = 1.5
"""Seconds until a worker without a supervisor ends, whatever it is doing."""

log = logging.getLogger("wireproto.worker")


class Worker:
    """What this process has been told, and what it does about it."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._shutdown = asyncio.Event()
        self._asked_to_stop = False
        self._order: asyncio.Future[Message] = self._loop.create_future()
        self._keys: asyncio.Future[None] = self._loop.create_future()
        self._newest_keys: Message = {}
        self._newest_tls: Message | None = None
        """The certificate in place of the order's."""
        self._authority: TokenAuthority | None = None
        self._process: ServingProcess | None = None
        self._router: Router | None = None
        self._views: list[ShardView] = []
        """What was told before there was a router."""

    async def run(self) -> int:
        """Obey until the end; the exit code."""
        self._loop.set_exception_handler(log_loop_problem)
        self._loop.add_signal_handler(signal.SIGTERM, self._stop)
        # A terminal's Ctrl-C is for the supervisor, which drains all of its workers; and so is SIGHUP, which tells it
        # to look at its secrets.
        for number in (signal.SIGINT, signal.SIGHUP):
            self._loop.add_signal_handler(number, lambda: None)
        threading.Thread(target=self._listen, daemon=True).start()
        await either(_done(self._order), self._shutdown.wait())
        if self._order.done():
            try:
                await self._carry_out(Order.from_json(self._order.result()))
            except ConfigurationError as error:
                self._report({"failed": str(error)})
                return EXIT_CONFIGURATION
        return 0 if self._asked_to_stop else EXIT_BUG

    async def _carry_out(self, order: Order) -> None:
        """Connect to the nodes, wait for the keys, and serve. Raises ConfigurationError."""
        settings = order.settings
        set_up_logging(settings.log_level, worker=order.slot + 1)
        # What there is to say about the certificate, the supervisor has said.
        logging.getLogger("wireproto.certificates").setLevel(logging.ERROR)
        setup = _setup(order)
        refused = lambda shard: self._report({"refused": shard})  # noqa: E731
        async with connected(order.shards, order.views, settings, self._shutdown, refused) as router:
            self._router = router
            router.update(self._views)
            self._report({"connected": router.down()})
            await either(_done(self._keys), self._shutdown.wait())
            if not self._keys.done():
                return
            self._authority = authority_from_json(self._newest_keys, settings.token_lifetime)
            self._process = ServingProcess(setup, router, self._authority, keyring_from_json(self._newest_keys))
            self._process.use_quotas(quotas_from_json(self._newest_keys["quotas"]))
            self._use_newest_tls()
            await self._process.serve(self._shutdown, lambda: self._report({"ready": True}))

    # -- the supervisor

    def _listen(self) -> None:
        """Read what the supervisor says. A thread of its own, so that it also ends a process whose loop hangs."""
        with open(sys.stdin.fileno(), "rb", closefd=False) as lines:
            for line in lines:
                self._loop.call_soon_threadsafe(self._obey, json.loads(line))
        if self._shutdown.is_set():
            # Somebody wants it to end at once: the supervisor waits for workers that drain.
            os._exit(EXIT_BUG)
        with suppress(RuntimeError):  # the loop has ended in this moment
            self._loop.call_soon_threadsafe(self._drain_as_orphan)
        time.sleep(ORPHAN_LIMIT)
        os._exit(EXIT_BUG)

    def _obey(self, message: Message) -> None:
        if "order" in message:
            self._order.set_result(message["order"])
        elif "keys" in message:
            self._use_keys(message["keys"])
        elif "views" in message:
            self._follow([ShardView.from_json(view) for view in message["views"]])
        elif "tls" in message:
            self._newest_tls = message["tls"]
            self._use_newest_tls()
        elif "drain" in message:
            self._stop()

    def _follow(self, views: list[ShardView]) -> None:
        if self._router is None:
            self._views += views
        else:
            self._router.update(views)

    def _stop(self) -> None:
        self._asked_to_stop = True
        self._shutdown.set()

    def _drain_as_orphan(self) -> None:
        if self._process is not None:
            self._process.drain_timeout = ORPHAN_DRAIN
        self._stop()

    def _use_keys(self, keys: Message) -> None:
        """Let in whom these know, from now on; before it serves, from then on."""
        self._newest_keys = keys
        if self._authority is not None and self._process is not None:
            update_authority(self._authority, keys)
            self._process.use_quotas(quotas_from_json(keys["quotas"]))
            self._process.use_keyring(keyring_from_json(keys))
        elif not self._keys.done():
            self._keys.set_result(None)

    def _use_newest_tls(self) -> None:
        """Take the certificate for new connections, once there are any; keep the old one if it cannot be used."""
        if self._process is None or self._newest_tls is None:
            return
        settings = Order.from_json(self._order.result()).settings
        try:
            self._process.use_certificate(chosen_context(settings, TlsMaterial.from_json(self._newest_tls)))
        except ConfigurationError as error:
            log.error("the certificate stays as it is: %s", error)

    @staticmethod
    def _report(message: Message) -> None:
        with suppress(BrokenPipeError):  # the supervisor is gone; standard input says so too
            sys.stdout.buffer.write(to_line(message))
            sys.stdout.buffer.flush()


def _setup(order: Order) -> Setup:
    """What the order says, opened and loaded. Raises ConfigurationError."""
    descriptors = order.descriptors
    return Setup(
        settings=order.settings,
        sockets=_sockets(descriptors),
        tls=chosen_context(order.settings, order.tls),
        slot=WorkerSlot(SharedCounters(descriptors.counters, descriptors.slots, descriptors.capacity), order.slot),
        quotas=quota_table(descriptors.quotas, descriptors.slots, order.slot),
        server=order.server,
        restarts=order.restarts,
    )


def _sockets(descriptors: Descriptors) -> ListeningSockets:
    tls = socket.socket(fileno=descriptors.tls)
    plain = None if descriptors.plain is None else socket.socket(fileno=descriptors.plain)
    for listening in (tls, plain):
        if listening is not None:
            listening.setblocking(False)
    return ListeningSockets(tls, plain)


async def _done(future: asyncio.Future[Any]) -> None:
    """Wait for a future without a say in it: to cancel this does not cancel the future."""
    await asyncio.wait([future])


def main() -> int:
    """Work until told otherwise; the exit code."""
    keep_to_oneself()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_run())


async def _run() -> int:
    return await Worker().run()


if __name__ == "__main__":
    sys.exit(main())
