"""The server's command line: arguments to settings, signals to shutdown, errors to exit codes."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence

import uvloop

from wireproto.errors import ConfigurationError
from wireproto.server.hygiene import keep_to_oneself
from wireproto.server.logs import log_loop_problem, one_line, set_up_logging
from wireproto.settings import Settings, parse

EXIT_BUG = 1
EXIT_CONFIGURATION = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run the server, or check its settings. Returns 0 after a drain, and 2 when it cannot start.

    1 is for a bug that shut the server down, so that a supervisor starts it again.
    """
    try:
        settings, check_only = parse(sys.argv[1:] if argv is None else argv, os.environ)
        if check_only:
            return _check(settings)
        keep_to_oneself()
        set_up_logging(settings.log_level)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_serve(settings))
    except ConfigurationError as error:
        print(f"wireproto: {one_line(str(error))}", file=sys.stderr)
        return EXIT_CONFIGURATION


def _check(settings: Settings) -> int:
    """Look at what the settings name, without starting anything. Raises ConfigurationError."""
    from wireproto.server.audit_log import check_audit_log
    from wireproto.server.certificate_care import check_own_files
    from wireproto.server.embedded import find_program
    from wireproto.server.keyring_file import load_keyring
    from wireproto.server.node_endpoint import NodeEndpoint
    from wireproto.server.sentinel_address import SentinelAddress

    check_own_files(settings)
    load_keyring(settings)
    check_audit_log(settings.audit_log)
    for shard in settings.nodes:
        urls = list(shard.node_urls)
        if shard.has_sentinels:
            sentinels = SentinelAddress.from_url(shard.url)
            # Also what will be known later, as far as it is known now: the certificates of nodes.
            urls = [ask(*sentinels.sentinels[0]) for ask in (sentinels.sentinel_url, sentinels.node_url)]
        for url in urls:
            NodeEndpoint.from_url(url)
    if not settings.nodes:
        find_program(settings.redis_server)
    print("the settings are fine")
    return 0


async def _serve(settings: Settings) -> int:
    from wireproto.server.app import serve

    shutdown, look_again = asyncio.Event(), asyncio.Event()
    asked_to_stop = False
    has_terminal = terminal_answers()

    def stop(number: int) -> None:
        """Drain on the first signal; end at once on the second. Nodes that were started here end with this process."""
        nonlocal asked_to_stop
        if asked_to_stop:
            os._exit(128 + number)
        asked_to_stop = True
        shutdown.set()

    def hang_up() -> None:
        """An operator has changed secrets; or the terminal is closed that this was started from, and with it this."""
        if has_terminal and not terminal_answers():
            stop(signal.SIGHUP)
        else:
            look_again.set()

    loop = asyncio.get_running_loop()
    loop.set_exception_handler(log_loop_problem)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    loop.add_signal_handler(signal.SIGHUP, hang_up)
    await serve(settings, _say, shutdown, look_again)
    return 0 if asked_to_stop else EXIT_BUG


def terminal_answers() -> bool:
    """Whether this process was started from a terminal that is still there. Started with nohup it is on its own."""
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        return False
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
