"""Whether two clocks are close enough for certificates to work.  Pure.

Certificates are back-dated 1 h, so a node may be behind the manager that issues by up to that; it may be ahead by what
is left of the certificate's life when it is due for renewal.  Called by whoever joins, and before a renewal.
"""

from datetime import datetime, timedelta

from vault.crypto.certificates import BACKDATED, RENEWAL_SHARE
from vault.crypto.errors import ClockSkew


def check_clock(own: datetime, manager: datetime, *, life: timedelta) -> None:
    """Raise `ClockSkew` when certificates of this life, issued by the manager's clock, cannot work by our own."""
    if own < manager - BACKDATED:
        raise ClockSkew(manager - own, behind=True)
    if own > manager + life * (1 - RENEWAL_SHARE[1]):
        raise ClockSkew(own - manager, behind=False)
