"""Several real nodes under faults: what they answered is recorded, and checked against what may be answered.

`checker` judges a history, `load` makes one, `nemesis` breaks things and mends them, `search` looks for secrets where
none may be, `campaign` repeats all of it by seed and writes `docs/reliability.md`.  Tests here are the short form.
"""
