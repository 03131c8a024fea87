"""What a supervisor and its workers say to each other: JSON objects, one a line, over pipes that nobody else has.

    supervisor -> worker    {"order": ...}                  what to serve and where
                            {"keys": ...}                   whom to let in, and all other keys; then it serves
                            {"views": [...]}                how shards stand
                            {"tls": ...}                    the certificate for new connections
                            {"drain": true}                 take nothing new, answer what is open, end
    worker -> supervisor    {"connected": [names]}          the nodes have been tried; these cannot be reached
                            {"ready": true}                 clients are accepted
                            {"refused": name}               this shard's master is none any more
                            {"failed": "why"}               the order cannot be carried out

Secrets travel here, and not in arguments or the environment, which other processes can read. The certificate and its
key come as they were read and checked once: a worker that starts while the files are damaged has those in force too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from wireproto.core.api_keys import ApiKeyRecord
from wireproto.core.keyring import NO_KEYS, Keyring
from wireproto.core.quota_table import PlacedQuota
from wireproto.core.signing_keys import SigningKeys
from wireproto.core.tokens import TokenAuthority
from wireproto.core.topology import ShardView
from wireproto.server.router import Shard
from wireproto.server.state_folder import State
from wireproto.server.statistics import ServerIdentity
from wireproto.server.tls_material import TlsMaterial
from wireproto.settings import SETTINGS, Settings

Message = dict[str, Any]


def to_line(message: Message) -> bytes:
    """A message as it is sent."""
    return json.dumps(message).encode("ascii") + b"\n"


@dataclass(frozen=True, slots=True)
class Descriptors:
    """Files that a worker inherits, and how large the shared memory's slots are."""

    tls: int
    plain: int | None
    counters: int
    slots: int
    capacity: int
    quotas: int

    def to_inherit(self) -> list[int]:
        """The numbers of the files."""
        return [number for number in (self.tls, self.plain, self.counters, self.quotas) if number is not None]


@dataclass(frozen=True, slots=True)
class Order:
    """What a worker is to serve. `slot` counts from 0; `restarts` is how often its worker has been replaced."""

    settings: Settings
    shards: tuple[Shard, ...]
    views: tuple[ShardView, ...]
    tls: TlsMaterial
    descriptors: Descriptors
    server: ServerIdentity
    slot: int
    restarts: int = 0

    def to_json(self) -> Message:
        """This order as a JSON object."""
        # The worker goes by the shards and the keys, so these settings are not for it.
        settings = replace(self.settings, nodes=(), api_key=None, keyring=None, encryption_keys=None)
        return {
            "settings": {item.name: _plain(getattr(settings, item.name)) for item in fields(settings)},
            "shards": [asdict(shard) for shard in self.shards],
            "views": [view.to_json() for view in self.views],
            "tls": self.tls.to_json(),
            "descriptors": asdict(self.descriptors),
            "server": asdict(self.server),
            "slot": self.slot,
            "restarts": self.restarts,
        }

    @classmethod
    def from_json(cls, value: Message) -> Order:
        """The order in a JSON object that `to_json` has made."""
        settings: Message = {item.name: item.kind.from_json(value["settings"][item.name]) for item in SETTINGS}
        return cls(
            settings=Settings(**{**settings, "nodes": ()}),
            shards=tuple(Shard(**shard) for shard in value["shards"]),
            views=tuple(ShardView.from_json(view) for view in value["views"]),
            tls=TlsMaterial.from_json(value["tls"]),
            descriptors=Descriptors(**value["descriptors"]),
            server=ServerIdentity(**value["server"]),
            slot=value["slot"],
            restarts=value["restarts"],
        )


def keys_to_json(state: State, keyring: Keyring = NO_KEYS) -> Message:
    """Whom to let in, the keys that sign tokens, and those that encrypt values: all workers have the same."""
    return {
        "records": [record.to_json() for record in state.records],
        "signing_keys": state.signing_keys.to_json(),
        "keyring": keyring.to_json(),
    }


def keys_from_json(value: Message) -> State:
    """The state of a message that `keys_to_json` has made, without the API key that is to be shown."""
    records = tuple(ApiKeyRecord.from_json(record) for record in value["records"])
    return State(records, SigningKeys.from_json(value["signing_keys"]))


def keyring_from_json(value: Message) -> Keyring:
    """The keys that encrypt values, of a message that `keys_to_json` has made."""
    return Keyring.from_json(value["keyring"])


def authority_from_json(value: Message, token_lifetime: int) -> TokenAuthority:
    """The authority of a message that `keys_to_json` has made. `token_lifetime` is in seconds."""
    state = keys_from_json(value)
    return TokenAuthority(state.records, state.signing_keys, token_lifetime)


def quotas_to_json(placed: Mapping[str, PlacedQuota]) -> Message:
    """What clients with a quota are to be held to, by their names."""
    return {client: quota.to_json() for client, quota in placed.items()}


def quotas_from_json(value: Message) -> dict[str, PlacedQuota]:
    """What `quotas_to_json` has made a message of."""
    return {client: PlacedQuota.from_json(quota) for client, quota in value.items()}


def update_authority(authority: TokenAuthority, value: Message) -> None:
    """Have the authority go by the keys of such a message from now on."""
    state = keys_from_json(value)
    authority.update(state.records, state.signing_keys)


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value
