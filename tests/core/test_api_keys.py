"""API keys: their form, their checksum, and that only a hash of them is kept."""

from __future__ import annotations

import hmac
import json
from contextlib import suppress
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wireproto.core.api_keys import (
    API_KEY_RANDOM_BYTES,
    MAX_API_KEY,
    MIN_API_KEY,
    ApiKeyRecord,
    CredentialError,
    api_key_problem,
    hash_api_key,
    make_api_key,
    record_of,
)
from wireproto.core.names import is_name
from wireproto.errors import AuthError

RANDOM = bytes(range(API_KEY_RANDOM_BYTES))
API_KEY, KEY_ID = make_api_key(RANDOM)
RECORD = ApiKeyRecord(KEY_ID, hash_api_key(API_KEY.encode()), "shop", "orders", 1_700_000_000)
REFUSED = "the credential is not accepted"
MISTYPED = "the API key is mistyped: its checksum does not match"


def refusal(api_key: bytes) -> CredentialError:
    with pytest.raises(CredentialError) as caught:
        record_of(api_key, [RECORD])
    assert isinstance(caught.value, AuthError)
    assert caught.value.code == "AUTH"
    return caught.value


# --- Making them ------------------------------------------------------------------------------------------------------


def test_a_key_of_known_bytes() -> None:
    assert API_KEY == "wp_aaaqeaye_audaocajbifqydiob4ibceqtcqkrmfyydenbwha5_d99429b8"
    assert KEY_ID == "aaaqeaye"


@given(st.binary(min_size=API_KEY_RANDOM_BYTES, max_size=API_KEY_RANDOM_BYTES))
def test_every_made_key_is_one_that_an_operator_may_set(random_bytes: bytes) -> None:
    text, key_id = make_api_key(random_bytes)
    assert api_key_problem(text) is None
    assert "." not in text, "a dot is what tells a token from an API key"
    assert text.split("_")[1] == key_id
    assert is_name(key_id)
    assert (text == API_KEY) == (random_bytes == RANDOM), "all of the randomness is in the key"


@pytest.mark.parametrize("length", [0, API_KEY_RANDOM_BYTES - 1, API_KEY_RANDOM_BYTES + 1])
def test_a_key_is_not_made_of_less_or_more_randomness(length: int) -> None:
    with pytest.raises(ValueError, match=f"30 random bytes, not {length}"):
        make_api_key(bytes(length))


# --- Keys that an operator sets ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["x" * MIN_API_KEY, "x" * MAX_API_KEY, "!~\"\\'#%&/()=?`+*-_", API_KEY])
def test_keys_that_an_operator_may_set(text: str) -> None:
    assert api_key_problem(text) is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "must have 16 to 1024 characters"),
        ("x" * (MIN_API_KEY - 1), "must have 16 to 1024 characters"),
        ("x" * (MAX_API_KEY + 1), "must have 16 to 1024 characters"),
        ("sixteen and more with spaces", "must be printable ASCII without spaces and dots"),
        ("part-one.part-two.part-three", "must be printable ASCII without spaces and dots"),
        ("sixteen-and-more\n", "must be printable ASCII without spaces and dots"),
        ("sixteen-and-more\0", "must be printable ASCII without spaces and dots"),
        ("schlüssel-mit-umlaut", "must be printable ASCII without spaces and dots"),
        (API_KEY[:-1] + ("0" if API_KEY[-1] != "0" else "1"), "is mistyped"),
    ],
)
def test_keys_that_an_operator_may_not_set(text: str, problem: str) -> None:
    found = api_key_problem(text)
    assert found is not None
    assert found.startswith(problem)
    assert len(text) < 2 or text not in found


# --- Knowing them again -----------------------------------------------------------------------------------------------


def test_a_key_is_known_among_others() -> None:
    others = [
        ApiKeyRecord(f"other-{number}", hash_api_key(b"other %d" % number), "other", "other", 0) for number in range(9)
    ]
    assert record_of(API_KEY.encode(), [*others, RECORD]) is RECORD
    assert record_of(API_KEY.encode(), [RECORD, *others]) is RECORD


def test_every_wrong_character_is_told_to_be_a_typing_mistake() -> None:
    letters, digits = "abcdefghijklmnopqrstuvwxyz234567", "0123456789abcdef"
    body_end = API_KEY.rindex("_")
    for place, right in enumerate(API_KEY):
        if place < 3 or right == "_":
            continue
        for wrong in (letters if place < body_end else digits).replace(right, ""):
            error = refusal((API_KEY[:place] + wrong + API_KEY[place + 1 :]).encode())
            assert (str(error), error.reason) == (MISTYPED, "the API key is mistyped")


