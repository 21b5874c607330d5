"""A stack as `vault stack deploy` posts it: the document, and the bytes of its files in base64.

Reads the files that the document names, through the stack's own reader.  Called by `vault.cli.commands.stack_deploy`.
"""

from binascii import b2a_base64
from typing import Any

from vault.stack.load import Stack, check_images
from vault.stack.posted import body_of, files_of


def request_of(stack: Stack, **wishes: str | bool) -> dict[str, Any]:
    """Return the body of `POST /vault/v1/stacks/{name}`.

    wishes: the other keys of it.  Raises `StackError` for a service without an image, and for a file that cannot be
    read.
    """
    check_images(stack)
    files = {path: _encoded(stack, path) for path in files_of(stack.document)}
    return {"document": body_of(stack.document), "files": files, **wishes}


def _encoded(stack: Stack, path: str) -> str:
    return b2a_base64(stack.read_value(path).reveal(), newline=False).decode()
