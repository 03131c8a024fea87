"""From requests to bundles: which node gets what, in the order sent.

requests ──> ring: who owns the key ──> commands: as Redis says it ──> one bundle per node ──> NodePipeline.submit
"""

from __future__ import annotations

import re
from typing import Final

from mmh3 import mmh3_32_uintdigest

from wireproto.core.answers import Answers
from wireproto.core.commands import WRITE, namespace_commands
from wireproto.core.limits import Limits
from wireproto.core.node_pipeline import Bundle, NodePipeline
from wireproto.core.request_wire import Frame
from wireproto.core.ring import BRACE, SHIFT, HashRing
from wireproto.core.stored_values import MARKER
from wireproto.core.verbs import Verb
from wireproto.core.wire import LENGTHS

_PLAIN: Final = re.compile(
    rb"(?:#([A-Za-z0-9_-]{1,16}) )?(READ|GET|WRITE|SET|DELETE|DEL) "
    rb"([1-9][0-9]{0,3}):([^ \n]*+)(?:\n| (0|[1-9][0-9]{0,8}):)"
)
"""A whole READ or DELETE, or a WRITE up to its value, without options.

It finds where the key ends by the next space or LF instead of by its length; when the two disagree (a key that contains
one) the frame goes to the full parser. One match costs 390 ns; the full parser takes 3,000.
"""


_EXPIRY: Final = re.compile(rb" (ex|px)=([1-9][0-9]{0,8})\n")
"""The end of a WRITE with a time to live, as most are: 2.5 us here, 13 with the full parser."""


class Dispatch:
    """The bundles of one client. `pipelines` are the nodes in the order of the ring's names."""

    __slots__ = ("_answers", "_bundles", "_limits", "_owners", "_pipelines", "_ring", "commands")

    def __init__(self, ring: HashRing, pipelines: list[NodePipeline], limits: Limits, answers: Answers) -> None:
        self.commands = namespace_commands("-")
        """The commands of the client's namespace; set at AUTH."""
        self._ring = ring
        self._pipelines = pipelines
        self._limits = limits
        self._answers = answers
        self._bundles: list[Bundle | None] = [None] * len(pipelines)
        self._owners: list[int] = []
        """Where in `_bundles` there is one."""

    def take_plain(self, data: bytes, position: int, room: int, now: float) -> int:
        """The hot loop: at most `room` plain requests from `position` on, into bundles. The position behind them."""
        plain, match, match_expiry = self.commands.plain, _PLAIN.match, _EXPIRY.match
        ring, table, seed = self._ring, self._ring.table, self._ring.seed
        answers, bundles = self._answers, self._bundles
        batch = answers.batch
        max_key, max_value = self._limits.max_key, self._limits.max_value
        place = first_place = len(batch.replies)
        first_room = room
        byte_room = first_byte_room = self._limits.max_in_flight_bytes - answers.in_flight_bytes
        while room > 0 and byte_room > 0:
            found = match(data, position)
            if found is None:
                break
            tag, verb, length_text, key, value_length = found.groups()
            length = len(key)
            if length > max_key or LENGTHS[length] != length_text:
                break
            kind, heads = plain[verb]
            if value_length is None:
                if kind == WRITE:
                    break
                command = heads[length] + key
                cost = 0
                next_position = found.end()
            else:
                if kind != WRITE:
                    break
                start = found.end()
                cost = int(value_length)
                stop = start + cost
                ending = data[stop : stop + 1]
                if cost > max_value or not ending or data[start] == MARKER:
                    break
                command = b"%b%b\r\n$%d\r\n%b" % (heads[length], key, cost, data[start:stop])
                next_position = stop + 1
                if ending != b"\n":
                    expiry = match_expiry(data, stop)
                    if expiry is None:
                        break
                    option, number = expiry.groups()
                    command = b"*5%b\r\n$2\r\n%b\r\n$%d\r\n%b" % (command[2:], option, len(number), number)
                    next_position = expiry.end()
                byte_room -= cost
            owner = ring.index(key) if BRACE in key else table[mmh3_32_uintdigest(key, seed) >> SHIFT]
            bundle = bundles[owner]
            if bundle is None:
                bundle = bundles[owner] = Bundle(answers, batch, now)
                self._owners.append(owner)
            bundle.commands.append(command)
            bundle.cost += cost
            if tag is None:
                bundle.entries.append((kind, place, b""))
                place += 1
            else:
                bundle.entries.append((kind, -1, tag))
            room -= 1
            position = next_position
        untagged = place - first_place
        if untagged:
            batch.replies += [None] * untagged
            batch.missing += untagged
        if room != first_room:
            answers.in_flight += first_room - room
            answers.in_flight_bytes += first_byte_room - byte_room
            answers.note_written((first_byte_room - byte_room) // (first_room - room))
        return position

    def add(self, frame: Frame, verb: Verb, now: float) -> None:
        """Any request that goes to a node."""
        kind, command = self.commands.command(verb, frame.arguments, frame.options)
        owner = self._ring.index(frame.arguments[0])
        deadline = frame.options.get("deadline")
        if deadline:
            # A deadline is a bundle's, so this request travels alone, behind what came before it.
            self._submit_one(owner)
        bundle = self._bundles[owner]
        if bundle is None:
            bundle = self._bundles[owner] = Bundle(self._answers, self._answers.batch, now)
            self._owners.append(owner)
        if "trace" in frame.options:
            bundle.traced = bundle.traced or set()
            bundle.traced.add(len(bundle.entries))
        cost = sum(map(len, frame.arguments[1:]))
        bundle.commands.append(command)
        bundle.entries.append((kind, self._answers.reserve(frame.tag), frame.tag))
        bundle.cost += cost
        self._answers.in_flight += 1
        self._answers.in_flight_bytes += cost
        self._answers.note_written(cost)
        if deadline:
            bundle.deadline = now + deadline / 1000
            self._submit_one(owner)

    def submit(self) -> None:
        """Hand the bundles of this read to their nodes."""
        owners, self._owners = self._owners, []
        for owner in owners:
            self._submit_one(owner)

    def _submit_one(self, owner: int) -> None:
        bundle = self._bundles[owner]
        if bundle is not None:
            self._bundles[owner] = None
            self._pipelines[owner].submit(bundle)
