"""What breaks a cluster, and mends it: each fault is a class with `do`, `undo` and `check`.

`base` says what a fault is; `processes`, `links`, `disks`, `clocks`, `members`, `rotations` and `moves` hold them;
`FAULTS` in `every` lists all by name.  Chance comes from a generator that is given, so a seed gives the same choices.
"""
