"""Addresses and ports of the cluster (`allocation`, pure), and the links, namespaces and rules of this machine.

`node` is all of a node's networks; below it `mesh`, `wireguard`, `overlay`, `links`, each on `kernel`; `doctor` looks
at what they need.
"""
