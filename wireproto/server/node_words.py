"""What may be told of the errors that nodes and Sentinels answer with.

Their text is theirs to choose, and Redis itself puts into it what it was sent (`unknown command 'X', with args
beginning with: ...`), passwords and keys too. So what is told is the kind of an error, which is its first word.
"""

from __future__ import annotations

import re
from typing import Final

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

_KIND: Final = re.compile(r"[A-Z]{2,16}(?= |\Z)")
_KNOWN: Final = (
    "ERR max number of clients reached",
    "ERR DB index is out of range",
    "ERR AUTH <password> called without any password configured",
    "ERR Client sent AUTH, but no password is set",
)
"""How errors begin whose first word says too little, and which hold nothing but these words of Redis's own."""


def kind_of_refusal(text: str) -> str:
    """A node's error as it may be told: its first word, or all of it where that is known."""
    for known in _KNOWN:
        if text.startswith(known):
            return known
    kind = _KIND.match(text)
    return kind[0] if kind is not None else "an error"


def why_no_answer(error: Exception) -> str:
    """What a question to a node or a Sentinel has come to, without what these have said.

    Only what redis-py and the system say about a connection is told in their words.
    """
    if type(error) in (RedisConnectionError, RedisTimeoutError) or isinstance(error, OSError):
        return str(error) or type(error).__name__
    if isinstance(error, RedisError):
        return f"it answers with an error ({type(error).__name__})"
    return f"it answers what is no answer ({type(error).__name__})"
