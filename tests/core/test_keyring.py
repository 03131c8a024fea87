"""The keyring: which key seals, which may open, its two forms, and that it tells no secret."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wireproto.core.keyring import TEXT_FORM, EncryptionKey, Keyring, Use

SECRET = bytes(range(32))
TEXT = base64.b64encode(SECRET).decode()


def key(key_id: str, created: int = 0, use: Use = "seal", namespace: str | None = None) -> EncryptionKey:
    return EncryptionKey(key_id, namespace, key_id.encode().ljust(32, b"."), created, use)


def sealing(keyring: Keyring, namespace: str) -> str | None:
    found = keyring.sealing_key(namespace)
    return None if found is None else found.id


def opening(keyring: Keyring, namespace: str) -> list[str]:
    return [found.id for found in keyring.opening_keys(namespace)]


KEY_IDS = st.from_regex(r"[a-z0-9-]{1,16}", fullmatch=True)
NAMESPACES = st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True)
KEYS = st.builds(
    EncryptionKey,
    id=KEY_IDS,
    namespace=st.none() | NAMESPACES,
    secret=st.binary(min_size=32, max_size=32),
    created=st.integers(0, 2**32),
    use=st.sampled_from(["seal", "open"]),
)
KEYRINGS = st.builds(
    Keyring,
    st.lists(KEYS, max_size=5, unique_by=lambda item: item.id).map(tuple),
    st.lists(NAMESPACES, max_size=3).map(tuple),
)


# --- Which key --------------------------------------------------------------------------------------------------------


def test_without_keys_nothing_is_sealed() -> None:
    assert sealing(Keyring(), "shop") is None
    assert opening(Keyring(), "shop") == []


def test_the_newest_key_seals_and_all_open() -> None:
    keyring = Keyring((key("b", 2), key("c", 3), key("a", 1)))
    assert sealing(keyring, "shop") == "c"
    assert opening(keyring, "shop") == ["b", "c", "a"]


def test_of_two_keys_of_one_second_the_later_one_is_newer() -> None:
    assert sealing(Keyring((key("a", 7), key("b", 7))), "shop") == "b"


def test_a_key_that_only_opens_seals_nothing_however_new() -> None:
    assert sealing(Keyring((key("a", 1), key("b", 2, "open"))), "shop") == "a"


def test_when_all_keys_only_open_encryption_is_off() -> None:
    keyring = Keyring((key("a", 1, "open"), key("b", 2, "open")))
    assert sealing(keyring, "shop") is None
    assert opening(keyring, "shop") == ["a", "b"]


def test_a_namespace_goes_by_its_own_keys() -> None:
    keyring = Keyring((key("all", 9), key("own", 1, namespace="shop"), key("own-2", 2, namespace="shop")))
    assert sealing(keyring, "shop") == "own-2"
    assert sealing(keyring, "logs") == "all"
    assert opening(keyring, "shop") == ["all", "own", "own-2"]
    assert opening(keyring, "logs") == ["all"], "a namespace's key opens nothing of another"


def test_a_namespace_with_keys_of_its_own_never_falls_back() -> None:
    assert sealing(Keyring((key("all", 9), key("own", 1, "open", "shop"))), "shop") is None


def test_a_plain_namespace_is_sealed_by_no_key_but_read_with_all() -> None:
    keyring = Keyring((key("all"), key("own", 1, namespace="logs")), plain=("logs",))
    assert sealing(keyring, "logs") is None
    assert opening(keyring, "logs") == ["all", "own"]
    assert sealing(keyring, "shop") == "all"


def test_until_all_have_the_new_keys_those_seal_nothing() -> None:
    old = Keyring((key("all", 1), key("shop", 1, namespace="shop")), plain=("logs",))
    new = Keyring((key("all-2", 2), key("desk", 2, namespace="desk"), key("shop", 1, "open", "shop")))
    between = old.opening_also(new)
    for namespace in ("default", "shop", "desk", "logs"):
        assert sealing(between, namespace) == sealing(old, namespace)
        every = {*old.opening_keys(namespace), *new.opening_keys(namespace)}
        assert {found.id for found in every} <= set(opening(between, namespace))
    assert new.opening_also(new) == new


# --- JSON -------------------------------------------------------------------------------------------------------------


@given(KEYRINGS)
def test_a_keyring_comes_back_from_json(keyring: Keyring) -> None:
    assert Keyring.from_json(json.loads(json.dumps(keyring.to_json()))) == keyring


GOOD: dict[str, Any] = {"id": "a", "secret": TEXT, "created": 1, "use": "seal"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"id": "A"}, "the id of a key must be 1-16 lower-case letters, digits and '-'"),
        ({"id": ""}, "the id of a key must be"),
        ({"id": "a" * 17}, "the id of a key must be"),
        ({"id": 1}, "the id of a key must be"),
        ({"id": "a\n"}, "the id of a key must be"),
        ({"secret": TEXT[:-4]}, "key a: secret must be 32 bytes"),
        ({"secret": TEXT.rstrip("=")}, "secret must be base64"),
        ({"secret": TEXT + "\n"}, "secret must be base64"),
        ({"secret": TEXT[:-2] + "9="}, "secret must be base64"),
        ({"secret": "ä" * 44}, "secret must be base64"),
        ({"secret": base64.b64encode(bytes(31)).decode()}, "key a: secret must be 32 bytes"),
        ({"secret": base64.b64encode(bytes(64)).decode()}, "key a: secret must be 32 bytes"),
        ({"secret": 5}, "secret must be text"),
        ({"created": -1}, "key a: created must be a whole number of seconds"),
        ({"created": True}, "key a: created must be"),
        ({"created": "1"}, "key a: created must be"),
        ({"created": 10**400}, "key a: created must be"),
        ({"use": "Seal"}, "key a: use must be seal or open"),
        ({"use": ["seal"]}, "key a: use must be seal or open"),
        ({"namespace": ""}, "key a: namespace must be"),
        ({"namespace": "a:b"}, "key a: namespace must be"),
        ({"namespace": 1}, "key a: namespace must be"),
        ({"colour": "red"}, "a key must be an object with the fields id, secret, created, use, and perhaps namespace"),
    ],
)
def test_wrong_keys(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=r"^") as caught:
        Keyring.from_json({"keys": [{**GOOD, **change}]})
    assert str(caught.value).startswith(reason)
    secret = {**GOOD, **change}["secret"]
    assert not isinstance(secret, str) or secret not in str(caught.value)


@pytest.mark.parametrize("missing", list(GOOD))
def test_keys_that_lack_something(missing: str) -> None:
    with pytest.raises(ValueError, match=r"^a key must be an object with the fields "):
        Keyring.from_json({"keys": [{name: value for name, value in GOOD.items() if name != missing}]})


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ([], "a keyring must be an object"),
        (None, "a keyring must be an object"),
        ({}, "a keyring must be an object"),
        ({"keys": [], "other": 1}, "a keyring must be an object"),
        ({"keys": {}}, "keys and plain must be lists"),
        ({"keys": [], "plain": "shop"}, "keys and plain must be lists"),
        ({"keys": [], "plain": ["a b"]}, "must not name a plain namespace that is none"),
        ({"keys": [], "plain": [None]}, "must not name a plain namespace that is none"),
        ({"keys": ["x"]}, "a key must be an object"),
        ({"keys": [GOOD, GOOD]}, "must not have two keys of one id: a"),
    ],
)
def test_wrong_keyrings(value: object, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{reason}"):
        Keyring.from_json(value)


# --- The environment --------------------------------------------------------------------------------------------------


def test_the_first_key_of_the_environment_seals() -> None:
    keyring = Keyring.from_text(f"new={TEXT}, old={TEXT}")
    assert [(item.id, item.use, item.secret) for item in keyring.keys] == [
        ("new", "seal", SECRET),
        ("old", "open", SECRET),
    ]


def test_the_first_key_of_each_namespace_seals() -> None:
    keyring = Keyring.from_text(f"a={TEXT},b={TEXT}@shop,c={TEXT}@shop,d={TEXT},plain@logs")
    assert [(item.id, item.namespace, item.use) for item in keyring.keys] == [
        ("a", None, "seal"),
        ("b", "shop", "seal"),
        ("c", "shop", "open"),
        ("d", None, "open"),
    ]
    assert keyring.plain == ("logs",)
    assert [sealing(keyring, name) for name in ("shop", "logs", "desk")] == ["b", None, "a"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", TEXT_FORM),
        (",", TEXT_FORM),
        (TEXT, TEXT_FORM),
        (TEXT[:-1], TEXT_FORM),
        (f"={TEXT}", TEXT_FORM),
        (f"A={TEXT}", TEXT_FORM),
        (f"{TEXT}={TEXT}", TEXT_FORM),
        (f"a={TEXT},", TEXT_FORM),
        (f"a={TEXT};b={TEXT}", "is wrong: secret must be base64"),
        ("plain@", TEXT_FORM),
        ("plain", TEXT_FORM),
        ("plains@shop", TEXT_FORM),
        ("a=", "is wrong: key a: secret must be 32 bytes"),
        (f"a={TEXT[:-1]}", "is wrong: secret must be base64"),
        (f"a={TEXT}@", "is wrong: key a: namespace must be"),
        (f"a={TEXT}@x@y", "is wrong: key a: namespace must be"),
        (f"a={TEXT},a={TEXT}@shop", "must not have two keys of one id: a"),
        ("plain@a b", "must not name a plain namespace that is none"),
    ],
)
def test_wrong_texts(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=r"^") as caught:
        Keyring.from_text(text)
    assert str(caught.value).startswith(reason)
    assert TEXT[:20] not in str(caught.value)


# --- Secrets ----------------------------------------------------------------------------------------------------------


def test_nothing_shows_the_secret() -> None:
    keyring = Keyring.from_text(f"a={TEXT}")
    for shown in (repr(keyring), str(keyring.keys[0]), repr(keyring.keys[0])):
        assert TEXT not in shown
        assert repr(SECRET) not in shown
        assert "'a'" in shown
