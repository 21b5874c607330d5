"""How to talk to an etcd member: HTTP/2, gRPC's framing, and the messages of etcd's API v3 that the engine uses.

`wire` is protobuf's encoding, `messages` the messages, `http2` the connection, `client` calls with limits.
Nothing here knows what records are.  Why it is our own: `docs/decisions/0005-etcd-client.md`.
"""
