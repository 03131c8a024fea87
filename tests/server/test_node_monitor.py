"""Looking at nodes that say nothing: it ends when it is to end."""

from __future__ import annotations

import asyncio

import uvloop

from wireproto.server.node_monitor import NodeMonitor

TIMEOUT = 0.03


async def end_at_every_moment_of_a_look() -> int:
    """Cancel monitors of a silent node around the moment in which they give up; how many did not end."""

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    endless = 0
    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as listening:
        url = f"redis://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        for round_ in range(8):
            monitors = [
                asyncio.create_task(NodeMonitor(url, TIMEOUT, lambda report: None).run(lambda: 0.01)) for _ in range(40)
            ]
            for number, monitor in enumerate(monitors):
                asyncio.get_running_loop().call_later(
                    TIMEOUT + (number + round_ / 8 - 10) * 0.0006,
                    monitor.cancel,
                )
            _, pending = await asyncio.wait(monitors, timeout=1.0)
            endless += len(pending)
            for monitor in pending:
                monitor.cancel()
            await asyncio.gather(*monitors, return_exceptions=True)
    return endless


def test_a_monitor_ends_in_whatever_moment_it_is_cancelled() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(end_at_every_moment_of_a_look()) == 0
