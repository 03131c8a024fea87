"""The client's command line: one call, its value from stdin or to stdout unchanged, its outcome as the exit code."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from wireproto import __version__
from wireproto.client.options import OptionArguments, holds_api_key
from wireproto.client.sync import Client
from wireproto.core.results import Value, Versioned
from wireproto.errors import ArgumentError, ConfigurationError, RequestError

EXIT_MISS: Final = 1
EXIT_USAGE: Final = 2
EXIT_ERROR: Final = 3
EXIT_INTERRUPTED: Final = 130

Command = Callable[[Client[bytes], argparse.Namespace], int]

LOCAL_AUTHORITY: Final = Path("certs/ca.pem")

_EPILOG: Final = """\
connection:
  --url, or WIREPROTO_URL   wireproto://host:port?ca=path; wireproto+plain:// without TLS
                            (default: wireproto://localhost:7379)
  WIREPROTO_API_KEY         the API key; it may also stand in WIREPROTO_URL (wireproto://KEY@host:port), but not in
                            --url: a command line shows it to every user of the machine
  --ca, or WIREPROTO_CA     the authority of the server's certificate (default: certs/ca.pem, if it is there)
  --cert, --cert-key, or WIREPROTO_CLIENT_CERT, WIREPROTO_CLIENT_KEY
                            a certificate of your own and its key, where the server asks for one
  --timeout, or WIREPROTO_TIMEOUT   seconds

exit codes:
  0  done
  1  a miss; or a condition (--nx, --xx, --if-version) that did not hold: nothing was changed
  2  wrong usage or configuration
  3  the request failed; the text says why, and whether it may have taken effect

A key or value that begins with - stands after --.
"""


_KEY_IN_URL: Final = (
    "--url holds an API key, and every user of this machine can read a command line; give the key in the environment "
    "(WIREPROTO_API_KEY), or the whole URL (WIREPROTO_URL)"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code; argparse itself exits with 2 or, for --help, with 0."""
    arguments = _parser().parse_args(argv)
    if arguments.url is not None and holds_api_key(arguments.url):
        return _complain(_KEY_IN_URL, EXIT_USAGE)
    try:
        with Client(arguments.url, **_options(arguments)) as client:
            code: int = arguments.run(client, arguments)
            sys.stdout.flush()
            return code
    except (ArgumentError, ConfigurationError) as error:
        return _complain(str(error), EXIT_USAGE)
    except RequestError as error:
        return _complain(f"{error.code}: {error} (took effect: {error.took_effect.value})", EXIT_ERROR)
    except BrokenPipeError:
        # Whoever read the output has gone; Python would complain once more when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_ERROR
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _complain(text: str, code: int) -> int:
    print(f"wireproto: {text}", file=sys.stderr)
    return code


def _options(arguments: argparse.Namespace) -> OptionArguments:
    """The options that were given; the rest come from the URL and the environment."""
    options: OptionArguments = {}
    if arguments.timeout is not None:
        options["timeout"] = arguments.timeout
    if arguments.cert is not None:
        options["certificate"] = arguments.cert
    if arguments.cert_key is not None:
        options["certificate_key"] = arguments.cert_key
    if arguments.ca is not None:
        options["ca"] = arguments.ca
    elif not os.environ.get("WIREPROTO_CA") and not _url_names_ca(arguments.url) and LOCAL_AUTHORITY.is_file():
        options["ca"] = LOCAL_AUTHORITY
    return options


def _url_names_ca(url: str | None) -> bool:
    query = (url or os.environ.get("WIREPROTO_URL", "")).partition("?")[2]
    return any(option.startswith("ca=") for option in query.split("&"))


# -- arguments


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="client.py" if sys.argv[0].endswith("client.py") else "wireproto-client",
        description="Ask a wireproto cache: one call.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        parents=[_connection(None)],
    )
    parser.add_argument("--version", action="version", version=f"wireproto {__version__}")
    _add_commands(parser.add_subparsers(title="commands", metavar="COMMAND", required=True))
    return parser


def _add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    common = _connection(argparse.SUPPRESS)

    def command(name: str, run: Command, text: str, *, key: bool) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text, parents=[common], allow_abbrev=False)
        added.set_defaults(run=run)
        if key:
            added.add_argument("key", type=os.fsencode, metavar="KEY")
        return added

    reading = command("read", _read, "write the value of a key to stdout, unchanged", key=True)
    reading.add_argument("--ttl", action="store_true", help="tell the time left, on stderr")
    reading.add_argument("--version", action="store_true", help="tell the version, on stderr")
    reading.add_argument("--replica", action="store_true", help="a replica may answer, whose value may be a little old")
    writing = command("write", _write, "store a value; from stdin if it is - or not given", key=True)
    writing.add_argument("value", nargs="?", type=os.fsencode, metavar="VALUE")
    _add_expiry(writing).add_argument("--keepttl", action="store_true", help="keep the time to live of the old value")
    writing.add_argument("--stale", type=int, metavar="SECONDS", help="how long it may be served when its time is over")
    condition = writing.add_mutually_exclusive_group()
    condition.add_argument("--nx", action="store_true", help="only if the key is absent")
    condition.add_argument("--xx", action="store_true", help="only if the key is present")
    deleting = command("delete", _delete, "remove a key", key=True)
    for conditional in (condition, deleting):
        conditional.add_argument("--if-version", metavar="VERSION", help="only if the key has this version still")
    counting = command("incr", _incr, "add to a counter, and show what it is then", key=True)
    counting.add_argument("--by", type=int, default=1, metavar="NUMBER", help="how much; less than 0 takes away")
    _add_expiry(counting)
    for changing in (writing, deleting, counting):
        changing.add_argument("--sync", type=int, metavar="NUMBER", help="replicas that must have it, else NOSYNC (3)")
    _add_expiry(command("touch", _touch, "give a key a new time to live", key=True), required=True)
    command("ping", _ping, "connect, and measure a round trip", key=False)
    command("where", _where, "tell which node serves a key", key=True)
    command("stats", _stats, "show the server's counters, as JSON", key=False)