def test_two_characters_that_changed_places_are_a_typing_mistake() -> None:
    for place in range(3, len(API_KEY) - 1):
        swapped = API_KEY[:place] + API_KEY[place + 1] + API_KEY[place] + API_KEY[place + 2 :]
        if swapped != API_KEY and list(map(len, swapped.split("_"))) == [2, 8, 40, 8]:
            assert str(refusal(swapped.encode())) == MISTYPED


@pytest.mark.parametrize(
    ("api_key", "reason"),
    [
        (make_api_key(bytes(API_KEY_RANDOM_BYTES))[0].encode(), "the API key is not known"),
        (b"", "the API key is not known"),
        (API_KEY[:-1].encode(), "the API key is not known"),
        (API_KEY.upper().encode(), "the API key is not known"),
        (API_KEY.encode() + b"\n", "the API key is not known"),
        (b" " + API_KEY.encode(), "the API key is not known"),
        (bytes(range(256)), "the API key is not known"),
        (RECORD.hash.encode(), "the API key is not known"),
        (b"x" * (MAX_API_KEY + 1), "the API key is too long"),
        (b"x" * 1024 * 1024, "the API key is too long"),
    ],
    ids=["another", "empty", "cut", "capitals", "line-end", "space", "binary", "its-hash", "long", "a-megabyte"],
)
def test_unknown_keys_get_one_text(api_key: bytes, reason: str) -> None:
    error = refusal(api_key)
    assert (str(error), error.reason) == (REFUSED, reason)


@given(st.binary(max_size=2 * MAX_API_KEY))
def test_any_bytes_are_refused_and_never_quoted(api_key: bytes) -> None:
    error = refusal(api_key)
    assert str(error) in (REFUSED, MISTYPED)
    kinds = {
        "the API key is not known": "unknown",
        "the API key is mistyped": "mistyped",
        "the API key is too long": "size",
    }
    assert error.kind == kinds[error.reason]


def test_every_record_is_compared_whichever_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing returns early, so the time says nothing about how near a guess is."""
    compared: list[str] = []

    def compare(one: str, other: str) -> bool:
        compared.append(one)
        return hmac.compare_digest(one, other)

    monkeypatch.setattr("wireproto.core.api_keys.hmac", SimpleNamespace(compare_digest=compare))
    others = [replace(RECORD, id=f"k{number}", hash=hash_api_key(b"%d" % number)) for number in range(4)]
    for api_key in (API_KEY.encode(), b"0", b"3", b"nobody's", API_KEY[:-1].encode() + b"x"):
        compared.clear()
        with suppress(CredentialError):
            record_of(api_key, [*others, RECORD])
        assert compared == [record.hash for record in [*others, RECORD]]


# --- What is kept -----------------------------------------------------------------------------------------------------


def test_a_record_keeps_no_part_of_the_secret() -> None:
    kept = json.dumps(RECORD.to_json()) + repr(RECORD)
    _, _, secret, checksum = API_KEY.split("_")
    assert secret not in kept
    assert secret[:8] not in kept
    assert checksum not in kept


def test_a_record_survives_json() -> None:
    assert ApiKeyRecord.from_json(json.loads(json.dumps(RECORD.to_json()))) == RECORD


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"id": ""}, "id must be 1-64 letters"),
        ({"id": 5}, "id must be 1-64 letters"),
        ({"client": "two words"}, "client must be 1-64 letters"),
        ({"client": None}, "client must be 1-64 letters"),
        ({"namespace": "x" * 65}, "namespace must be 1-64 letters"),
        ({"namespace": "line\n"}, "namespace must be 1-64 letters"),
        ({"hash": RECORD.hash.upper()}, "hash must be 64 hexadecimal digits"),
        ({"hash": RECORD.hash[:-1]}, "hash must be 64 hexadecimal digits"),
        ({"hash": API_KEY}, "hash must be 64 hexadecimal digits"),
        ({"hash": 0}, "hash must be 64 hexadecimal digits"),
        ({"created": -1}, "created must be a whole number of seconds"),
        ({"created": True}, "created must be a whole number of seconds"),
        ({"created": 1.5}, "created must be a whole number of seconds"),
        ({"created": 10**400}, "created must be a whole number of seconds"),
        ({"more": 1}, "a key must be an object with the fields id, hash, client, namespace, created"),
    ],
)
def test_damaged_records_name_the_field(changed: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        ApiKeyRecord.from_json(RECORD.to_json() | changed)


@pytest.mark.parametrize("value", [None, [], "text", {}, {"id": "x"}])
def test_what_is_no_record(value: object) -> None:
    with pytest.raises(ValueError, match="a key must be an object with the fields"):
        ApiKeyRecord.from_json(value)
