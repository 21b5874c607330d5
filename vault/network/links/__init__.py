"""A task's link to its node: its way out of it, and its `mode: host` ports.

`network` keeps them, `kernel` makes them, `names` (pure) says what they are called and which rules they need, `ports`
holds the node's ports for them.
"""
