"""`wireproto tokens`: the keys that sign tokens, changed, listed and shown to other services."""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

from wireproto.admin.state_arguments import add_state_arguments, say, settings_of, shown_time, table
from wireproto.core.signing_keys import ALGORITHMS, EDDSA, HS256, MAX_LIFETIME, SigningKey, SigningKeys, with_new_key
from wireproto.errors import ConfigurationError
from wireproto.server.state_folder import (
    SIGNING_KEYS_FILE,
    Keys,
    change_signing_keys,
    new_signing_key,
    read_signing_keys,
)


def register(commands: Any) -> None:
    """Add the command `tokens`."""
    parser = commands.add_parser("tokens", help="the keys that sign tokens: change, list, publish", description=__doc__)
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    rotate = actions.add_parser("rotate", help="make a new key that signs; tokens of the old ones last until they end")
    rotate.add_argument("--algorithm", choices=ALGORITHMS, help="of the new key (default: that of the one before)")
    rotate.add_argument("--now", action="store_true", help="end all tokens of the old keys at once")
    listing = actions.add_parser("list", help="show the keys, without their secrets")
    listing.add_argument("--json", action="store_true", help="as JSON")
    public = actions.add_parser("public", help="print the public keys (JWKS), by which other services verify tokens")
    for action, run in ((rotate, _rotate), (listing, _list), (public, _public)):
        add_state_arguments(action)
        action.set_defaults(run=run)


def _rotate(arguments: argparse.Namespace) -> int:
    folder = settings_of(arguments).state_folder

    def change(keys: Keys) -> Keys:
        algorithm = arguments.algorithm or (SigningKeys(keys).newest.algorithm if keys else HS256)
        return with_new_key(keys, new_signing_key(algorithm), keep=not arguments.now)

    key = change_signing_keys(folder, change).newest
    print(f"signing key {key.id} ({key.algorithm}) signs from now on")
    if arguments.now:
        print("all tokens of the keys before it are ended; clients log in again with their API keys")
    say("Running servers know it within two seconds.")
    return 0


def _list(arguments: argparse.Namespace) -> int:
    keys = read_signing_keys(settings_of(arguments).state_folder)
    now = time.time()
    if arguments.json:
        shown = [{**key.to_json(), "state": _state(key, keys, now)} for key in keys.keys]
        print(json.dumps([{name: value for name, value in item.items() if name != "key"} for item in shown], indent=2))
        return 0
    heads = ("ID", "ALGORITHM", "STATE", "CREATED", "VERIFIES UNTIL")
    print(table([heads, *(_row(key, keys, now) for key in keys.keys)]))
    return 0


def _row(key: SigningKey, keys: SigningKeys, now: float) -> tuple[str, ...]:
    end = None if key.retired is None else key.retired + MAX_LIFETIME
    created = shown_time(key.created, "not known")
    return key.id, key.algorithm, _state(key, keys, now), created, shown_time(end, "-")


def _state(key: SigningKey, keys: SigningKeys, now: float) -> str:
    if key == keys.newest:
        return "signs"
    return "verifies" if key.verifies(now) else "over"


def _public(arguments: argparse.Namespace) -> int:
    folder = settings_of(arguments).state_folder
    shared = read_signing_keys(folder).public_keys(time.time())
    if not shared["keys"]:
        raise ConfigurationError(
            f"state file {folder / SIGNING_KEYS_FILE}: has no {EDDSA} key, and {HS256} keys have no public part;"
            f" make one with: wireproto tokens rotate --algorithm {EDDSA}"
        )
    print(json.dumps(shared, indent=2))
    return 0
