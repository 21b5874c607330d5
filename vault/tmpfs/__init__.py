"""In-memory mounts for secrets, and the mount calls under them.

`port` says what a caller needs, `kernel` does it on this machine, `fake` stands in for kernels without it.
"""
