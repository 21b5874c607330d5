"""What each node is told: exactly its own tasks, and the secrets and networks those tasks use.

`assignments` and `overlays` decide who gets what, `liveness` who is silent, `reports` what a node may say (all pure).
`service` has one `session` a node; its `stream` seals and orders what that node is told, `writer` gathers what all of
them say into few commits, `logs` brings readers to the node that has the log.  `authority`, `authorize`, `entering`,
`roles` and `rotation` are about certificates and membership.
"""
