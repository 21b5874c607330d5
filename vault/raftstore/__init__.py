"""Sealed records in an engine, the replica of them in memory, and the order of commits."""
