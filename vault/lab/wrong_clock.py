"""vaultd under libfaketime: `python -m vault.lab.wrong_clock OPTIONS…`, started by `vault.lab.launching`.

Up to 0.9.10 the library moves the end of every `time.sleep` by its offset, even where it is told to leave the
monotonic clock alone (its `clock_nanosleep` does not ask): vaultd would sleep an hour for a millisecond.  Here sleeping
is waiting for nothing, which the library leaves as it is.
"""

import select
import time


def sleep(seconds: float) -> None:
    """Do what `time.sleep` does, by select(2)."""
    if seconds < 0:
        raise ValueError("sleep length must be non-negative")
    select.select([], [], [], seconds)


if __name__ == "__main__":
    vars(time)["sleep"] = sleep
    from vault.daemon.main import main

    main(prog_name="vaultd")
