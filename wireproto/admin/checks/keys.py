"""The API keys, and the keys that sign tokens or encrypt values: how many, how old, for how long.

No key is shown, nor its hash.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from wireproto.admin.checks.findings import Case, Finding, duration, ok, problem, warning
from wireproto.core.api_keys import ApiKeyRecord
from wireproto.server.keyring_file import keyring_path, load_keyring

SOON: Final = 7 * 86400
"""Seconds before its end in which a key is about to expire."""
OLD_SIGNING_KEY: Final = 180 * 86400
"""Seconds after which a key that signs tokens is better replaced."""
API_KEYS: Final = "api-keys.json"
SIGNING_KEYS: Final = ("token-signing-keys.json", "token-signing-key.json")
"""The file of the keys, and that of the one key of an older version."""


def api_keys(case: Case) -> list[Finding]:
    """The API keys in the state folder, or the one in the environment."""
    if case.settings.api_key is not None:
        return [ok("API keys", "the one in WIREPROTO_API_KEY, in place of the stored ones")]
    path = case.settings.state_folder / API_KEYS
    content = _content("API keys", path)
    if content is None:
        return [ok("API keys", "none yet; the first start makes one and shows it")]
    if isinstance(content, Finding):
        return [content]
    try:
        records = [ApiKeyRecord.from_json(value) for value in content["keys"]]
    except (ValueError, LookupError, TypeError) as error:
        reason = str(error) if isinstance(error, ValueError) else "it holds no list of keys"
        return [problem("API keys", f"state file {path}: {reason}", "restore it from a backup")]
    return _ages(records, case.now)


def _ages(records: Sequence[ApiKeyRecord], now: float) -> list[Finding]:
    revoked = [record for record in records if record.revoked is not None]
    valid = [record for record in records if record.revoked is None]
    expired = [record for record in valid if record.expires is not None and record.expires <= now]
    usable = [record for record in valid if record not in expired]
    count = f"{len(usable)} can be used, {len(expired)} have expired, {len(revoked)} were revoked"
    found = []
    if not usable:
        found.append(problem("API keys", f"no client can log in: {count}", "make one with: wireproto keys"))
    else:
        found.append(ok("API keys", count))
    if expired:
        names = ", ".join(f"{record.id} ({record.client})" for record in expired)
        found.append(warning("API keys", f"expired: {names}", "revoke or replace them"))
    for record in usable:
        if record.expires is not None and record.expires - now < SOON:
            text = f"{record.id} ({record.client}) expires in {duration(record.expires - now)}"
            found.append(warning("API keys", text, "give the client another one before"))
    return found


def signing_keys(case: Case) -> list[Finding]:
    """The age of the key that signs tokens."""
    for name in SIGNING_KEYS:
        path = case.settings.state_folder / name
        content = _content("signing keys", path)
        if isinstance(content, Finding):
            return [content]
        if content is not None:
            return [_signing_age(case, path, content)]
    return [ok("signing keys", "none yet; the first start makes one")]


def encryption_keys(case: Case) -> list[Finding]:
    """Whether values are encrypted on the nodes, and with which key. Raises ConfigurationError for a bad keyring."""
    subject, path = "encryption", keyring_path(case.settings)
    if case.settings.keyring is not None and not path.exists():
        return []  # that has been said
    keyring = load_keyring(case.settings)
    if not keyring.keys:
        return [ok(subject, f"there are no keys in {path}: values are stored plain")]
    owners = sorted({key.namespace for key in keyring.keys if key.namespace is not None} | set(keyring.plain))
    # A colon is in no namespace, so this stands for all that have no key of their own.
    sealing = {owner: keyring.sealing_key(owner) for owner in (":", *owners)}
    words = [
        f"{'all other namespaces' if owner == ':' else owner}: {'plain' if key is None else f'key {key.id}'}"
        for owner, key in sealing.items()
    ]
    return [ok(subject, f"{len(keyring.keys)} in the keyring; {'; '.join(words)}")]


def _signing_age(case: Case, path: Path, content: dict[str, Any]) -> Finding:
    keys = content.get("keys", [])
    created = [key.get("created", 0) for key in keys if isinstance(key, dict) and "retired" not in key]
    made = max((time for time in created if isinstance(time, int)), default=0)
    age = case.now - (made or path.stat().st_mtime)
    text = f"the one that signs tokens is {duration(max(0.0, age))} old"
    if age > OLD_SIGNING_KEY:
        return warning("signing keys", text, "have a new one made; clients do not notice when the old one is retired")
    return ok("signing keys", text)


def _content(subject: str, path: Path) -> dict[str, Any] | Finding | None:
    """The object in a state file; None if there is no file."""
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        return problem(subject, f"state file {path} cannot be read: {error.strerror}", "run this as the server's user")
    except (ValueError, RecursionError):
        return problem(subject, f"state file {path} is not JSON", "restore it from a backup")
    if not isinstance(value, dict):
        return problem(subject, f"state file {path} is not a JSON object", "restore it from a backup")
    return value
