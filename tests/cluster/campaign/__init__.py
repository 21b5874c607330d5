"""The campaign: every fault many times, by seed, resumable, in the background; `make faults` runs it.

`plan` (pure) says which runs are left, `results` keeps what came of each, `report` (pure) writes the table of
`docs/reliability.md`.
"""
