"""Looks for secrets wherever a node could hold them: files, mounts, open files, memory, and what processes show.

`needles` makes the shapes in which a value could lie there, `files`, `processes` and `memory` are the places, `node`
goes through all places of one node.  Needs root: vaultd is closed to everybody else's debuggers.
"""
