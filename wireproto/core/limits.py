"""The limits that bind one client's conversation, in one place (`docs/PROTOCOL.md`, section 6)."""

from __future__ import annotations

from dataclasses import dataclass

from wireproto.core import wire


@dataclass(frozen=True, slots=True)
class Limits:
    """What one connection may ask for. Sizes are bytes, counts are requests."""

    max_key: int = wire.MAX_KEY
    max_value: int = wire.MAX_VALUE
    max_frame_overhead: int = wire.MAX_FRAME_OVERHEAD
    max_frame_before_auth: int = wire.MAX_FRAME_BEFORE_AUTH
    max_in_flight: int = 4096
    max_in_flight_bytes: int = 8 * 1024 * 1024
    max_unread_bytes: int = 8 * 1024 * 1024

    @property
    def max_skipped(self) -> int:
        """The longest argument that is skipped to keep the connection; a longer length is taken for noise."""
        return max(64 * self.max_value, wire.MAX_FRAME_BEFORE_AUTH)
