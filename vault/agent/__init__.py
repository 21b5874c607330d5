"""The tasks of this node."""
