"""One node's values brought under the present key, while others read and write them.

A value is stored again only if it is still the one that was read, in one step with that look, and keeps its time to
live. So no newer write is lost, whoever makes it, and what was begun can be stopped and begun again at any moment.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from redis.exceptions import ResponseError

from wireproto.core.envelope import HEAD_LENGTH, is_enveloped, is_vacancy, read_envelope
from wireproto.core.names import is_name
from wireproto.core.opening import as_plain
from wireproto.core.sealing import SEALED, Sealer, head_of
from wireproto.core.stored_values import MARKER, from_stored

KEYS_AT_ONCE: Final = 500
BYTES_AT_ONCE: Final = 8 * 1024 * 1024
"""Of values that are fetched together. A single one may be longer, up to the largest that a server takes."""
LONGEST_VALUE: Final = 64 * 1024 * 1024 + 64 + HEAD_LENGTH
"""Bytes of the largest value that a server takes, sealed and in an envelope."""
ATTEMPTS: Final = 10
"""How often a value is tried that changes each time before it can be stored."""
_LONGEST_START: Final = HEAD_LENGTH + 19
"""Bytes up to the end of the key's id in a sealed value that is in an envelope."""
_SEALED_START: Final = bytes((MARKER, SEALED))
_COUNTER: Final = re.compile(rb"0|-?[1-9][0-9]{0,18}")
_REPLACE: Final = b"""\
if redis.call('GET',KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET',KEYS[1],ARGV[2],'KEEPTTL')
return 1"""


