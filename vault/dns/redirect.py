"""Port 53 at 127.0.0.11 in a task's namespace leads to the port where vault-dns listens.

Not pure; vaultd's side.  So a task can be a name server itself, and listen at port 53 of every address, which it could
not if that port were taken at one of them.  The rules change ports in packets on their way out and need no memory of
flows; they go with the namespace.  Used by `vault.dns.client`.
"""

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from vault.dns.messages import PORT, RESOLVER, Served
from vault.network.kernel.namespaces import enter, in_thread
from vault.network.kernel.nftables import Nftables
from vault.network.kernel.programs import NetworkFailed

TABLE: Final = "vault_names"  # Of another name when the rules become others: one that is there is left as it is.
_PRIORITY: Final = -310  # Before connection tracking, which so sees port 53 only.
_SCRIPT: Final = f"""
table ip {TABLE} {{
  chain out {{
    type filter hook output priority {_PRIORITY};
    ip daddr {RESOLVER} udp dport 53 udp dport set {PORT}
    ip daddr {RESOLVER} tcp dport 53 tcp dport set {PORT}
    ip saddr {RESOLVER} udp sport {PORT} udp sport set 53
    ip saddr {RESOLVER} tcp sport {PORT} tcp sport set 53
  }}
}}
"""


async def redirect(tasks: Iterable[Served]) -> dict[str, str]:
    """Lead port 53 of tasks to ours; return why that failed, by the task's id.  Safe to repeat."""
    each = {task.task_id: Path(task.namespace) for task in tasks}
    return await in_thread(lambda: {task_id: why for task_id, path in each.items() if (why := redirect_in(path))})


def redirect_in(namespace: Path) -> str:
    """Do it for one namespace, in a thread that stays there; return why it failed, or nothing."""
    try:
        enter(namespace)
        rules = Nftables()
        try:
            with contextlib.suppress(NetworkFailed):  # There is none.
                rules.run(f"list chain ip {TABLE} out")
                return ""
            rules.run(_SCRIPT)
        finally:
            rules.close()
    except OSError as error:
        return error.strerror or str(error)
    except NetworkFailed as error:
        return error.message
    return ""