def _connection(default: str | None) -> argparse.ArgumentParser:
    """The options that may stand before or after the command; behind it, their default must not undo what was given."""
    parser = argparse.ArgumentParser(add_help=False, argument_default=default)
    parser.add_argument("--url", metavar="URL", help="where the server is")
    parser.add_argument("--ca", metavar="FILE", help="PEM file of the authority to trust")
    parser.add_argument("--cert", metavar="FILE", help="PEM file of a certificate of your own")
    parser.add_argument("--cert-key", metavar="FILE", help="PEM file of its private key, if it is not in the same")
    parser.add_argument("--timeout", metavar="SECONDS", type=float, help="for the whole call (default: 5)")
    return parser


def _add_expiry(parser: argparse.ArgumentParser, *, required: bool = False) -> argparse._MutuallyExclusiveGroup:
    group = parser.add_mutually_exclusive_group(required=required)
    group.add_argument("--ex", type=int, metavar="SECONDS", help="time to live")
    group.add_argument("--px", type=int, metavar="MILLISECONDS", help="time to live")
    return group


# -- commands


def _read(client: Client[bytes], arguments: argparse.Namespace) -> int:
    found = _found(client, arguments)
    if found is None:
        return _complain("no such key", EXIT_MISS)
    sys.stdout.buffer.write(found.value)
    if sys.stdout.isatty():
        sys.stdout.buffer.write(b"\n")
    if arguments.ttl:
        print("does not expire" if found.ttl is None else f"{found.ttl:.3f} s left", file=sys.stderr)
    if isinstance(found, Versioned):
        print(f"version {found.version}", file=sys.stderr)
    return 0


def _found(client: Client[bytes], arguments: argparse.Namespace) -> Value[bytes] | None:
    """What there is, with no more than was asked for."""
    key, replica = arguments.key, arguments.replica
    if arguments.version:
        return client.read(key, with_version=True, replica=replica)
    if arguments.ttl:
        return client.read(key, with_ttl=True, replica=replica)
    value = client.read(key, replica=replica)
    return None if value is None else Value(value, None)


def _write(client: Client[bytes], arguments: argparse.Namespace) -> int:
    value = sys.stdin.buffer.read() if arguments.value in (None, b"-") else arguments.value
    written = client.write(
        arguments.key,
        value,
        ex=arguments.ex,
        px=arguments.px,
        keepttl=arguments.keepttl,
        stale=arguments.stale,
        nx=arguments.nx,
        xx=arguments.xx,
        version=_condition(arguments),
        sync=arguments.sync,
    )
    if written:
        return 0
    state = "there" if arguments.nx else "not there" if arguments.xx else "not what it was"
    return _complain(f"not written: the key is {state}", EXIT_MISS)


def _delete(client: Client[bytes], arguments: argparse.Namespace) -> int:
    version = _condition(arguments)
    if client.delete(arguments.key, version=version, sync=arguments.sync):
        return 0
    return _complain("not removed: the key is not what it was" if version else "no such key", EXIT_MISS)


def _condition(arguments: argparse.Namespace) -> str:
    """The version that the key must have. Raises ArgumentError for an empty one, as of a variable that is not set."""
    version: str | None = arguments.if_version
    if version == "":
        raise ArgumentError("--if-version is empty")
    return version or ""


def _incr(client: Client[bytes], arguments: argparse.Namespace) -> int:
    print(client.incr(arguments.key, arguments.by, ex=arguments.ex, px=arguments.px, sync=arguments.sync))
    return 0


def _touch(client: Client[bytes], arguments: argparse.Namespace) -> int:
    found = client.touch(arguments.key, ex=arguments.ex, px=arguments.px)
    return 0 if found else _complain("no such key", EXIT_MISS)


def _ping(client: Client[bytes], arguments: argparse.Namespace) -> int:
    connecting = client.ping()
    print(f"{client.ping() * 1000:.2f} ms (the first, with connecting: {connecting * 1000:.2f} ms)")
    return 0


def _where(client: Client[bytes], arguments: argparse.Namespace) -> int:
    location = client.where(arguments.key)
    print(location.node, *(f"{name}={value}" for name, value in location.details.items()))
    for node in location.nodes:
        behind = "" if node.lag is None else f", at most {node.lag * 1000:.0f} ms behind"
        print(f"  {node.address} {node.role}, {node.state}{behind}")
    return 0


def _stats(client: Client[bytes], arguments: argparse.Namespace) -> int:
    print(json.dumps(client.stats(), indent=2, sort_keys=True))
    return 0
