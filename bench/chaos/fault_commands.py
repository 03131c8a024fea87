"""The command line of the fault proxy, and the lines that change its faults while it runs."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.chaos.fault_proxy import FaultProxy, Target
from bench.chaos.faults import NO_FAULTS, Cut, Ending, Garbage, NewConnections, Silence
from wireproto.settings.kinds import DAY, GIB, Kind, duration, integer, size

LINES = """
faults, each also a line on standard input:
  latency TIME [JITTER]           pass everything on later
  trickle SIZE TIME               so many bytes, then wait
  slice [SIZE]                    so many bytes (1) in a packet
  bandwidth SIZE                  so many bytes per second
  silence [hold | drop]           pass nothing on; keep what comes (hold) or lose it
  cut SIZE [fin | reset]          end the connection after so many more bytes
  garbage SIZE [COUNT [SEED]]     after so many more bytes, put in COUNT random ones (16)
  flip SIZE [COUNT [SEED]]        after so many more bytes, change bits of the next COUNT (16)
  new pass | silent | reset       what becomes of clients that connect

only lines:
  to-server FAULT, to-client FAULT   in one direction
  to-server heal, to-client heal, heal
  reset [client | server]         end all open connections with RST, on both sides or one
  counters                        print what has gone through

Times are such as 200ms or 5s, sizes such as 100 or 64KiB. Each line changes its own fault; the others stay.
"""


def _read(kind: Kind, text: str) -> Any:
    try:
        value = kind.read(text)
        kind.check(value)
    except ValueError as error:
        raise ValueError(f"{text} {error}") from None
    return value


def _time(text: str) -> float:
    return float(_read(duration(0, DAY), text))


def _size(text: str) -> int:
    return int(_read(size(0, GIB), text))


def _seed(text: str) -> int:
    return int(_read(integer(0, 10**11), text))


def _latency(time: str, jitter: str = "0") -> dict[str, object]:
    return {"latency": _time(time), "jitter": _time(jitter)}


def _trickle(piece: str, pause: str) -> dict[str, object]:
    return {"piece": _size(piece), "pause": _time(pause)}


def _slice(piece: str = "1") -> dict[str, object]:
    return {"piece": _size(piece), "pause": 0.0}


def _bandwidth(rate: str) -> dict[str, object]:
    return {"bandwidth": float(_size(rate))}


def _silence(what: str = "hold") -> dict[str, object]:
    return {"silence": Silence(what)}


def _cut(after: str, by: str = "fin") -> dict[str, object]:
    return {"cut": Cut(_size(after), Ending(by))}


def _garbage(offset: str, count: str = "16", seed: str = "0") -> dict[str, object]:
    return {"garbage": Garbage(_size(offset), _size(count), _seed(seed))}


def _flip(offset: str, count: str = "16", seed: str = "0") -> dict[str, object]:
    return {"garbage": Garbage(_size(offset), _size(count), _seed(seed), flip=True)}


_FAULTS: dict[str, Callable[..., dict[str, object]]] = {
    "latency": _latency,
    "trickle": _trickle,
    "slice": _slice,
    "bandwidth": _bandwidth,
    "silence": _silence,
    "cut": _cut,
    "garbage": _garbage,
    "flip": _flip,
}


def obey(proxy: FaultProxy, line: str) -> str:
    """Do what a line says; what is to be printed. Raises ValueError for a line that says nothing known."""
    directions: tuple[str, ...] = ("to_server", "to_client")
    word, *arguments = line.split() or [""]
    if arguments and (direction := word.replace("-", "_")) in directions:
        directions, (word, *arguments) = (direction,), arguments
        if word == "heal" and not arguments:
            setattr(proxy, direction, NO_FAULTS)
            return "healed"
    try:
        if word in _FAULTS:
            changes: dict[str, Any] = _FAULTS[word](*arguments)
            for name in directions:
                setattr(proxy, name, replace(getattr(proxy, name), **changes))
            return " ".join((*(name.replace("_", "-") for name in directions), word, *arguments))
        if len(directions) == 2 and word in _ACTIONS:
            return _ACTIONS[word](proxy, *arguments)
    except TypeError:
        raise ValueError(f"{word}: too many words, or too few") from None
    raise ValueError(f"{line.strip()}: no such line; --help lists them")


def _heal(proxy: FaultProxy) -> str:
    proxy.heal()
    return "healed"


def _new(proxy: FaultProxy, what: str) -> str:
    proxy.new_connections = NewConnections(what)
    return f"new {what}"


def _reset(proxy: FaultProxy, side: str = "") -> str:
    if side not in ("", "client", "server"):
        raise ValueError(f"{side} is neither client nor server")
    proxy.reset(client=side != "server", server=side != "client")
    return "reset"


def _counters(proxy: FaultProxy) -> str:
    found = proxy.counters
    return f"connections {found.connections} open {found.open} to-server {found.to_server} to-client {found.to_client}"


_ACTIONS: dict[str, Callable[..., str]] = {"heal": _heal, "new": _new, "reset": _reset, "counters": _counters}


def address(text: str) -> tuple[str, int]:
    """HOST:PORT. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    if not (colon and host and port.isdecimal()):
        raise ValueError(f"{text} is not HOST:PORT")
    return host.strip("[]"), int(port)


def target(text: str) -> Target:
    """HOST:PORT, or the path of a unix socket, which has a slash in it. Raises ValueError."""
    return Path(text) if "/" in text else address(text)


def main(words: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or Ctrl-C; the exit code. The end of standard input ends nothing."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.chaos.fault_proxy", epilog=LINES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--listen", type=address, default=("127.0.0.1", 0), metavar="HOST:PORT", help="(a free port)")
    parser.add_argument("--to", type=target, required=True, metavar="HOST:PORT|PATH", help="what to pass on to")
    for name in (*_FAULTS, "new"):
        parser.add_argument(f"--{name}", nargs="*", metavar="WORD", help="see below")
    options = parser.parse_args(words)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt), FaultProxy(options.to, options.listen) as proxy:
        for name in (*_FAULTS, "new"):
            if (given := getattr(options, name)) is not None:
                try:
                    obey(proxy, " ".join((name, *given)))
                except ValueError as error:
                    parser.error(str(error))
        print(f"listening on {options.listen[0]}:{proxy.port}", flush=True)
        for line in sys.stdin:
            try:
                print(obey(proxy, line), flush=True)
            except ValueError as error:
                print(f"error: {error}", flush=True)
        while True:
            signal.pause()
    return 0
