"""How a host's number of seconds becomes a time to live."""

from __future__ import annotations

from typing import TypedDict

from wireproto.core.verbs import MAX_TTL_SECONDS


class Lifetime(TypedDict, total=False):
    """What the client takes; neither: the value does not expire."""

    ex: int
    px: int


def lifetime(seconds: float | None) -> Lifetime:
    """For so many seconds, more than 0; None: for ever.

    Fractions count to the millisecond, and what is longer than the protocol knows (317 years) is as long as that.
    """
    if seconds is None:
        return {}
    if seconds >= MAX_TTL_SECONDS:
        return {"ex": MAX_TTL_SECONDS}
    if seconds == int(seconds):
        return {"ex": int(seconds)}
    return {"px": max(1, round(seconds * 1000))}
