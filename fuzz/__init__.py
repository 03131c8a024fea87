"""Hostile bytes for whatever reads bytes of others: `make fuzz`, or `python -m fuzz --help`.

A target is a module with a function `check`, which is given any bytes and raises if what they are given to does
anything that it must not do, and with `WORDS` that such bytes are often made of. The targets:

    requests    a client's bytes, and the server's session
    replies     a server's bytes, and the client's session
    resp        a node's bytes, and whoever waits for its answers
    tokens      credentials

`corpus/` holds, for each target, inputs that together reach all that was ever reached. Mutants of them are tried by
`engine` (libFuzzer by way of Atheris, guided by what they reach); `make test` tries the inputs themselves.
"""

from __future__ import annotations
