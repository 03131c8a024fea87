"""The checker of registers with versions and leases: known histories, random ones, all orders tried for short ones."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.chaos.conditions import check_conditions
from bench.chaos.exchanges import NO_ANSWER, Exchange, Kind

KEY = b"k"
LEASE = 3_600_000


def ask(
    kind: str, word: str, outcome: str, started: float, ended: float = math.inf, told: str | None = None
) -> Exchange:
    """An exchange; `word` is what it writes or reads, or `token>value` where it names a token."""
    named, _, value = word.rpartition(">") if ">" in word else (word, "", "") if kind in NAMING else ("", "", word)
    one = Exchange(0, KEY, Kind(kind), started, value.encode() or None, named or None, LEASE if kind == "take" else 0)
    return replace(one, ended=ended, outcome=outcome, told=told)


NAMING = ("remove", "give back")


def history(text: str) -> list[Exchange]:
    """One exchange a line: start..end, the kind, a word, the outcome, the token that was told; `-` is none."""
    found = []
    for line in text.strip().splitlines():
        times, kind, word, outcome, *told = line.split()
        started, _, ended = times.partition("..")
        kind, word = kind.replace("_", " "), "" if word == "-" else word
        code = NO_ANSWER if outcome == "?" else outcome
        found.append(ask(kind, word, code, float(started), float(ended or "inf"), *told))
    return found


GOOD = {
    "reads and writes": "0..1 read - MISS\n2..3 write a OK\n4..5 read a OK va\n6..7 read a OK va",
    "swap": "0..1 write a OK\n2..3 read a OK va\n4..5 swap va>b OK vb\n6..7 swap va>c CONFLICT\n8..9 read b OK vb",
    "one of two swaps": "0..1 write a OK\n2..3 read a OK va\n4..9 swap va>b OK vb\n4..9 swap va>c CONFLICT",
    "a swap in a row of swaps": "0..1 create a OK\n2..3 read a OK va\n4..5 swap va>b OK vb\n6..7 swap vb>c OK vc",
    "unknown swap, in": "0..1 write a OK\n2..3 read a OK va\n4 swap va>b ?\n6..7 swap va>c CONFLICT\n8..9 read b OK vb",
    "unknown swap, out": "0..1 write a OK\n2..3 read a OK va\n4 swap va>b ?\n6..7 swap va>c OK vc\n8..9 read c OK vc",
    "unknown swap, in late": "0..1 write a OK\n2..3 read a OK va\n4 swap va>b ?\n6..7 read a OK va\n8..9 read b OK vb",
    "unknown write, a conflict is seen": "0..1 write a OK\n2..3 read a OK va\n4 write b ?\n6..7 swap va>c CONFLICT",
    "create": "0..1 create a OK\n2..3 create b CONFLICT\n4..5 delete - OK\n6..7 create c OK\n8..9 read c OK vc",
    "two create": "0..9 create a OK\n0..9 create b CONFLICT",
    "remove": "0..1 write a OK\n2..3 read a OK va\n4..5 write b OK\n6..7 remove va CONFLICT\n8..9 read b OK vb\n"
    "10..11 remove vb OK\n12..13 remove vb MISS\n14..15 delete - MISS",
    "a lease": "0..1 take - MISS l\n2..3 take - MISS\n4..5 fill l>a OK\n6..7 take a OK\n8..9 fill l>b CONFLICT",
    "a lease that a write ends": "0..1 take - MISS l\n2..3 write a OK\n4..5 fill l>b CONFLICT\n6..7 read a OK va",
    "a lease that a delete ends": "0..1 take - MISS l\n2..3 delete - MISS\n4..5 fill l>b CONFLICT\n6..7 take - MISS m",
    "the same, which says OK": "0..1 take - MISS l\n2..3 delete - OK\n4..5 take - MISS m\n6..7 fill m>a OK",
    "a lease given back": "0..1 take - MISS l\n2..3 give_back l OK\n4..5 give_back l CONFLICT\n6..7 take - MISS m",
    "a lease that nobody was told": "0 take - ?\n2..3 take - MISS\n4..5 write a OK\n6..7 read a OK va",
    "a lease that nobody was told, not given": "0 take - ?\n2..3 take - MISS l\n4..5 fill l>a OK",
    "an unknown fill, in": "0..1 take - MISS l\n2 fill l>a ?\n4..5 read a OK va\n6..7 fill l>b CONFLICT",
    "an unknown fill, out": "0..1 take - MISS l\n2 fill l>a ?\n4..5 fill l>b OK\n6..7 read b OK vb",
    "a refusal is nothing": "0..1 write a OK\n2 write b DOWN\n4..5 read a OK va",
    "a lease ends with its time": f"0..1 take - MISS l\n{LEASE}..{LEASE + 1} take - MISS m\n"
    f"{LEASE + 2}..{LEASE + 3} fill l>a CONFLICT\n{LEASE + 4}..{LEASE + 5} fill m>b OK",
}
BAD = {
    "two swaps of one version": "0..1 write a OK\n2..3 read a OK va\n4..9 swap va>b OK vb\n4..9 swap va>c OK vc",
    "a swap after a write": "0..1 write a OK\n2..3 read a OK va\n4..5 write b OK\n6..7 swap va>c OK vc",
    "a swap after a delete": "0..1 write a OK\n2..3 read a OK va\n4..5 delete - OK\n6..7 swap va>c OK vc",
    "a swap that is lost": "0..1 write a OK\n2..3 read a OK va\n4..5 swap va>b OK vb\n6..7 read a OK va",
    "a conflict without a reason": "0..1 write a OK\n2..3 read a OK va\n4..5 swap va>b CONFLICT\n6..7 read a OK va",
    "a value that is back": "0..1 write a OK\n2..3 read a OK va\n4 swap va>b ?\n6..7 read b OK vb\n8..9 read a OK va",
    "one version for two values": "0..1 write a OK\n2..3 read a OK v\n4..5 write b OK\n6..7 read b OK v",
    "two versions for one value": "0..1 write a OK\n2..3 read a OK v\n4..5 read a OK w",
    "the version of a swap, too": "0..1 write a OK\n2..3 read a OK v\n4..5 swap v>b OK w\n6..7 read b OK x",
    "created twice": "0..9 create a OK\n0..9 create b OK",
    "not created": "0..1 create a CONFLICT\n2..3 read - MISS",
    "removed, and there": "0..1 write a OK\n2..3 read a OK va\n4..5 remove va OK\n6..7 read a OK va",
    "removed, though it was another": "0..1 write a OK\n2..3 read a OK va\n4..5 write b OK\n6..7 remove va OK",
    "never written": "0..1 read x OK vx",
    "a lease for two": "0..1 take - MISS l\n2..3 take - MISS m",
    "the same lease for two": "0..1 take - MISS l\n2..3 delete - OK\n4..5 take - MISS l",
    "filled twice": "0..1 take - MISS l\n2..3 fill l>a OK\n4..5 fill l>b OK",
    "filled after a write": "0..1 take - MISS l\n2..3 write a OK\n4..5 fill l>b OK",
    "filled after a write and a delete": "0..1 take - MISS l\n2..3 write a OK\n4..5 delete - OK\n6..7 fill l>b OK",
    "filled after a delete": "0..1 take - MISS l\n2..3 delete - MISS\n4..5 fill l>b OK",
    "filled when it was given back": "0..1 take - MISS l\n2..3 give_back l OK\n4..5 fill l>b OK",
    "not filled, though it holds": "0..1 take - MISS l\n2..3 fill l>a CONFLICT\n4..5 take - MISS",
    "held by nobody": "0..1 take - MISS\n2..3 write a OK",
    "filled when its time was over": f"0..1 take - MISS l\n{LEASE}..{LEASE + 1} fill l>a OK",
    "a lease that nobody was told, held by two": "0 take - ?\n2..3 take - MISS\n4..5 take - MISS l\n6..7 fill l>a OK\n"
    "8..9 delete - OK\n10..11 take - MISS\n12..13 write b OK",
    "a refusal that was done": "0..1 write a OK\n2 write b DOWN\n4..5 read b OK vb",
}


@pytest.mark.parametrize("name", GOOD)
def test_good_histories(name: str) -> None:
    assert check_conditions(history(GOOD[name])) == []


@pytest.mark.parametrize("name", BAD)
def test_bad_histories(name: str) -> None:
    (found,) = check_conditions(history(BAD[name]))
    assert found.key == KEY
    assert not found.undecided
    assert found.exchanges
    assert len(str(found).splitlines()) == 1 + len(found.exchanges)


def test_values_must_be_written_once() -> None:
    with pytest.raises(ValueError, match="twice"):
        check_conditions(history("0..1 write a OK\n2..3 create a OK"))


def test_keys_are_checked_by_themselves() -> None:
    other = replace(history("0..1 read - MISS")[0], key=b"other")
    (found,) = check_conditions([*history(BAD["two swaps of one version"]), other])
    assert found.key == KEY


# -- random histories


ASKED = [kind for kind in Kind if kind is not Kind.COUNT]


class Register:
    """A real register. Its leases do not end with their time."""

    def __init__(self) -> None:
        self.value: bytes | None = None
        self.version: str | None = None
        self.lease: str | None = None
        self.tokens = 0

    def token(self) -> str:
        self.tokens += 1
        return f"t{self.tokens}"

    def do(self, one: Exchange) -> Exchange:
        """The exchange as it was answered."""
        kind, told = one.kind, None
        if kind in (Kind.READ, Kind.TAKE) and self.value is not None:
            return replace(one, value=self.value, outcome="OK", told=self.version if kind is Kind.READ else None)
        if kind is Kind.READ or (kind is Kind.TAKE and self.lease is not None):
            return replace(one, outcome="MISS")
        if kind is Kind.TAKE:
            self.lease = self.token()
            return replace(one, outcome="MISS", told=self.lease)
        if kind in (Kind.DELETE, Kind.REMOVE) and self.value is None:
            self.lease = None if kind is Kind.DELETE else self.lease
            return replace(one, outcome="MISS")
        holds = {
            Kind.CREATE: self.value is None,
            Kind.SWAP: self.version == one.named and self.value is not None,
            Kind.REMOVE: self.version == one.named,
            Kind.FILL: self.lease == one.named,
            Kind.GIVE_BACK: self.lease == one.named,
        }
        if not holds.get(kind, True):
            return replace(one, outcome="CONFLICT")
        self.lease = None
        if kind in (Kind.DELETE, Kind.REMOVE):
            self.value = None
        elif kind is not Kind.GIVE_BACK:
            self.value, self.version = one.value, self.token()
            told = self.version if kind is Kind.SWAP else None
        return replace(one, outcome="OK", told=told)


def register_history(dice: random.Random, length: int, clients: int, unknown: float) -> list[Exchange]:
    """What clients see of it. Half of what is unknown never happens; the rest perhaps long after."""
    register = Register()
    planned: list[tuple[float, int, Exchange]] = []
    free = [0.0] * clients
    for place in range(length):
        client = dice.randrange(clients)
        started = free[client] + dice.random() * 2
        free[client] = ended = started + dice.random() * 4
        moment = started + dice.random() * (ended - started)
        kind = dice.choice([*ASKED, Kind.READ, Kind.TAKE, Kind.SWAP, Kind.SWAP, Kind.FILL])
        one = Exchange(client, KEY, kind, started, ended=ended)
        if kind not in (Kind.READ, Kind.DELETE) and dice.random() < unknown:
            one.ended = math.inf
            moment = started + dice.random() * 20 if dice.random() < 0.5 else math.inf
        planned.append((moment, place, one))
    told: list[tuple[float, Kind, str]] = []
    found = []
    for moment, place, one in sorted(planned, key=lambda plan: plan[:2]):
        one.value = b"v%d" % place if one.kind in (Kind.WRITE, Kind.CREATE, Kind.SWAP, Kind.FILL) else None
        one.number = LEASE if one.kind is Kind.TAKE else 0
        if one.kind in (Kind.SWAP, Kind.REMOVE, Kind.FILL, Kind.GIVE_BACK):
            is_lease = one.kind in (Kind.FILL, Kind.GIVE_BACK)
            known = [token for end, kind, token in told if end < one.started and (kind is Kind.TAKE) == is_lease]
            if not known:
                continue
            one.named = dice.choice(known[-3:])
        done = register.do(one) if moment < math.inf else one
        if done.is_sure and done.told:
            told.append((done.ended, done.kind, done.told))
        found.append(done if done.is_sure else replace(one, outcome=NO_ANSWER))
    return found


def has_an_order(exchanges: Sequence[Exchange]) -> bool:
    """Every order of every choice of unknown exchanges is tried, on a real register: for short histories only."""
    sure = [one for one in exchanges if one.is_sure]
    perhaps = [one for one in exchanges if not one.is_sure]
    return any(
        _is_in_time(order) and _is_what_was_told(order)
        for count in range(len(perhaps) + 1)
        for happened in itertools.combinations(perhaps, count)
        for order in itertools.permutations([*sure, *happened])
    )


def _is_in_time(order: Sequence[Exchange]) -> bool:
    return not any(later.ended < earlier.started for earlier, later in itertools.combinations(order, 2))


def _is_what_was_told(order: Sequence[Exchange]) -> bool:
    """The register gives other tokens than were told: they need only be told apart as they were."""
    register, names = Register(), dict[str | None, str | None]()
    for one in order:
        asked = replace(one, told=None, named=names.get(one.named, "none") if one.named else None)
        if one.kind in (Kind.READ, Kind.TAKE):
            asked.value = None
        is_left_open = one.kind is Kind.DELETE and register.value is None and register.lease is not None
        done = register.do(asked)
        if not one.is_sure or is_left_open:
            continue
        if (done.outcome, done.value, done.told is None) != (one.outcome, one.value, one.told is None):
            return False
        if one.told is None:
            continue
        if names.setdefault(one.told, done.told) != done.told or list(names.values()).count(done.told) > 1:
            return False
    return True


DRAWN = st.tuples(st.integers(0, 1 << 32), st.sampled_from([0.0, 0.2, 0.5]))


@settings(max_examples=200)
@given(drawn=DRAWN, length=st.integers(1, 6), clients=st.integers(1, 4))
def test_short_histories_with_another_answer_are_judged_as_by_trying_all_orders(
    drawn: tuple[int, float], length: int, clients: int
) -> None:
    seed, unknown = drawn
    dice = random.Random(seed)
    exchanges = register_history(dice, length, clients, unknown)
    assert check_conditions(exchanges) == []
    sure = [place for place, one in enumerate(exchanges) if one.is_sure]
    if sure:
        place = dice.choice(sure)
        exchanges[place] = with_another_answer(dice, exchanges[place])
    assert has_an_order(exchanges) == (check_conditions(exchanges) == [])


def with_another_answer(dice: random.Random, one: Exchange) -> Exchange:
    """The same question, answered otherwise."""
    if one.kind is Kind.READ:
        return replace(one, outcome="MISS", value=None, told=None)
    if one.kind is Kind.TAKE:
        return replace(one, outcome="MISS", value=None, told=None if one.told else "other")
    if one.kind is Kind.DELETE:
        return replace(one, outcome="MISS" if one.outcome == "OK" else "OK")
    outcome = dice.choice([answer for answer in ("OK", "CONFLICT") if answer != one.outcome])
    return replace(one, outcome=outcome, told="other" if one.kind is Kind.SWAP and outcome == "OK" else None)


@settings(max_examples=80)
@given(drawn=DRAWN, clients=st.sampled_from([2, 8, 16]))
def test_what_a_real_register_shows_is_explained(drawn: tuple[int, float], clients: int) -> None:
    seed, unknown = drawn
    # Of longer ones the search is over in time only nearly always: of 1,499 of 300 exchanges one was left undecided.
    assert check_conditions(register_history(random.Random(seed), 150, clients, unknown / 5)) == []
