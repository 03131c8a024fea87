"""Sessions: ids from strangers, and what is asked of the server."""

from __future__ import annotations

import secrets
from typing import Any

import pytest

from wireproto.core.calls import Calls
from wireproto.core.codec import Codec
from wireproto.core.reply_wire import MISS, OK, Reply
from wireproto.core.sessions import ID_BYTES, Session, SessionCalls, check_created, is_session_id, saved
from wireproto.errors import ArgumentError, ConflictError, LostError

ID = "A" * 43
SESSIONS: SessionCalls[Any] = SessionCalls(Calls(Codec.json()), 30.0, "s:")


def test_new_ids_are_ids() -> None:
    assert is_session_id(secrets.token_urlsafe(ID_BYTES))


@pytest.mark.parametrize(
    "value", ["", "A" * 42, "A" * 44, "A" * 42 + "=", "A" * 42 + "\n", ID + "\n", "Ä" * 43, None, 5]
)
def test_what_strangers_send_instead_reaches_no_key(value: Any) -> None:
    assert not is_session_id(value)
    assert SESSIONS.loading(value) is None
    assert SESSIONS.deleting(value) is None
    with pytest.raises(ArgumentError):
        SESSIONS.saving(Session(value, {}, "x1"))


def test_requests() -> None:
    assert SESSIONS.creating(ID, {}).request == b"WRITE 45:s:%b 2:{} px=30000 nx\n" % ID.encode()
    plan = SESSIONS.loading(ID)
    assert plan is not None
    key = b"45:s:%b" % ID.encode()
    assert plan.requests() == [b"TOUCH %b px=30000\n" % key, b"READ %b ttl ver\n" % key]
    saving = SESSIONS.saving(Session(ID, {}, "x1"))
    assert saving.request == b"WRITE %b 2:{} px=30000 ver=x1\n" % key
    deleting = SESSIONS.deleting(ID)
    assert deleting is not None
    assert deleting.request == b"DELETE %b\n" % key


def test_what_is_found() -> None:
    def found(*answers: Any) -> Any:
        plan = SESSIONS.loading(ID)
        assert plan is not None
        plan.settle(list(answers))
        return SESSIONS.loaded(ID, plan)

    hit = Reply(b"", OK, (b'{"user":5}',))
    hit.options = {"ttl": "30000", "ver": "x1"}
    assert found(Reply(b"", OK), hit) == Session(ID, {"user": 5}, "x1")
    assert found(Reply(b"", MISS), Reply(b"", MISS)) is None
    with pytest.raises(LostError):
        found(LostError(), hit)


def test_a_saved_session_has_its_new_version() -> None:
    session: Session[Any] = Session(ID, {}, "x1")
    assert saved(session, "x2")
    assert session.version == "x2"
    assert not saved(session, None)
    assert session.version == "x2"


def test_a_new_id_that_exists_is_told() -> None:
    check_created(True)
    with pytest.raises(ConflictError):
        check_created(False)


@pytest.mark.parametrize("ttl", [0, -1, True, "5", float("inf")])
def test_what_is_no_time_is_refused(ttl: Any) -> None:
    with pytest.raises(ArgumentError):
        SessionCalls(Calls(None), ttl, "s:")
