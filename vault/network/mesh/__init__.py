"""The routing mesh: a published port answers on every node, wherever the tasks are.

`node` is this node's part of it, `plan` and `rules` (pure) say what there should be, `kernel` makes it.
"""
