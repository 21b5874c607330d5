"""How to talk to the kernel: netlink, namespaces, packet rules, flows, and the programs ip, nft and conntrack.

Knows nothing of networks, tasks or nodes; the other packages are made of it.  `NetworkFailed` (in `programs`) is the
one error of all of them.
"""
