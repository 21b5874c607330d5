"""Which node a task runs on.  Pure but for caches that any snapshot can rebuild.

`needs` reads what tasks that are alike ask for, `load` and `fleet` keep what nodes carry, `filters` says which of them
will do, `spread` ranks those, `waiting` keeps who waits and why, and `schedule` is the decider that uses them all.
"""
