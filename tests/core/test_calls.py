"""Calls: their requests."""

from __future__ import annotations

import math
from inspect import signature
from typing import Any

import pytest

from wireproto.core.calls import Calls
from wireproto.core.store_options import Storing, Writing, WritingMany
from wireproto.errors import ArgumentError

RAW: Calls[bytes] = Calls(None)


def test_requests() -> None:
    assert RAW.read("k").request == b"READ 1:k\n"
    assert RAW.read_with_ttl(b"k").request == b"READ 1:k ttl\n"
    assert RAW.write("k", b"v").request == b"WRITE 1:k 1:v\n"
    assert RAW.write("k", b"v", ex=60, nx=True).request == b"WRITE 1:k 1:v ex=60 nx\n"
    assert RAW.write("k", b"v", px=60, xx=True).request == b"WRITE 1:k 1:v px=60 xx\n"
    assert RAW.write("k", b"v", keepttl=True).request == b"WRITE 1:k 1:v keepttl\n"
    assert RAW.delete("k").request == b"DELETE 1:k\n"
    assert RAW.read_replica("k").request == b"READ 1:k replica\n"
    assert RAW.read_with_ttl("k", replica=True).request == b"READ 1:k ttl replica\n"
    assert RAW.write("k", b"v", ex=1, sync=2).request == b"WRITE 1:k 1:v ex=1 sync=2\n"
    assert RAW.write("k", b"v", sync=0).request == b"WRITE 1:k 1:v sync=0\n"
    assert RAW.delete("k", sync=0).request == b"DELETE 1:k sync=0\n"
    assert RAW.delete("k", version="a").request == b"DELETE 1:k ver=a\n"
    assert RAW.delete("k", 1, "a").request == b"DELETE 1:k sync=1 ver=a\n"
    assert RAW.give_back("k", "a").request == b"DELETE 1:k lease=a\n"
    assert RAW.touch("k", px=5).request == b"TOUCH 1:k px=5\n"
    assert RAW.ping().request == b"PING\n"
    assert RAW.where("k").request == b"WHERE 1:k\n"
    assert RAW.stats().request == b"STATS\n"


def test_requests_with_versions_and_leases() -> None:
    assert RAW.read_with_version("k").request == b"READ 1:k ttl ver\n"
    assert RAW.read_with_version("k", replica=True).request == b"READ 1:k ttl ver replica\n"
    assert RAW.write("k", b"v", version="a").request == b"WRITE 1:k 1:v ver=a\n"
    assert RAW.write("k", b"v", ex=60, stale=300, lease="a").request == b"WRITE 1:k 1:v ex=60 stale=300 lease=a\n"
    assert RAW.compare_and_set("k", b"v", "a").request == b"WRITE 1:k 1:v ver=a\n"
    request = RAW.compare_and_set("k", b"v", "a", px=5, stale=1, sync=1).request
    assert request == b"WRITE 1:k 1:v px=5 stale=1 sync=1 ver=a\n"
    assert RAW.compare_and_set("k", b"v", "a", keepttl=True).request == b"WRITE 1:k 1:v keepttl ver=a\n"


def test_requests_of_counters() -> None:
    assert RAW.incr("k").request == b"INCR 1:k\n"
    assert RAW.incr("k", 0).request == b"INCR 1:k by=0\n"
    assert RAW.incr("k", -(2**63), ex=60).request == b"INCR 1:k ex=60 by=-9223372036854775808\n"
    assert RAW.incr("k", px=5, sync=1).request == b"INCR 1:k px=5 sync=1\n"
    for by in (2**63, 1.0, "1", True, None):
        with pytest.raises(ArgumentError):
            RAW.incr("k", by)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("lease", "early", "words"),
    [
        (5, None, b"lease=5000"),
        (5, 0, b"lease=5000"),
        (2.5, 0.25, b"lease=2500 early=250"),
        (0.0001, 1e-9, b"lease=1 early=1"),
        (0.0016, 0.0014, b"lease=2 early=1"),
        (3600, 86400, b"lease=3600000 early=86400000"),
    ],
)
def test_times_of_leases_are_seconds(lease: float, early: float | None, words: bytes) -> None:
    assert RAW.read_or_lease("k", lease, early).request == b"READ 1:k %b\n" % words
    assert RAW.read_or_lease("k", lease, early, replica=True).request == b"READ 1:k %b replica\n" % words


@pytest.mark.parametrize("seconds", [-1, math.nan, math.inf, True, "5", 10**9])
def test_what_is_no_time_of_a_lease_is_refused(seconds: Any) -> None:
    for lease, early in ((seconds, None), (5, seconds)):
        with pytest.raises(ArgumentError, match="must be a number of seconds"):
            RAW.read_or_lease("k", lease, early)


def test_a_lease_needs_a_time() -> None:
    for lease in (0, None):
        with pytest.raises(ArgumentError, match="lease must be a number of seconds"):
            RAW.read_or_lease("k", lease)  # type: ignore[arg-type]


@pytest.mark.parametrize("token", ["a b", "a\nDELETE 1:k", "x" * 65, "ä", 5, b"a"])
def test_only_what_a_server_could_have_given_out_is_a_version_or_a_lease(token: Any) -> None:
    for make in (
        lambda: RAW.write("k", b"v", version=token),
        lambda: RAW.write("k", b"v", lease=token),
        lambda: RAW.compare_and_set("k", b"v", token),
        lambda: RAW.delete("k", version=token),
        lambda: RAW.give_back("k", token),
    ):
        with pytest.raises(ArgumentError, match="text that the server gave out"):
            make()


