"""`wireproto rewrap`: bring all stored values under the present key, while the servers go on."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from types import FrameType, TracebackType
from typing import Any, Final, Self

from redis.exceptions import RedisError

from wireproto.admin.chosen_settings import add_settings_flags, chosen_settings
from wireproto.admin.masters import open_master
from wireproto.admin.node_rewrap import Counts, NodeRewrap
from wireproto.core.keyring import Keyring
from wireproto.core.names import NAME_RULE, is_name
from wireproto.core.sealing import Sealer
from wireproto.errors import ConfigurationError
from wireproto.server.keyring_file import keyring_path, load_keyring
from wireproto.server.process_sealer import process_sealer
from wireproto.server.secrets_watch import LOOK_INTERVAL
from wireproto.server.supervisor import SEALING_DELAY
from wireproto.settings import Settings, ShardAddress
from wireproto.settings.kinds import NODES

EXIT_SOME_LEFT: Final = 1
EXIT_INTERRUPTED: Final = 130
PROGRESS: Final = 1.0
"""Seconds between two lines that tell how far it is."""
NOTICING: Final = LOOK_INTERVAL + SEALING_DELAY + 0.5
"""Seconds until a server that has the keyring's file seals with what was last put there."""

_EPILOG: Final = """\
Each value that is plain, or sealed with another key, is sealed with the newest key of its namespace. Times to live
stay, and a newer write is never overwritten. It can be interrupted and begun again at any time; what is done is passed
over. Plain decimal numbers are left as they are, because counters are. It waits until a server with the same keyring
file has surely noticed the last change of it; do it when all other servers have the present keys too.

exit codes: 0 all values are as they are to be; 1 some could not be opened, or kept changing; 2 it could not be done, or
not be finished; 130 interrupted

examples:
  wireproto rewrap --config wireproto.toml
  wireproto rewrap --state-folder .wireproto --node shard-1=unix:///run/wireproto/shard-1.sock
"""


def register(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "rewrap",
        help="bring all stored values under the present encryption key",
        description="Go through all values on the nodes and bring them under the present encryption key.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--node", metavar=NODES.metavar, action="append", help="a shard, as the server's flag has it; once per shard"
    )
    parser.add_argument("--namespace", metavar="NAME", help="only the values of this namespace")
    parser.add_argument("--plain", action="store_true", help="open the values and store them plain")
    add_settings_flags(parser, ("state_folder", "keyring"))
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    settings = chosen_settings(arguments)
    shards = _shards(arguments, settings)
    _check(arguments, load_keyring(settings))
    total = Counts()
    try:
        _wait_for_servers(settings)
        keyring = load_keyring(settings)
        _check(arguments, keyring)
        sealer = process_sealer(keyring)
        for shard in shards:
            total.add(_rewrap(shard, sealer, arguments))
    except KeyboardInterrupt:
        _say("interrupted; what is done stays done, and it can be begun again")
        return EXIT_INTERRUPTED
    if len(shards) > 1:
        _say(f"all: {_in_words(total)}")
    return EXIT_SOME_LEFT if total.failed or total.left else 0


def _rewrap(shard: ShardAddress, sealer: Sealer, arguments: argparse.Namespace) -> Counts:
    """One shard, and what became of its keys. Raises ConfigurationError."""
    client = open_master(shard)
    node = NodeRewrap(client, sealer, namespace=arguments.namespace, to_plain=arguments.plain)
    progress = _Progress(shard.name, node.counts)
    try:
        with _Interruption() as interruption:

            def after_each() -> None:
                interruption.raise_if_asked()
                progress.tell_sometimes()

            node.run(after_each)
    except (RedisError, OSError) as error:
        raise ConfigurationError(
            f"node {shard.name}: {type(error).__name__}: {error}; what is done stays done, so begin again"
        ) from None
    finally:
        progress.tell()
        client.close()
    return node.counts


