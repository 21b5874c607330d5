"""The grammar of an image's name.  Pure.

Called by `vault.stack` for stack files, and by `vault.store` for whatever a client posts.  Source:
`distribution/reference`.
"""

import re
from typing import Final

_LABEL: Final = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_DOMAIN: Final = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])"
_COMPONENT: Final = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REFERENCE: Final = re.compile(
    rf"(?P<name>(?:{_DOMAIN}(?::[0-9]+)?/)?{_COMPONENT}(?:/{_COMPONENT})*)"
    r"(?::(?P<tag>[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127}))?"
    r"(?:@(?P<digest>[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}))?"
)
_MAX_CHARACTERS: Final = 512


def match_image(image: str) -> re.Match[str] | None:
    """Return the `name`, `tag` and `digest` of an image's name; None for what is no such name."""
    return _REFERENCE.fullmatch(image) if len(image) <= _MAX_CHARACTERS else None
