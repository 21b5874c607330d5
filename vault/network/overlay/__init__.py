"""Overlay networks on this node: what managers told (`state`, pure), and what the kernel has of it.

`overlays` keeps all of a node's networks, `network` programs one, `device` is its namespace in the kernel, by
`entries`; `reach`, `vips` and `names` (pure) say what there should be; `records` is for the next vaultd; `listener`
is what others hear.
"""
