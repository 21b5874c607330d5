"""Membership end to end: real vaultds and etcds, each on a loopback address of its own."""
