"""Which tasks should exist.  Pure."""
