"""The channel between nodes and managers, and the identity on it.

`call` has the shape of one exchange, `errors` what can end it; `pipe` joins two ends within one process.  Messages are
the frozen structs of `messages` and its siblings, sent as MessagePack.
"""
