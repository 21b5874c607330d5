"""vaultd of another release: it speaks only the version of the control protocol that its first argument names."""

import sys

from vault.rpc import frames

frames.VERSIONS = (int(sys.argv.pop(1)),)  # type: ignore[misc]  # Before any module has taken it over.

from vault.daemon.main import main  # noqa: E402

main()