@dataclass(slots=True)
class Counts:
    """What became of the keys of a node. A scan may show a key twice, so `seen` can be more than there are."""

    seen: int = 0
    moved: int = 0
    present: int = 0
    """They were as they are to be."""
    counters: int = 0
    """Plain decimal numbers: these may be counters, which are never sealed."""
    leased: int = 0
    """They have no value yet: somebody has the right to load it."""
    unsealed: int = 0
    """Of namespaces that no key seals."""
    skipped: int = 0
    """They are no values of a namespace: of another type, or with another name."""
    gone: int = 0
    """They were deleted, or ran out, in the meantime."""
    failed: int = 0
    """They cannot be opened."""
    left: int = 0
    """They changed each time before they could be stored."""

    def add(self, other: Counts) -> None:
        """Add another node's."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass(frozen=True, slots=True)
class _Item:
    """A key of a node: as it is stored, and its two parts."""

    stored_name: bytes
    namespace: str
    name: bytes


class NodeRewrap:
    """Goes through the keys of one node. `to_plain`: open instead of sealing. `namespace`: only this one.

    Whatever redis-py raises, `run` raises too: nothing is half done then.
    """

    def __init__(self, client: Any, sealer: Sealer, *, namespace: str | None, to_plain: bool) -> None:
        self.counts = Counts()
        self._client = client
        self._sealer = sealer
        self._namespace = namespace
        self._to_plain = to_plain
        self._heads: dict[str, bytes | None] = {}

    def run(self, after_each: Callable[[], None]) -> None:
        """All of it; `after_each` is called after every few hundred keys, or few megabytes of values.

        When it raises, what is done is whole.
        """
        pattern = None if self._namespace is None else f"{self._namespace}:*"
        cursor = 0
        while True:
            cursor, names = self._client.scan(cursor, match=pattern, count=KEYS_AT_ONCE)
            self.counts.seen += len(names)
            items = self._items(names)
            for start in range(0, len(items), KEYS_AT_ONCE):
                self._rewrap(items[start : start + KEYS_AT_ONCE], after_each)
            after_each()
            if not cursor:
                return

    def _items(self, names: Iterable[bytes]) -> list[_Item]:
        """Those of them that belong to a namespace which can be changed."""
        items = []
        for stored_name in names:
            prefix, colon, name = stored_name.partition(b":")
            namespace = prefix.decode("ascii", "replace")
            if not colon or not name or not is_name(namespace):
                self.counts.skipped += 1
            elif not self._to_plain and self._head(namespace) is None:
                self.counts.unsealed += 1
            else:
                items.append(_Item(stored_name, namespace, name))
        return items

    def _head(self, namespace: str) -> bytes | None:
        """What the values of a namespace are to begin with; None if no key seals them."""
        if namespace not in self._heads:
            key = self._sealer.keyring.sealing_key(namespace)
            self._heads[namespace] = None if key is None else head_of(key)
        return self._heads[namespace]

    def _rewrap(self, items: list[_Item], after_each: Callable[[], None]) -> None:
        """Change what is to be changed of these, again where it was another by then."""
        for _ in range(ATTEMPTS):
            again: list[_Item] = []
            for group in self._groups(items):
                again += self._move(group)
                after_each()
            items = again
            if not items:
                return
        self.counts.left += len(items)

    def _groups(self, items: list[_Item]) -> Iterator[list[_Item]]:
        """Those that are not as they are to be, as many at once as memory should hold. It reads their first bytes."""
        pipeline = self._client.pipeline(transaction=False)
        for item in items:
            pipeline.strlen(item.stored_name)
            pipeline.getrange(item.stored_name, 0, _LONGEST_START - 1)
        replies = iter(pipeline.execute(raise_on_error=False))
        group: list[_Item] = []
        room = BYTES_AT_ONCE
        for item, length, start in zip(items, replies, replies, strict=True):
            if self._is_of_another_type(length) or self._is_of_another_type(start):
                self.counts.skipped += 1
            elif is_vacancy(start):
                self.counts.leased += 1
            elif self._is_as_it_should_be(item, start):
                self.counts.present += 1
            elif length > LONGEST_VALUE:
                self.counts.failed += 1
            else:
                if group and length > room:
                    yield group
                    group, room = [], BYTES_AT_ONCE
                group.append(item)
                room -= length
        if group:
            yield group

    def _is_as_it_should_be(self, item: _Item, start: bytes) -> bool:
        _, start = _in_two(start)
        if self._to_plain:
            return not start.startswith(_SEALED_START)
        head = self._head(item.namespace)
        return head is not None and start.startswith(head)

    def _move(self, group: list[_Item]) -> list[_Item]:
        """Store these anew. Those that were changed meanwhile are returned."""
        pipeline = self._client.pipeline(transaction=False)
        for item in group:
            pipeline.get(item.stored_name)
        moving = []
        for item, stored in zip(group, pipeline.execute(raise_on_error=False), strict=True):
            if self._is_of_another_type(stored):
                self.counts.skipped += 1
            elif stored is None:
                self.counts.gone += 1
            elif is_vacancy(stored):
                self.counts.leased += 1
            elif not self._to_plain and _COUNTER.fullmatch(_in_two(stored)[1]):
                self.counts.counters += 1
            else:
                anew = self._stored_anew(item, stored)
                if anew is None:
                    self.counts.failed += 1
                else:
                    pipeline.eval(_REPLACE, 1, item.stored_name, stored, anew)
                    moving.append(item)
        again = []
        for item, reply in zip(moving, pipeline.execute(raise_on_error=False), strict=True):
            # Of another type by now: the next look finds that.
            if reply == 1:
                self.counts.moved += 1
            elif reply == 0 or self._is_of_another_type(reply):
                again.append(item)
        return again

    def _stored_anew(self, item: _Item, stored: bytes) -> bytes | None:
        """What to store instead, in the envelope that it has; None if it cannot be opened."""
        sealer = self._sealer.for_namespace(item.namespace)
        plain = as_plain(sealer, item.name, stored)
        envelope, inner = _in_two(plain)
        value = from_stored(inner)
        if value is None or (envelope and read_envelope(plain) is None):
            return None
        return plain if self._to_plain else envelope + sealer.seal(item.name, value)

    @staticmethod
    def _is_of_another_type(reply: object) -> bool:
        """Whether a node has refused a command because the key holds something else. Other refusals are raised."""
        if isinstance(reply, ResponseError) and "WRONGTYPE" in str(reply):
            return True
        if isinstance(reply, Exception):
            raise reply
        return False


def _in_two(stored: bytes) -> tuple[bytes, bytes]:
    """The envelope of what is stored, empty if there is none, and what is in it."""
    return (stored[:HEAD_LENGTH], stored[HEAD_LENGTH:]) if is_enveloped(stored) else (b"", stored)
