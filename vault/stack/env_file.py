"""Env files: `KEY=value` a line, as they are, with no quoting and no variables.

Pure; called by `vault.stack.services` with the bytes of the file.
"""

from collections.abc import Mapping

from vault.stack.errors import NotLoaded
from vault.stack.yaml import MAX_BYTES


def parse_env_file(path: str, content: bytes, env: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of an env file; a key without `=` takes its value from `env`, or is left out.

    Raises `NotLoaded`, which names the file.  White space before a key goes, in a value it stays.
    """
    if len(content) > MAX_BYTES:
        raise NotLoaded(f"invalid env file ({path}): it has more than {MAX_BYTES} bytes")
    variables: dict[str, str] = {}
    for number, raw in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        try:
            line = raw.removesuffix(b"\r").decode().lstrip()
        except UnicodeDecodeError:
            raise NotLoaded(f"invalid env file ({path}): invalid utf8 bytes at line {number}") from None
        if not line or line.startswith("#"):
            continue
        key, equals, value = line.partition("=")
        if not key:
            raise NotLoaded(f"invalid env file ({path}): no variable name on line {number}")
        if " " in key or "\t" in key:
            raise NotLoaded(f"invalid env file ({path}): the variable name on line {number} contains whitespaces")
        if equals:
            variables[key] = value
        elif key in env:
            variables[key] = env[key]
    return variables
