"""Which addresses, subnets, overlay numbers and ports of the cluster belong to whom.  Pure: a stage of decisions.

`allocator` gives networks, nodes, services and tasks what they need; `pools` knows what is in use; `subnet` is one
range.
"""
