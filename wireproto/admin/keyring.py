"""`wireproto keyring`: make, list, retire and drop the keys that encrypt values. No secret is ever shown."""

from __future__ import annotations

import argparse
import secrets
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from wireproto.admin.chosen_settings import add_settings_flags, chosen_settings
from wireproto.core.keyring import EncryptionKey, Keyring, Use
from wireproto.core.names import NAME_RULE, is_name
from wireproto.core.xaes import KEY_BYTES
from wireproto.errors import ConfigurationError
from wireproto.server.keyring_file import change_keyring, keyring_path, load_keyring

_ID_BYTES: Final = 3
"""An id of 6 characters: it stands in every value. That it is not one of the present ids is looked at."""
_ALL: Final = "(all)"
SEALS: Final = "seals"
"""What `list` says of the key that seals."""

_EPILOG: Final = """\
To begin encrypting, or to change the key: add, then `wireproto rewrap`, then retire and drop the old key.
Where several servers have copies of the file: add --later, copy the file to all, then activate, and copy it again.
To end it: retire every key, then `wireproto rewrap --plain`. A running server notices each step by itself.
Keep a copy of the file in another place than the nodes' data: without its keys, values cannot be read.
"""


def register(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "keyring",
        help="the keys that encrypt values on the nodes",
        description="The keys that encrypt values: the newest one that may seal does, and all of them open.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    add = _action(actions, "add", "make a key, which seals from now on; prints its id", _add)
    add.add_argument("--namespace", metavar="NAME", help="for the values of this namespace alone")
    add.add_argument("--later", action="store_true", help="have it only open, until it is activated")
    _action(actions, "list", "show the keys", _list)
    activate = _action(actions, "activate", "have a key seal that only opened", _activate)
    activate.add_argument("id", metavar="ID")
    retire = _action(actions, "retire", "have a key only open from now on", _retire)
    retire.add_argument("id", metavar="ID")
    drop = _action(actions, "drop", "remove a key: what it has sealed can never be read again", _drop)
    drop.add_argument("id", metavar="ID")
    drop.add_argument("--yes", action="store_true", help="do it")
    plain = _action(actions, "plain", "keep the values of a namespace plain", _plain)
    plain.add_argument("namespace", metavar="NAMESPACE")
    plain.add_argument("--undo", action="store_true", help="have the keys seal them again")


def _action(actions: Any, name: str, meaning: str, run: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=meaning, description=meaning)
    add_settings_flags(parser, ("state_folder", "keyring"))
    parser.set_defaults(run=run)
    return parser


def _add(arguments: argparse.Namespace) -> int:
    namespace = arguments.namespace
    if namespace is not None and not is_name(namespace):
        raise ConfigurationError(f"argument --namespace: must be {NAME_RULE}")

    use: Use = "open" if arguments.later else "seal"

    def change(keyring: Keyring) -> Keyring:
        present = {key.id for key in keyring.keys}
        key_id = next(new for new in iter(lambda: secrets.token_hex(_ID_BYTES), "") if new not in present)
        # Newer than the present ones, also when a clock was set back.
        if arguments.later and namespace is not None and not _has_sealing_key(keyring, namespace):
            raise ConfigurationError(
                f"argument --later: namespace {namespace} has no key of its own that seals, and with one that only"
                " opens its values would be stored plain"
            )
        created = max([int(time.time()), *(key.created + 1 for key in keyring.keys)])
        key = EncryptionKey(key_id, namespace, secrets.token_bytes(KEY_BYTES), created, use)
        return replace(keyring, keys=(*keyring.keys, key))

    keyring = _change(arguments, change)
    print(keyring.keys[-1].id)
    if namespace is not None and namespace in keyring.plain:
        _tell(f"namespace {namespace} is kept plain; end that with: wireproto keyring plain --undo {namespace}")
    return 0


def _list(arguments: argparse.Namespace) -> int:
    settings = chosen_settings(arguments)
    keyring = load_keyring(settings)
    if not keyring.keys:
        _tell(f"there are no keys in {keyring_path(settings)}; values are stored plain")
    else:
        print(f"{'ID':16}  {'NAMESPACE':20}  {'MADE':20}  USE")
        for key in keyring.keys:
            print(f"{key.id:16}  {key.namespace or _ALL:20}  {_date(key.created):20}  {_use(keyring, key)}")
    for namespace in keyring.plain:
        print(f"namespace {namespace} is kept plain")
    return 0


def _activate(arguments: argparse.Namespace) -> int:
    _change(arguments, lambda keyring: _with_use(keyring, arguments.id, "seal"))
    return 0


def _retire(arguments: argparse.Namespace) -> int:
    keyring = _change(arguments, lambda keyring: _with_use(keyring, arguments.id, "open"))
    retired = _find(keyring, arguments.id)
    if not _has_sealing_key(keyring, retired.namespace):
        whose = (
            "namespaces without keys of their own" if retired.namespace is None else f"namespace {retired.namespace}"
        )
        _tell(f"no key seals any more: new values of {whose} are stored plain")
    return 0


def _drop(arguments: argparse.Namespace) -> int:
    def change(keyring: Keyring) -> Keyring:
        dropped = _find(keyring, arguments.id)
        if _use(keyring, dropped) == SEALS:
            # Until servers have noticed, they would go on sealing with it, and then perhaps store plain.
            raise ConfigurationError(
                f"key {dropped.id}: it seals; make another one with wireproto keyring add, or end its sealing with"
                f" wireproto keyring retire {dropped.id}"
            )
        if not arguments.yes:
            raise ConfigurationError(
                f"key {dropped.id}: without it the values that it has sealed become unreadable for ever; have them"
                " sealed anew with wireproto rewrap first, and then give --yes"
            )
        return replace(keyring, keys=tuple(key for key in keyring.keys if key is not dropped))

    _change(arguments, change)
    _tell(f"values under key {arguments.id} are unreadable from now on (CORRUPT)")
    return 0


def _plain(arguments: argparse.Namespace) -> int:
    namespace = arguments.namespace
    if not is_name(namespace):
        raise ConfigurationError(f"argument NAMESPACE: must be {NAME_RULE}")

    def change(keyring: Keyring) -> Keyring:
        others = tuple(name for name in keyring.plain if name != namespace)
        return replace(keyring, plain=others if arguments.undo else (*others, namespace))

    _change(arguments, change)
    return 0


def _change(arguments: argparse.Namespace, change: Any) -> Keyring:
    return change_keyring(chosen_settings(arguments), change)


def _with_use(keyring: Keyring, key_id: str, use: Use) -> Keyring:
    chosen = _find(keyring, key_id)
    return replace(keyring, keys=tuple(replace(key, use=use) if key is chosen else key for key in keyring.keys))


def _has_sealing_key(keyring: Keyring, namespace: str | None) -> bool:
    return any(key.namespace == namespace and key.use == "seal" for key in keyring.keys)


def _find(keyring: Keyring, key_id: str) -> EncryptionKey:
    for key in keyring.keys:
        if key.id == key_id:
            return key
    # Not quoted: a secret may have been given in the id's place.
    raise ConfigurationError("argument ID: there is no such key; wireproto keyring list shows them")


def _use(keyring: Keyring, key: EncryptionKey) -> str:
    if key.use == "open":
        return "opens"
    same = [other for other in keyring.keys if other.namespace == key.namespace and other.use == "seal"]
    newest = max(reversed(same), key=lambda other: other.created)
    return SEALS if newest is key else "opens; a newer key seals"


def _date(created: int) -> str:
    return datetime.fromtimestamp(created, UTC).strftime("%Y-%m-%d %H:%M:%S") if created else "unknown"


def _tell(text: str) -> None:
    print(f"wireproto: {text}", file=sys.stderr)
