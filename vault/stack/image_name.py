"""The name of an image as Docker's client posts it: short, and never without a tag or a digest.

Pure; called by `vault.stack.convert_service`.  Source: the grammar of `distribution/reference`.
"""

import re

_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_DOMAIN = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])"
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    rf"(?P<name>(?:{_DOMAIN}(?::[0-9]+)?/)?{_COMPONENT}(?:/{_COMPONENT})*)"
    r"(?::(?P<tag>[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127}))?"
    r"(?:@(?P<digest>[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}))?"
)
_MAX_CHARACTERS = 512


def tagged(image: str) -> str:
    """Return the short form of an image's name, with `:latest` where it has neither tag nor digest.

    Raises `ValueError` with Docker's words for what is no image name.
    """
    match = _REFERENCE.fullmatch(image) if len(image) <= _MAX_CHARACTERS else None
    if match is None:
        lowered = image.lower()
        if lowered != image and len(image) <= _MAX_CHARACTERS and _REFERENCE.fullmatch(lowered):
            raise ValueError("invalid reference format: repository name must be lowercase")
        raise ValueError("invalid reference format")
    name = match["name"]
    for prefix in ("docker.io/", "index.docker.io/"):
        name = name.removeprefix(prefix) if name.startswith(prefix) else name
    if name.startswith("library/") and name.count("/") == 1:
        name = name.removeprefix("library/")
    if match["digest"]:
        return f"{name}{':' + match['tag'] if match['tag'] else ''}@{match['digest']}"
    return f"{name}:{match['tag'] or 'latest'}"
