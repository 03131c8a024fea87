"""What `wireproto doctor` looks at. Nothing is changed, made or kept.

findings         what a check has found, and how bad that is
files            the file of settings, the state folder, the keyring, the audit log: whose they are, who can read them
certificates     the server's certificate and key, and the authority of the clients'
keys             the API keys and the keys that sign tokens
node_facts       what a node or a Sentinel says of itself
nodes            the shards: their nodes, replicas and Sentinels
machine          limits, memory, clock and kernel
running_server   a server that runs, if WIREPROTO_URL says where
"""
