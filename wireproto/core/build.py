"""How the hot path is there: compiled, or as Python. `setup.py` says what is compiled, and when."""

from __future__ import annotations

from typing import Final

from wireproto.core import dispatch

BUILD: Final = "pure" if dispatch.__file__.endswith(".py") else "compiled"
