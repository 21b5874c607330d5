"""A cluster on one machine: `vault lab` for people, `vault.lab.lab.Lab` for tests.

Each node has a network namespace, a host name, a data root and a run root of its own, all below one directory; a bridge
in a namespace of the lab's own joins them, so the machine's network is untouched.  `plan` (pure) says where everything
is, `state` keeps what must be known later, `lab.Lab` does what one may do to a lab, `commands` is its command line.
The cluster itself is made by the real `vaultd` and the real `vault`.
"""
