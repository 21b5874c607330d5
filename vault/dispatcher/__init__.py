"""What each node is told: exactly its own tasks, and the secrets those tasks use.

`assignments` decides (pure), `session` seals and sends, `reports` writes what nodes observed.
"""
