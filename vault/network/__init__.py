"""Addresses and ports (pure) and the links, namespaces and rules of this machine."""
