"""The tasks of this node, and its connection with whichever manager leads.

`connection` finds the leader, `session` talks with it, `worker` runs one `runner` a task; `step` decides (pure).
"""
