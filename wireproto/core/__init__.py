"""The protocol, the ring and the sessions: bytes in, decisions and bytes out.

Nothing here touches a socket, a clock or dice; time, nonces and transports are arguments. It may import
`wireproto.errors`, its own lower parts and pure libraries. Read it in the order in which a request flows:

    wire              the grammar's words, shared by both directions
    request_wire      a request: encoded by clients, parsed by the server
    verbs             what each verb takes
    server_session    one client's conversation: admit, order, limits
    ring              which node owns a key
    commands          verb <-> Redis command, reply <-> status
    stored_values     how a value looks on a node
    node_pipeline     one node's conversation: submit, send, match replies
    reply_wire        a reply: encoded by the server, parsed by clients
    client_session    the client's side of the conversation
"""
