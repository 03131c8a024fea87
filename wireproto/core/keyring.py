"""The keys that values are encrypted with: which of them seals the values of a namespace, and which may open them.

Of the keys that may seal, the newest one seals; all the others only open what they sealed before, so that a key is
changed without a moment in which a value cannot be read. A namespace that has a key of its own is never sealed with
one for all namespaces: when its own keys only open, its values are stored plain.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from wireproto.core.api_keys import LATEST_TIME
from wireproto.core.names import NAME_RULE, is_name
from wireproto.core.xaes import KEY_BYTES

Use = Literal["seal", "open"]
USES: Final[tuple[Use, ...]] = ("seal", "open")

KEY_ID_RULE: Final = "1-16 lower-case letters, digits and '-'"
PLAIN_WORD: Final = "plain"
"""In the environment's form, before the name of a namespace that is kept plain."""
TEXT_FORM: Final = (
    "must look like ID=BASE64[@NAMESPACE],..., where the first key of each namespace, and the first one without, seals,"
    f" and {PLAIN_WORD}@NAMESPACE keeps a namespace plain"
)
_KEY_ID: Final = re.compile(r"[a-z0-9-]{1,16}")
_ALWAYS: Final = ("id", "secret", "created", "use")
_SOMETIMES: Final = ("namespace",)


@dataclass(frozen=True, slots=True)
class EncryptionKey:
    """A key: what stored values call it, whose values it is for, its 32 bytes, and whether it seals or only opens.

    `namespace` is None for a key of all namespaces, `created` is in Unix seconds. Raises ValueError for what is none of
    this, and never quotes the secret.
    """

    id: str
    namespace: str | None
    secret: bytes = field(repr=False)
    created: int
    use: Use

    def __post_init__(self) -> None:
        if not isinstance(self.id, str) or not _KEY_ID.fullmatch(self.id):
            raise ValueError(f"the id of a key must be {KEY_ID_RULE}")
        if self.namespace is not None and not is_name(self.namespace):
            raise ValueError(f"key {self.id}: namespace must be {NAME_RULE}")
        if not isinstance(self.secret, bytes) or len(self.secret) != KEY_BYTES:
            raise ValueError(f"key {self.id}: secret must be {KEY_BYTES} bytes")
        if type(self.created) is not int or not 0 <= self.created <= LATEST_TIME:
            raise ValueError(f"key {self.id}: created must be a whole number of seconds")
        if self.use not in USES:
            raise ValueError(f"key {self.id}: use must be {' or '.join(USES)}")

    def to_json(self) -> dict[str, Any]:
        """This key as a JSON object, with its secret."""
        value = {"id": self.id, "secret": _to_base64(self.secret), "created": self.created, "use": self.use}
        return value if self.namespace is None else value | {"namespace": self.namespace}

    @classmethod
    def from_json(cls, value: object) -> EncryptionKey:
        """A key from a JSON object. Raises ValueError, which names the field that is wrong."""
        if not isinstance(value, dict) or not set(_ALWAYS) <= set(value) <= {*_ALWAYS, *_SOMETIMES}:
            raise ValueError(f"a key must be an object with the fields {', '.join(_ALWAYS)}, and perhaps namespace")
        if not isinstance(value["secret"], str):
            raise ValueError("secret must be text")
        return cls(value["id"], value.get("namespace"), _from_base64(value["secret"]), value["created"], value["use"])


