"""What Docker's clients may ask for and vaultd does not do: one sentence for each, saying what to use instead.

Pure.  Called by `vault.api.app` for a request that no handler serves.
"""

import re
from typing import Final

_MADE_BY_SERVICES: Final = 'containers are made by services only: use "service create"'
_TASKS_CONTAINER: Final = 'a container lives as long as its task: use "service update", "service scale" or "service rm"'
_ATTACH: Final = 'attach needs an upgraded connection, which is not offered: use "vault logs -f" or "vault exec"'
_LOOK_INSIDE: Final = 'this view of a container is not supported: use "vault exec" to look inside'
_PRUNE: Final = "prune is not supported: remove what you mean by name"
_IMAGES: Final = 'images are not made or changed here: build them elsewhere, then use "image load" or "image pull"'
_CONNECT: Final = 'tasks join networks through their service: use "service update --network-add" and "--network-rm"'
_PLUGINS: Final = "plugins are not supported"
_USAGE: Final = "disk usage is not summed up: look at the data root, which `info` shows"

_SENTENCES: Final = tuple(
    (re.compile(methods), re.compile(paths), sentence)
    for methods, paths, sentence in (
        ("POST", "/containers/create", _MADE_BY_SERVICES),
        ("POST", "/(containers|images|networks|volumes|build)/prune", _PRUNE),
        ("POST", "/containers/[^/]+/(start|stop|restart|kill|pause|unpause)", _TASKS_CONTAINER),
        ("POST", "/containers/[^/]+/(rename|update|wait|resize)", _TASKS_CONTAINER),
        ("DELETE", "/containers/[^/]+", _TASKS_CONTAINER),
        ("GET|POST", "/containers/[^/]+/attach(/ws)?", _ATTACH),
        ("GET|HEAD|PUT", "/containers/[^/]+/(top|stats|changes|export|archive)", _LOOK_INSIDE),
        ("POST", "/(build|commit|session)", _IMAGES),
        ("GET|POST", "/images/(search|get|.+/(push|tag|history|get))", _IMAGES),
        ("POST", "/networks/[^/]+/(connect|disconnect)", _CONNECT),
        ("[A-Z]+", "/plugins(/.*)?", _PLUGINS),
        ("GET", "/system/df", _USAGE),
    )
)


def sentence_for(method: str, path: str) -> str | None:
    """Return why a path of the Engine API, without its version, is refused; None when Docker has no such path."""
    for methods, paths, sentence in _SENTENCES:
        if methods.fullmatch(method) and paths.fullmatch(path):
            return sentence
    return None