def test_a_version_or_a_lease_that_is_none_is_no_change_without_a_condition() -> None:
    """A type checker refuses it too: it would complain of an `ignore` that is not needed."""
    for make in (
        lambda: RAW.write("k", b"v", version=None),  # type: ignore[arg-type]
        lambda: RAW.compare_and_set("k", b"v", None),  # type: ignore[arg-type]
        lambda: RAW.delete("k", version=None),  # type: ignore[arg-type]
        lambda: RAW.delete("k", 1, None),  # type: ignore[arg-type]
    ):
        with pytest.raises(ArgumentError, match=r"^version is None: "):
            make()
    for make in (
        lambda: RAW.write("k", b"v", lease=None),  # type: ignore[arg-type]
        lambda: RAW.give_back("k", None),  # type: ignore[arg-type]
    ):
        with pytest.raises(ArgumentError, match=r"^lease is None: "):
            make()


def test_an_empty_version_is_no_condition_where_there_need_not_be_one() -> None:
    assert RAW.write("k", b"v", version="", lease="").request == b"WRITE 1:k 1:v\n"
    assert RAW.delete("k", version="").request == b"DELETE 1:k\n"
    assert RAW.delete("k", 1, "").request == b"DELETE 1:k sync=1\n"
    for make in (lambda: RAW.compare_and_set("k", b"v", ""), lambda: RAW.give_back("k", "")):
        with pytest.raises(ArgumentError, match="text that the server gave out"):
            make()


def test_requests_of_many_keys() -> None:
    bad, *good = RAW.read_replica_requests(["", "k", b"l"])
    assert isinstance(bad, ArgumentError)
    assert good == [b"READ 1:k replica\n", b"READ 1:l replica\n"]
    bad, *good = RAW.synced_delete_requests(1)(["", "k", b"l"])
    assert isinstance(bad, ArgumentError)
    assert good == [b"DELETE 1:k sync=1\n", b"DELETE 1:l sync=1\n"]
    values = {"k": b"v", "l": b"w"}
    requests = RAW.write_requests(values, sync=3)(list(values))
    assert requests == [b"WRITE 1:k 1:v sync=3\n", b"WRITE 1:l 1:w sync=3\n"]
    requests = RAW.write_requests(values, px=5, stale=7, nx=True)(["k"])
    assert requests == [b"WRITE 1:k 1:v px=5 stale=7 nx\n"]


@pytest.mark.parametrize("sync", [-1, 9, True, 1.0, "1"])
def test_how_many_replicas_is_checked_before_anything_is_sent(sync: Any) -> None:
    with pytest.raises(ArgumentError, match="sync is a whole number from 0 to 8"):
        RAW.write("k", b"v", sync=sync)
    with pytest.raises(ArgumentError, match="sync is a whole number from 0 to 8"):
        RAW.delete("k", sync=sync)
    with pytest.raises(ArgumentError, match="sync is a whole number from 0 to 8"):
        RAW.synced_delete_requests(sync)(["k"])


def test_only_what_changes_nothing_is_harmless() -> None:
    for call in (
        *(RAW.read("k"), RAW.read_replica("k"), RAW.read_with_ttl("k"), RAW.read_with_version("k")),
        *(RAW.read_or_lease("k", 5), RAW.ping(), RAW.where("k"), RAW.stats()),
    ):
        assert call.kind.harmless
    for change in (
        *(RAW.write("k", b"v"), RAW.write("k", b"v", sync=1), RAW.write("k", b"v", version="a")),
        *(RAW.compare_and_set("k", b"v", "a"), RAW.delete("k"), RAW.delete("k", version="a")),
        *(RAW.give_back("k", "a"), RAW.incr("k"), RAW.touch("k", ex=1)),
    ):
        assert not change.kind.harmless


@pytest.mark.parametrize(
    "options",
    [
        *({"ex": 0}, {"ex": 1, "px": 1}, {"nx": True, "xx": True}, {"px": 1, "keepttl": True}, {"ex": 1.5}),
        *({"stale": 5}, {"stale": 5, "keepttl": True}, {"ex": 1, "stale": 0}, {"nx": True, "version": "a"}),
        {"version": "a", "lease": "b"},
    ],
)
def test_options_are_checked_before_anything_is_sent(options: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError):
        RAW.write("k", b"v", **options)


@pytest.mark.parametrize("options", [{}, {"ex": 5, "stale": 1}, {"keepttl": True, "sync": 2}, {"px": None}])
def test_how_to_store_may_be_checked_before_there_is_a_value(options: dict[str, Any]) -> None:
    RAW.check_storing(**options)
    with pytest.raises(ArgumentError):
        RAW.check_storing(**options, **{"stale" if "stale" not in options else "px": 0})


def test_the_options_of_storing_are_those_of_the_calls() -> None:
    """What the clients take by name is declared beside the calls."""
    taken = set(signature(RAW.write).parameters) - {"key", "value"}
    assert taken == Writing.__optional_keys__ > WritingMany.__optional_keys__ > Storing.__optional_keys__


def test_touch_needs_a_time() -> None:
    with pytest.raises(ArgumentError, match="ex"):
        RAW.touch("k")
