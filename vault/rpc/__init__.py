"""The channel between nodes and managers, and the identity on it."""
