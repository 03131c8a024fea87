"""Names of clients, namespaces, nodes and keys: one rule for all, safe in a file name, a log line and a Redis key."""

from __future__ import annotations

import re
from typing import Final, TypeGuard

NAME_RULE: Final = "1-64 letters, digits, '.', '_' and '-'"
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")


def is_name(value: object) -> TypeGuard[str]:
    """Whether `value` is text that keeps to `NAME_RULE`."""
    return isinstance(value, str) and _NAME.fullmatch(value) is not None