def _shards(arguments: argparse.Namespace, settings: Settings) -> tuple[ShardAddress, ...]:
    """The shards of the command line, or those of the settings. Raises ConfigurationError."""
    if arguments.node is None:
        if not settings.nodes:
            raise ConfigurationError(
                "no nodes: name the server's settings with --config, or each node with --node NAME=URL; STATS tells"
                " where nodes are that a server has started itself"
            )
        return settings.nodes
    try:
        shards: tuple[ShardAddress, ...] = NODES.read(",".join(arguments.node))
        NODES.check(shards)
    except (ValueError, ConfigurationError) as error:
        raise ConfigurationError(f"argument --node: {error}") from None
    return shards


def _check(arguments: argparse.Namespace, keyring: Keyring) -> None:
    """Raise ConfigurationError where nothing could come of it."""
    namespace = arguments.namespace
    if namespace is not None and not is_name(namespace):
        raise ConfigurationError(f"argument --namespace: must be {NAME_RULE}")
    if not keyring.keys:
        raise ConfigurationError("there are no encryption keys; make one with: wireproto keyring add")
    if arguments.plain:
        return
    if namespace is not None and keyring.sealing_key(namespace) is None:
        raise ConfigurationError(f"no key seals the values of namespace {namespace}; --plain opens them")
    if not any(key.use == "seal" for key in keyring.keys):
        raise ConfigurationError("no key seals any more; --plain opens all values")


def _wait_for_servers(settings: Settings) -> None:
    """Wait until no server seals any more as it did before the keyring's file was changed.

    What it sealed with an old key behind this command's back would be lost when that key is dropped.
    """
    path = keyring_path(settings)
    # What was sealed before may still be on its way to a node.
    longest = NOTICING + settings.failover_grace + settings.node_timeout
    seen: float | None = None
    while path.exists() and (changed := path.stat().st_mtime) != seen:
        # A clock that was set back must not make it wait for ever.
        pause = min(longest, changed + longest - time.time())
        if pause > 0:
            _say(f"waiting {pause:.1f} s, until servers have noticed that {path.name} has changed")
            time.sleep(pause)
        seen = changed


class _Interruption:
    """Ctrl-C takes effect between two steps, the second one at once, as usual.

    An exception that a signal raises anywhere can come while hiredis packs a command, and hiredis 3.5.0 then uses what
    Python has not made: 6 of 435 interrupted runs were segmentation faults.
    """

    def __init__(self) -> None:
        self._is_asked = False
        self._before = signal.getsignal(signal.SIGINT)

    def __enter__(self) -> Self:
        if self._before is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, self._ask)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        signal.signal(signal.SIGINT, self._before)
        if error is None:
            self.raise_if_asked()

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self._is_asked = True
        signal.signal(signal.SIGINT, self._before)

    def raise_if_asked(self) -> None:
        """Raise KeyboardInterrupt if there was one."""
        if self._is_asked:
            raise KeyboardInterrupt


class _Progress:
    """Tells how far a node is."""

    def __init__(self, name: str, counts: Counts) -> None:
        self._name = name
        self._counts = counts
        self._started = self._told = time.monotonic()

    def tell_sometimes(self) -> None:
        """A line, if the last one is some time ago."""
        if time.monotonic() - self._told >= PROGRESS:
            self.tell()

    def tell(self) -> None:
        """A line."""
        self._told = time.monotonic()
        rate = self._counts.seen / max(self._told - self._started, 1e-3)
        _say(f"{self._name}: {_in_words(self._counts)}; {rate:,.0f} keys/s")


def _in_words(counts: Counts) -> str:
    words = [f"{counts.seen:,} keys seen, {counts.moved:,} moved, {counts.present:,} were in order"]
    more = {
        "plain numbers left": counts.counters,
        "without a value yet": counts.leased,
        "of namespaces without a sealing key": counts.unsealed,
        "no values": counts.skipped,
        "gone meanwhile": counts.gone,
        "left, for they kept changing": counts.left,
    }
    words += [f"{number:,} {what}" for what, number in more.items() if number]
    return ", ".join([*words, f"{counts.failed:,} failed"])


def _say(text: str) -> None:
    print(f"wireproto rewrap: {text}", file=sys.stderr, flush=True)
