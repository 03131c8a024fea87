"""No nonce is used twice over processes, forks and restarts; and the count of doubles can count."""

from __future__ import annotations

from pathlib import Path

from bench.nonces import LIVES, RECORD, Outcome, count_doubles, run
from wireproto.core.keyring import Keyring
from wireproto.core.sealing import Sealer
from wireproto.server.process_sealer import new_prefix


def test_no_nonce_is_used_twice() -> None:
    outcome = run(200_000, processes=2)
    assert outcome.doubles == 0
    assert outcome.nonces >= 200_000
    # Each start and each fork draws one for each of the two keys.
    assert outcome.prefixes >= 2 * LIVES * 4 * 2


def forgetful(keyring: Keyring) -> Sealer:
    """A sealer that does not notice a fork."""
    return Sealer(keyring, new_prefix)


def test_without_noticing_forks_there_would_be_doubles() -> None:
    assert run(2_000, processes=1, make_sealer=forgetful).doubles > 500


def test_doubles_are_counted(tmp_path: Path) -> None:
    records = [bytes(RECORD), bytes(RECORD - 1) + b"a", bytes(RECORD), b"b" * RECORD]
    (tmp_path / "0").write_bytes(b"".join(records))
    assert count_doubles(tmp_path) == Outcome(nonces=4, prefixes=2, doubles=1)
