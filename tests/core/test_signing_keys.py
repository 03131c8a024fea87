"""The keys that sign tokens: which of them signs, which verify, and what others may know of them."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest

from wireproto.core.signing_keys import MAX_LIFETIME, Signer, SigningKey, SigningKeys, with_new_key

NOW = 1_750_000_000
HMAC = SigningKey("hmac-1", "HS256", NOW, None, b"s" * 32)
# RFC 8037, appendix A.
SEED = base64.urlsafe_b64decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=")
PUBLIC = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
EDDSA = SigningKey("eddsa-1", "EdDSA", NOW + 1, None, SEED)


def test_the_newest_that_is_not_retired_signs() -> None:
    retired = replace(EDDSA, id="eddsa-2", created=NOW + 9, retired=NOW + 10)
    assert SigningKeys((EDDSA, HMAC, retired)).newest == EDDSA
    same_second = replace(HMAC, id="hmac-2")
    assert SigningKeys((HMAC, same_second)).newest == same_second, "of one second, the last"


def test_keys_that_cannot_work_together() -> None:
    with pytest.raises(ValueError, match="no signing key that is not retired"):
        SigningKeys(())
    with pytest.raises(ValueError, match="no signing key that is not retired"):
        SigningKeys((replace(HMAC, retired=NOW),))
    with pytest.raises(ValueError, match="two signing keys have the same id"):
        SigningKeys((HMAC, replace(EDDSA, id=HMAC.id)))


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"id": ""}, "id must be"),
        ({"id": "../x"}, "id must be"),
        ({"algorithm": "none"}, "algorithm must be one of HS256, EdDSA"),
        ({"algorithm": "RS256"}, "algorithm must be one of"),
        ({"created": -1}, "created must be a whole number of seconds"),
        ({"created": None}, "created must be"),
        ({"created": True}, "created must be"),
        ({"retired": 1.5}, "retired must be"),
        ({"retired": 10**400}, "retired must be"),
        ({"secret": b"s" * 31}, "key has fewer than 32 bytes"),
        ({"algorithm": "EdDSA", "secret": b"s" * 33}, "key must have 32 bytes for EdDSA"),
    ],
)
def test_what_is_no_key(changed: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        replace(HMAC, **changed)


def test_keys_survive_json() -> None:
    keys = SigningKeys((replace(HMAC, retired=NOW + 1, secret=b"long" * 20), EDDSA))
    assert SigningKeys.from_json(json.loads(json.dumps(keys.to_json()))) == keys


@pytest.mark.parametrize("value", [None, [], {}, "text", [None], [{}], [[]]])
def test_what_is_no_list_of_keys(value: object) -> None:
    with pytest.raises(ValueError, match=r"it holds no keys|a key must be an object"):
        SigningKeys.from_json(value)


def test_a_key_does_not_show_its_secret() -> None:
    assert "ssss" not in repr(SigningKeys((HMAC,)))


# --- A change of keys -------------------------------------------------------------------------------------------------


def test_a_new_key_retires_the_others() -> None:
    new = replace(EDDSA, id="new", created=NOW + 100)
    keys = SigningKeys(with_new_key([HMAC, replace(EDDSA, retired=NOW + 50)], new, keep=True))
    assert [(key.id, key.retired) for key in keys.keys] == [("hmac-1", NOW + 100), ("eddsa-1", NOW + 50), ("new", None)]
    assert keys.newest == new


def test_what_verifies_no_more_is_dropped() -> None:
    new = replace(EDDSA, id="new", created=NOW + MAX_LIFETIME)
    assert [key.id for key in with_new_key([replace(HMAC, retired=NOW), EDDSA], new, keep=True)] == ["eddsa-1", "new"]


def test_all_others_can_be_dropped_at_once() -> None:
    new = replace(EDDSA, id="new", created=NOW + 2)
    assert with_new_key([HMAC, EDDSA], new, keep=False) == (new,)


def test_a_retired_key_verifies_for_as_long_as_a_token_may_live() -> None:
    assert HMAC.verifies(NOW + 10**9)
    retired = replace(HMAC, retired=NOW)
    assert retired.verifies(NOW + MAX_LIFETIME - 1)
    assert not retired.verifies(NOW + MAX_LIFETIME)


# --- Signing, and what others may know --------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [HMAC, EDDSA])
def test_a_signature_is_one_keys_alone(key: SigningKey) -> None:
    token = Signer(key).sign(b"{}").encode()
    assert Signer(key).has_signed(token)
    assert not Signer(replace(key, secret=b"x" * 32)).has_signed(token)
    assert not Signer(EDDSA if key is HMAC else HMAC).has_signed(token)


def test_public_keys_are_those_of_the_rfc_and_hold_nothing_secret() -> None:
    shared = SigningKeys((HMAC, EDDSA)).public_keys(NOW)
    assert shared == {
        "keys": [{"kty": "OKP", "crv": "Ed25519", "x": PUBLIC, "kid": "eddsa-1", "alg": "EdDSA", "use": "sig"}]
    }


def test_public_keys_are_those_that_verify() -> None:
    keys = SigningKeys((replace(EDDSA, retired=NOW), replace(EDDSA, id="eddsa-2")))
    assert [key["kid"] for key in keys.public_keys(NOW)["keys"]] == ["eddsa-1", "eddsa-2"]
    assert [key["kid"] for key in keys.public_keys(NOW + MAX_LIFETIME)["keys"]] == ["eddsa-2"]
    assert SigningKeys((HMAC,)).public_keys(NOW) == {"keys": []}
