"""Engines: where sealed records are kept durably.  Each is one implementation of `vault.raftstore.engine.Engine`."""