@dataclass(frozen=True, slots=True)
class Keyring:
    """All keys, and the namespaces whose values are stored plain whatever keys there are.

    Of two keys that were made in the same second the later one counts as newer. Raises ValueError when two keys have
    the same id.
    """

    keys: tuple[EncryptionKey, ...] = ()
    plain: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        ids = [key.id for key in self.keys]
        twice = sorted({key_id for key_id in ids if ids.count(key_id) > 1})
        if twice:
            raise ValueError(f"must not have two keys of one id: {twice[0]}")
        if not all(is_name(namespace) for namespace in self.plain):
            raise ValueError(f"must not name a plain namespace that is none: it is {NAME_RULE}")

    def sealing_key(self, namespace: str) -> EncryptionKey | None:
        """The key that seals the values of a namespace from now on; None if they are stored plain."""
        if namespace in self.plain:
            return None
        own = [key for key in self.keys if key.namespace == namespace]
        candidates = own or [key for key in self.keys if key.namespace is None]
        sealing = [key for key in reversed(candidates) if key.use == "seal"]
        return max(sealing, key=lambda key: key.created, default=None)

    def opening_keys(self, namespace: str) -> tuple[EncryptionKey, ...]:
        """The keys that may open the values of a namespace."""
        return tuple(key for key in self.keys if key.namespace in (None, namespace))

    def opening_also(self, new: Keyring) -> Keyring:
        """These keys, which seal as they did, and those of `new` that are not among them, which only open.

        For the time until all processes have the new keys: else one of them would seal what another cannot open yet.
        """
        ids = {key.id for key in self.keys}
        # For all namespaces: a namespace's first own key that only opens would make its values plain.
        added = (replace(key, namespace=None, use="open") for key in new.keys if key.id not in ids)
        return replace(self, keys=(*self.keys, *added))

    # -- JSON

    def to_json(self) -> dict[str, Any]:
        """This keyring as a JSON object, with the secrets."""
        return {"keys": [key.to_json() for key in self.keys], "plain": list(self.plain)}

    @classmethod
    def from_json(cls, value: object) -> Keyring:
        """A keyring from a JSON object. Raises ValueError, which names what is wrong."""
        if not isinstance(value, Mapping) or not {"keys"} <= set(value) <= {"keys", "plain"}:
            raise ValueError("a keyring must be an object with the field keys, and perhaps plain")
        keys, plain = value["keys"], value.get("plain", [])
        if not isinstance(keys, list) or not isinstance(plain, list):
            raise ValueError("keys and plain must be lists")
        return cls(tuple(EncryptionKey.from_json(key) for key in keys), tuple(plain))

    # -- the environment

    @classmethod
    def from_text(cls, text: str) -> Keyring:
        """A keyring from the environment's form, `TEXT_FORM`. Raises ValueError, which quotes nothing of it.

        The times of these keys are not known, and 0.
        """
        keys: list[EncryptionKey] = []
        plain: list[str] = []
        for part in text.split(","):
            key_id, is_key, rest = part.strip().partition("=")
            if is_key:
                # Standard base64 may end with '=' too, and holds no '@'.
                secret, has_namespace, namespace = rest.partition("@")
                owner = namespace if has_namespace else None
                use: Use = "open" if any(key.namespace == owner for key in keys) else "seal"
                keys.append(_key_of_text(key_id, owner, secret, use))
            else:
                word, _, namespace = key_id.partition("@")
                if word != PLAIN_WORD or not namespace:
                    raise ValueError(TEXT_FORM)
                plain.append(namespace)
        return cls(tuple(keys), tuple(plain))


NO_KEYS: Final = Keyring()
"""Nothing is encrypted."""


def _key_of_text(key_id: str, namespace: str | None, secret: str, use: Use) -> EncryptionKey:
    """A key of the environment. An id that is none is not quoted, for it may be a secret that was misplaced."""
    if not _KEY_ID.fullmatch(key_id):
        raise ValueError(TEXT_FORM)
    try:
        return EncryptionKey(key_id, namespace, _from_base64(secret), 0, use)
    except ValueError as error:
        raise ValueError(f"is wrong: {error}") from None


def _to_base64(secret: bytes) -> str:
    return base64.b64encode(secret).decode("ascii")


def _from_base64(text: str) -> bytes:
    """The bytes of standard base64. Raises ValueError, which quotes nothing of it."""
    try:
        secret = base64.b64decode(text, validate=True)
    except ValueError:
        raise ValueError("secret must be base64") from None
    if _to_base64(secret) != text:
        raise ValueError("secret must be base64")  # one that spells the same bytes otherwise is mistyped
    return secret
