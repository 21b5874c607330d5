"""The channel between nodes and managers, and the identity on it.

`server` and `client` speak over TLS 1.3 with the certificates in `credentials`; `pipe` joins two ends in one process.
`call` is the shape of one exchange, `errors` what can end it.  Messages are the frozen structs of `messages` and its
siblings.  Below: `exchange` (one end of a call), carried by `stream` or `asks` on a `connection`.
"""
