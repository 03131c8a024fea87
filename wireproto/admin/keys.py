"""`wireproto keys`: API keys made, listed, revoked and replaced.

A key is printed once, alone on standard output, so that `KEY=$(wireproto keys create orders)` holds it and no terminal
or log does. What else there is to say goes to standard error.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from wireproto.admin.state_arguments import add_state_arguments, read_flag, say, settings_of, shown_time, table
from wireproto.core.access import MAX_RATE, PERMISSIONS, Access, Quota
from wireproto.core.api_keys import CERTIFICATE_NAME_RULE, LATEST_TIME, ApiKeyRecord, is_certificate_name
from wireproto.core.names import NAME_RULE, is_name
from wireproto.errors import ConfigurationError
from wireproto.server.state_folder import API_KEYS_FILE, Records, change_records, new_api_key, read_records
from wireproto.settings import Settings
from wireproto.settings.kinds import DAY, NAME, integer, size, whole_seconds

LONGEST: Final = 3650 * DAY
_EXPIRY: Final = whole_seconds(1, LONGEST)
_OVERLAP: Final = whole_seconds(0, LONGEST)
_NUMBER: Final = integer(1, MAX_RATE - 1)
_SIZE: Final = size(1, MAX_RATE)


def register(commands: Any) -> None:
    """Add the command `keys`."""
    parser = commands.add_parser("keys", help="API keys: make, list, revoke, replace", description=__doc__)
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    create = actions.add_parser("create", help="make an API key and print it, this once")
    create.add_argument("client", metavar="CLIENT", help="whose it is")
    create.add_argument("--namespace", metavar="NAME", help="where its data is (default: the server's)")
    create.add_argument("--allow", metavar="WORD[,...]", help=f"some of {','.join(PERMISSIONS)} (default: all)")
    create.add_argument("--prefix", metavar="TEXT", action="append", help="only keys that begin so; may be given again")
    create.add_argument("--expires", metavar="TIME", help="after this time: 90d, 12h, 30m (default: never)")
    create.add_argument("--requests", metavar="NUMBER", help="at most so many requests a second")
    create.add_argument("--bytes", metavar="SIZE", help="at most so many bytes a second, both ways together")
    create.add_argument("--connections", metavar="NUMBER", help="at most so many connections at once")
    create.add_argument("--certificate", metavar="NAME", help="a client certificate with this name logs in without it")
    listing = actions.add_parser("list", help="show all keys, without their hashes")
    listing.add_argument("--json", action="store_true", help="as JSON")
    revoke = actions.add_parser("revoke", help="end a key, or all keys of a client, and their tokens")
    revoke.add_argument("word", metavar="KEY_ID|CLIENT")
    revoke.add_argument("--tokens-only", action="store_true", help="end the tokens; the key may fetch new ones")
    rotate = actions.add_parser("rotate", help="make a key with the same access; the old one ends a little later")
    rotate.add_argument("key_id", metavar="KEY_ID")
    rotate.add_argument("--overlap", metavar="TIME", default="24h", help="how long the old one lasts (default: 24h)")
    for action, run in ((create, _create), (listing, _list), (revoke, _revoke), (rotate, _rotate)):
        add_state_arguments(action)
        action.set_defaults(run=run)


# --- Making -----------------------------------------------------------------------------------------------------------


def _create(arguments: argparse.Namespace) -> int:
    settings = settings_of(arguments)
    client, namespace = arguments.client, arguments.namespace
    if not is_name(client):
        raise ConfigurationError(f"CLIENT: {client[:80]!r} must be {NAME_RULE}")
    lifetime = read_flag("--expires", _EXPIRY, arguments.expires)
    certificate = arguments.certificate
    if certificate is not None and not is_certificate_name(certificate):
        raise ConfigurationError(f"--certificate: must be {CERTIFICATE_NAME_RULE}")
    text, record = new_api_key(
        client,
        settings.namespace if namespace is None else read_flag("--namespace", NAME, namespace),
        access=_access(arguments),
        quota=Quota(
            requests=read_flag("--requests", _NUMBER, arguments.requests),
            bytes=read_flag("--bytes", _SIZE, arguments.bytes),
            connections=read_flag("--connections", _NUMBER, arguments.connections),
        ),
        certificate=certificate,
    )
    if lifetime is not None:
        record = replace(record, expires=record.created + lifetime)
    change_records(settings.state_folder, lambda records: (*records, record), make=True)
    return _hand_out(text, record, settings)


def _access(arguments: argparse.Namespace) -> Access:
    words = PERMISSIONS if arguments.allow is None else arguments.allow.split(",")
    try:
        return Access.of(words, arguments.prefix or ())
    except ValueError as error:
        raise ConfigurationError(f"--allow, --prefix: {error}") from None


def _hand_out(text: str, record: ApiKeyRecord, settings: Settings) -> int:
    """Print a key that was made. Raises ConfigurationError if nobody can have seen it."""
    try:
        print(text, flush=True)
    except OSError as error:
        raise ConfigurationError(
            f"standard output: {error.strerror}; nobody has seen the key, so run: wireproto keys revoke {record.id}"
        ) from None
    path = settings.state_folder / API_KEYS_FILE
    say(f"key {record.id} of client {record.client}: {_allowed(record)}; {_expiry(record)}")
    say(f"It is shown this once; its hash is in {path}. Running servers know it within two seconds.")
    _warn_of_environment(settings)
    return 0


def _warn_of_environment(settings: Settings) -> None:
    if settings.api_key is not None:
        say(
            "Beware: WIREPROTO_API_KEY is set here. A server that has it set accepts that key alone, and none of these."
        )


# --- Listing ----------------------------------------------------------------------------------------------------------


def _list(arguments: argparse.Namespace) -> int:
    settings = settings_of(arguments)
    records = read_records(settings.state_folder)
    now = time.time()
    if arguments.json:
        shown = [{**record.to_json(), "state": record.end(now) or "active"} for record in records]
        print(json.dumps([{name: value for name, value in item.items() if name != "hash"} for item in shown], indent=2))
    elif records:
        heads = ("ID", "CLIENT", "NAMESPACE", "STATE", "CREATED", "EXPIRES", "ALLOWS", "LIMITS", "CERTIFICATE")
        print(table([heads, *(_row(record, now) for record in records)]))
    else:
        say("there are no keys; make one with: wireproto keys create CLIENT")
    _warn_of_environment(settings)
    return 0


def _row(record: ApiKeyRecord, now: float) -> tuple[str, ...]:
    quota = record.quota
    numbers = ((quota.requests, "requests/s"), (quota.bytes, "bytes/s"), (quota.connections, "connections"))
    return (
        record.id,
        record.client,
        record.namespace,
        record.end(now) or "active",
        shown_time(record.created, "-"),
        shown_time(record.expires, "never"),
        ",".join((*record.access.allow, *(f"prefix={prefix}" for prefix in record.access.prefixes))),
        ",".join(f"{number} {unit}" for number, unit in numbers if number is not None) or "-",
        record.certificate or "-",
    )


def _allowed(record: ApiKeyRecord) -> str:
    prefixes = record.access.prefixes
    keys = f"keys that begin with {' or '.join(prefixes)}" if prefixes else "all keys"
    return f"{','.join(record.access.allow)} on {keys} of namespace {record.namespace}"


def _expiry(record: ApiKeyRecord) -> str:
    return f"until {shown_time(record.expires, '')}" if record.expires else "without an end"


# --- Ending -----------------------------------------------------------------------------------------------------------


def _revoke(arguments: argparse.Namespace) -> int:
    settings = settings_of(arguments)
    now = int(time.time())
    lines: list[str] = []

    def change(records: Records) -> Records:
        chosen = _chosen(records, arguments.word, settings.state_folder / API_KEYS_FILE)
        after = {record.id: _ended(record, now, tokens_only=arguments.tokens_only) for record in chosen}
        lines.extend(_told(record, after[record.id], tokens_only=arguments.tokens_only) for record in chosen)
        return tuple(after.get(record.id, record) for record in records)

    change_records(settings.state_folder, change)
    for line in lines:
        print(line)
    say("Running servers know it within two seconds.")
    _warn_of_environment(settings)
    return 0


def _chosen(records: Records, word: str, path: Path) -> Sequence[ApiKeyRecord]:
    """The key with this id, or all keys of the client with this name. Raises ConfigurationError."""
    chosen = [record for record in records if record.id == word] or [
        record for record in records if record.client == word
    ]
    if not chosen:
        raise ConfigurationError(f"state file {path}: has no key and no client {word[:80]!r}; see: wireproto keys list")
    return chosen


def _ended(record: ApiKeyRecord, now: int, *, tokens_only: bool) -> ApiKeyRecord:
    if record.revoked is not None:
        return record
    # A token of this very second may be older than the command.
    return replace(record, tokens_from=now + 1) if tokens_only else replace(record, revoked=now)


def _told(before: ApiKeyRecord, after: ApiKeyRecord, *, tokens_only: bool) -> str:
    key = f"key {before.id} of client {before.client}, namespace {before.namespace}"
    if after == before:
        return f"{key}: was revoked already, {shown_time(before.revoked, 'at an unknown time')}"
    return f"{key}: its tokens are ended; the key itself is not" if tokens_only else f"{key}: revoked, with its tokens"


def _rotate(arguments: argparse.Namespace) -> int:
    settings = settings_of(arguments)
    overlap = read_flag("--overlap", _OVERLAP, arguments.overlap)
    made: list[tuple[str, ApiKeyRecord, ApiKeyRecord]] = []

    def change(records: Records) -> Records:
        path = settings.state_folder / API_KEYS_FILE
        old = next((record for record in records if record.id == arguments.key_id), None)
        if old is None:
            raise ConfigurationError(
                f"state file {path}: has no key {arguments.key_id[:80]!r}; see: wireproto keys list"
            )
        text, new = _successor(old, path)
        # An end that it has already is not put off.
        ending = replace(old, expires=min(old.expires or LATEST_TIME, new.created + overlap))
        made.append((text, new, ending))
        return (*(ending if record.id == old.id else record for record in records), new)

    change_records(settings.state_folder, change)
    text, new, ending = made[0]
    say(f"key {ending.id} of client {ending.client}: {_expiry(ending)}; the new one takes its place")
    return _hand_out(text, new, settings)


def _successor(old: ApiKeyRecord, path: Path) -> tuple[str, ApiKeyRecord]:
    """A key with the access of another. If that was given an end, this one lasts as long, from now."""
    end = old.end(time.time())
    if end is not None:
        raise ConfigurationError(f"state file {path}: key {old.id} is {end}; make one with: wireproto keys create")
    text, new = new_api_key(old.client, old.namespace, access=old.access, quota=old.quota, certificate=old.certificate)
    return text, new if old.expires is None else replace(new, expires=new.created + old.expires - old.created)
