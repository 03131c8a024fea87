"""Requests that travel together: those that one read of one client brought in, and of these those for one node.

A bundle costs what one object per request would cost, divided by the number of requests in it.
"""

from __future__ import annotations

from typing import Final, Protocol


class BundleOwner(Protocol):
    """Who wants the answers of a bundle (`answers`)."""

    def deliver(self, bundle: Bundle, first: int, replies: list[object], size: int, now: float) -> None:
        """Take the replies of the requests from `first` on; they came in `size` bytes."""

    def fail(self, bundle: Bundle, code: str, text: str, retry_ms: int | None = None) -> None:
        """The requests of the bundle that are not answered yet never will be."""

    def give_up(self, error: Exception) -> None:
        """`deliver` or `fail` has failed, which is a bug; end this conversation, for its order is lost."""


NO_KEYS: Final[list[bytes]] = []
"""What a bundle without an opener has of keys. Nobody adds to it."""
EMPTY_REPLY: Final[list[bytes | None]] = [None, b"", b"\n"]
"""The places of a reply that is still to come: its head, its value and the end of its line. To put a value there costs
40 ns, and to make one line of the three 72."""
PLACES_OF_A_REPLY: Final = 3


class ValueSealer(Protocol):
    """Seals and opens the values of one namespace (`sealing`). What it has of keys may change at any time."""

    seals: bool
    """Whether values are to be sealed."""
    opens: bool
    """Whether sealed values can be opened."""

    def seal(self, key: bytes, value: bytes) -> bytes:
        """The bytes to store for a value, which are sealed."""

    def open(self, key: bytes, stored: bytes) -> bytes | None:
        """The value of stored bytes of any form; None if they cannot be opened."""


LeaseRead = tuple[int, bytes, int, int, int]
"""A READ with a lease that was sent as a GET, and what has to be known if it misses: which of the requests of its
bundle it is; its key; the shard, by its place in the order of the ring's names; the milliseconds of the lease; and how
many writes had been noted before it. With an object in place of the tuple such a READ took 0.5 us more in pure Python
(`bench.kept.requests`)."""


class BundleTaker(Protocol):
    """Who took a bundle to its node (`node_pipeline`)."""

    name: str
    role: str
    history: bytes

    def ask_for_history(self) -> None:
        """Find out anew what `history` is."""

    def load_scripts(self) -> None:
        """Tell the node the scripts, which it does not know any more."""

    def no_master(self) -> None:
        """The node has refused a write because it is a replica."""


class Asker(Protocol):
    """Who wants to know whether replicas have what was written (`answers`)."""

    def confirm(self, bundle: Bundle, index: int, line: bytes, problem: str, now: float) -> None:
        """Answer an entry of a bundle: with `line`, or with NOSYNC if there is a problem."""


class Confirmations(Protocol):
    """Finds out whether replicas have what a master has executed (`confirmations`)."""

    def ask(self, asker: Asker, bundle: Bundle, index: int, line: bytes, needed: int, now: float) -> None:
        """Have `asker` told whether so many replicas have what this entry of a bundle has written."""


class Batch:
    """The untagged requests of one read of a client.

    `replies` are the pieces of the replies, in order, and `missing` counts the replies that are still to come. A reply
    that was there at once is one piece; for one that a node will give there is an EMPTY_REPLY, and None marks that it
    is missing.
    """

    __slots__ = ("missing", "replies", "sent")

    def __init__(self) -> None:
        self.replies: list[bytes | None] = []
        self.missing = 0
        self.sent = 0
        """How many pieces of the front have left already."""


class Bundle:
    """Requests of one batch for one node, in the order sent.

    `commands` is what to send, as pieces to be joined. `kinds` and `slots` have an item for each request: the kind of
    reply to expect, and where the answer goes, which is a place in the batch's `replies` or, for a tagged request, its
    tag as it was sent (`#tag `).

    All times are seconds of the monotonic clock.
    """

    __slots__ = (
        "answered",
        "batch",
        "commands",
        "confirmations",
        "cost",
        "deadline",
        "keys",
        "kinds",
        "leases",
        "opener",
        "owner",
        "pipeline",
        "received_at",
        "sent_at",
        "slots",
        "synced",
        "traced",
    )

    def __init__(self, owner: BundleOwner, batch: Batch, received_at: float) -> None:
        self.owner = owner
        self.batch = batch
        self.commands: list[bytes] = []
        self.kinds: list[int] = []
        self.slots: list[int | bytes] = []
        self.opener: ValueSealer | None = None
        """Who opens the values that are read; None if none can be sealed."""
        self.keys: list[bytes] = NO_KEYS
        """If there is an opener, the key of each request."""
        self.leases: list[LeaseRead] | None = None
        """The entries that want a lease if they miss, and are not answered yet; None if there never was one."""
        self.cost = 0
        """Bytes of the values in it."""
        self.answered = 0
        self.received_at = received_at
        self.sent_at = 0.0
        self.deadline = 0.0
        """Not to be sent after this moment; 0 for none."""
        self.pipeline: BundleTaker | None = None
        self.traced: set[int] | None = None
        """The entries whose replies are to tell of their way."""
        self.synced: dict[int, int] | None = None
        """The entries that replicas are to have before they are answered, and how many replicas."""
        self.confirmations: Confirmations | None = None
        """Who finds that out."""
