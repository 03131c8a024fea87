"""What the core's parts cost by themselves, without sockets: `python -m bench micro`.

It mirrors `wireproto/core`, one module per concern:

    frames     requests read, by the server's hot loop and its full parser; a client: requests written, replies read
    resp       a node's conversation: commands made and sent, replies matched to requests
    session    the whole of the core: from a client's bytes over its nodes and back
    ring       who owns a key, and the drawing of the table that tells it
    tokens     API keys and tokens: issued, verified, refused
    sealing    values encrypted at rest: sealed, opened

Each has a function `benchmarks` that yields them one by one; `blocks` measures one, and `conversation` is a session and
its nodes for those that need some.
"""
