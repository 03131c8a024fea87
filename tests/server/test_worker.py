"""A worker that is told of new secrets before it serves: the newest count."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path

from wireproto.core.api_keys import ApiKeyRecord, hash_api_key
from wireproto.core.keyring import NO_KEYS, Keyring
from wireproto.core.signing_keys import HS256, SigningKey, SigningKeys
from wireproto.server.certificates import ensure_development_certificates
from wireproto.server.state_folder import State
from wireproto.server.statistics import ServerIdentity
from wireproto.server.tls_context import load_tls
from wireproto.server.worker import Worker
from wireproto.server.worker_messages import Descriptors, Message, Order, authority_from_json, keys_to_json
from wireproto.settings import Settings

SIGNING_KEYS = SigningKeys((SigningKey("key-1", HS256, 0, None, b"s" * 32),))


def keys_of(client: str) -> Message:
    record = ApiKeyRecord("id-1", hash_api_key(b"an-api-key-of-tests"), client, "space", 1)
    return {**keys_to_json(State((record,), SIGNING_KEYS)), "quotas": {}}


class Serving:
    """What the worker asks of a `ServingProcess`."""

    def __init__(self) -> None:
        self.contexts: list[ssl.SSLContext] = []

    def use_quotas(self, quotas: object) -> None:
        assert quotas == {}

    def use_keyring(self, keyring: Keyring) -> None:
        assert keyring == NO_KEYS

    def use_certificate(self, tls: ssl.SSLContext) -> None:
        self.contexts.append(tls)


async def test_the_newest_keys_count_before_and_while_it_serves() -> None:
    worker = Worker()
    for client in ("first", "second"):
        worker._obey({"keys": keys_of(client)})
    authority = authority_from_json(worker._newest_keys, 900)
    assert authority.login(b"an-api-key-of-tests", 1000.0, "token")[1].client == "second"
    worker._authority, worker._process = authority, Serving()  # type: ignore[assignment]
    worker._obey({"keys": keys_of("third")})
    assert authority.login(b"an-api-key-of-tests", 1000.0, "token")[1].client == "third"
    assert authority.epoch == 1


async def test_the_newest_certificate_counts_before_and_while_it_serves(tmp_path: Path) -> None:
    material = load_tls(ensure_development_certificates(tmp_path, datetime.now(UTC)), "TLSv1.3")
    order = Order(Settings(), (), (), material, Descriptors(3, None, 5, 2, 1000, 6), ServerIdentity(1, 2.5), 0)
    worker, serving = Worker(), Serving()
    worker._obey({"order": order.to_json()})
    worker._obey({"tls": material.to_json()})
    worker._process = serving  # type: ignore[assignment]
    worker._use_newest_tls()
    assert len(serving.contexts) == 1
    worker._obey({"tls": material.to_json()})
    assert len(serving.contexts) == 2
    broken = {**material.to_json(), "content": ["", "", None]}
    worker._obey({"tls": broken})
    assert len(serving.contexts) == 2
