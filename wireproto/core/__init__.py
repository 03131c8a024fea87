"""The protocol, the ring and the conversations: bytes in, decisions and bytes out.

Nothing here touches a socket, a clock or dice; time, random bytes and transports are arguments. It may import
`wireproto.errors`, its own lower parts and pure libraries. Read it in the order in which a request flows:

  Words and limits, for both sides
    names             what may name a client, a namespace or a node; what others said, for the log
    wire              the grammar's constants
    verbs             what each verb takes
    limits            what one connection may ask for
  The server's side of a request
    server_session    one client's conversation: read, admit, send on
    session_context   what sessions share, and what they ask of the world
    request_wire      a request, read
    login             whom a connection speaks for, and for how long
    admission         what that client may ask for
    access            what an API key allows, and how much
    api_keys          API keys: made, hashed, known again
    signing_keys      the keys that sign tokens, and which of them still verify
    token_form        the parts of a token, read strictly
    quota_table       what the workers tell each other about clients that have a quota
    quotas            what each client may still do
    tokens            bearer tokens: issued, verified
    dispatch          from requests to bundles, one per node
    quota_gate        what of a client's quota one of its connections may use, and the answer to what it may not
    bundle            what travels together, and who has to do with it
    shard_lane        a client's way to a shard: the master, and which replica may be read
    replica_reads     which reads a replica may answer
    replication_policy  what the operator has decided about replicas
    ring              which node owns a key
    commands          from a verb to a Redis command
    scripts           what must look and act in one step on a node
    lease_reads       READs that want a lease if they miss: the second question
    stamps            versions and leases, no two of them the same
    stored_values     how a value looks on a node
    envelope          what stands around one that has a version or a lease, or may be served stale
    sealing           values encrypted at rest: sealed, opened
    keyring           which key seals the values of a namespace, and which may open them
    xaes              the cipher
    node_health       the states of a node's connection
    queue_bound       how many requests may wait for a node, so that none waits too long
    node_pipeline     one node's conversation: submit, send, match replies
    confirmations     whether replicas have what a master has executed
    topology          which node is a shard's master, and how far its replicas are
    opening           a node's replies, opened
    node_replies      from a node's reply to a line
    reply_lines       the lines that are always the same
    answers           what a client is owed, in its order
    metrics           what is counted
    build             whether this path is compiled
    totals            what several workers have counted, added up
  The client's side of it
    loading           find a value, or have it loaded by one of those who want it
    load_steps        the steps of that
    load_terms        how long such a value is kept, and how patient those are who want it
    load_calls        what is asked of the server in these steps
    steps             steps that a generator asks for, and a shell performs
    function_keys     the keys under which results of functions are kept
    rate_windows      how often somebody may do something
    sessions          sessions of users
    update            read, change, write, and again if somebody else was faster
    calls             each verb as a call: its request, and its kind
    store_options     how a value is stored, by name
    reply_meaning     what the reply to each kind of request means
    codec             how values become bytes and back
    compression       values compressed, and told from those that are not
    results           what a read tells besides the value
    locations         what WHERE tells
    call_plan         requests that are sent together, and sent again where that is harmless
    retry             what may be sent again, and when
    request_encoding  a request, written
    client_session    the conversation with one server: log in, renew, match replies
    waiting           who waits for which reply; the hot loop of plain replies
    credentials       what a client logs in with
    reply_wire        a reply, read
"""
