"""The project's load program: the same cases against vaultd and, where it is at hand, Docker Swarm, in one run.

`python -m bench` (or `make bench`) starts a private node of each, interleaves their rounds, and writes ratios to
`docs/performance.md`.  `client` speaks HTTP, `machine` accounts for processors and memory, `subjects` starts and ends
what is measured, `cases` holds the measurements, `report` prints them.
"""
