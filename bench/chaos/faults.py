"""What a fault proxy can do to one direction of a connection."""

from __future__ import annotations

import enum
import random
from dataclasses import dataclass

_PIECES_PER_SECOND = 50
"""Of a limited bandwidth."""


class Silence(enum.Enum):
    """Nothing is passed on, not even that a side has closed; what a side sends is taken."""

    HOLD = "hold"
    """What was taken is passed on after healing, as TCP does after a partition. Up to 1 MiB; then no more is taken."""
    DROP = "drop"
    """What was taken is lost. No network does this to TCP; broken programs between the two sides do."""


class Ending(enum.Enum):
    """How a connection ends."""

    FIN = "fin"
    RESET = "reset"


class NewConnections(enum.Enum):
    """What becomes of clients that connect."""

    PASS = "pass"
    SILENT = "silent"
    """They are connected, and nothing happens until that is changed; then they are served."""
    RESET = "reset"
    """They are reset at once."""


@dataclass(frozen=True)
class Cut:
    """The connection ends, for both sides, once `after` more bytes have been passed on."""

    after: int
    by: Ending = Ending.FIN


@dataclass(frozen=True)
class Garbage:
    """Random bytes of a seed: put in once `offset` bytes have been passed on, or spoiling the bytes from there on."""

    offset: int
    size: int = 16
    seed: int = 0
    flip: bool = False
    """Change bits of the next `size` bytes, every byte at least one, instead of putting in `size` bytes."""

    def spoil(self, data: bytes, start: int) -> bytes:
        """`data`, which comes after `start` others, with its share of the garbage."""
        dice = random.Random(self.seed)
        if not self.flip:
            at = self.offset - start
            is_here = 0 < at <= len(data) or at == start == 0
            return data[:at] + dice.randbytes(self.size) + data[at:] if is_here else data
        masks = [dice.randrange(1, 256) for _ in range(self.size)]
        spoiled = bytearray(data)
        for position in range(max(start, self.offset), min(start + len(data), self.offset + self.size)):
            spoiled[position - start] ^= masks[position - self.offset]
        return bytes(spoiled)


@dataclass(frozen=True)
class Faults:
    """The faults of one direction; by default none. Times are in seconds, sizes in bytes."""

    latency: float = 0.0
    """Everything is passed on so much later. Up to 1 MiB is under way; then no more is taken."""
    jitter: float = 0.0
    """And up to so much later than that, at random; the order is kept."""
    piece: int = 0
    """So many bytes at most in one packet, without Nagle's delay. 0: as they come."""
    pause: float = 0.0
    """Between two packets."""
    bandwidth: float = 0.0
    """Bytes per second. 0: no limit."""
    silence: Silence | None = None
    cut: Cut | None = None
    garbage: Garbage | None = None

    def piece_size(self, available: int) -> int:
        """How many of so many bytes are sent together."""
        size = min(available, self.piece or available)
        return min(size, max(1, int(self.bandwidth / _PIECES_PER_SECOND))) if self.bandwidth else size

    def pause_after(self, sent: int) -> float:
        """Seconds to wait after so many bytes."""
        return self.pause + (sent / self.bandwidth if self.bandwidth else 0.0)


NO_FAULTS = Faults()
