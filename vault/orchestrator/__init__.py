"""Which tasks should exist, and what is asked of them.  Pure.

`control.new_control()` makes the one decider that a leader runs.  First come the stages that declare tasks ended; what
they decide is a proposal of its own:

1. `enforcer`   running tasks whose node no longer fits are rejected
2. `orphans`    tasks of removed nodes, or of nodes down for a day, are given up

Then, in one round, each stage sees what the ones before it decided, and all of it is one proposal:

3. `services`   number of tasks (`replicated`, `global_`), `restart`, `update`, and the hold at READY
4. `reaper`     tasks that are not wanted any more, and old history, are deleted
5. `vault.network.allocation.allocator`    NEW -> PENDING
6. `vault.scheduler.schedule`  PENDING -> ASSIGNED

The loop around it: decide about the newest committed snapshot, wait until `propose` returns, and only then decide about
a snapshot that holds what was proposed.  Ask again at `ask_again_s` with the same snapshot as before and after.
"""
