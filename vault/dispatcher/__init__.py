"""What each node is told: exactly its own tasks, and the secrets those tasks use."""
