"""Which endpoint serves a method and path.  Pure.

Made once of FastAPI's own routes; called by `vault.api.gateway` for every request, and by `vault.api.forwarded`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from fastapi.routing import APIRoute
from starlette.routing import BaseRoute

from vault.api.context import Endpoint, Reach

Params = dict[str, str]
NO_PARAMS: Params = {}


@dataclass(frozen=True, slots=True)
class Index:
    """Endpoints by method and path."""

    exact: dict[tuple[str, str], Endpoint] = field(default_factory=dict)
    patterns: dict[tuple[str, str], list[tuple[re.Pattern[str], Endpoint]]] = field(default_factory=dict)

    def find(self, method: str, path: str) -> tuple[Endpoint, Params] | None:
        """Return the endpoint of a path without its version, and what the path names; None when there is none."""
        endpoint = self.exact.get((method, path))
        if endpoint is not None:
            return endpoint, NO_PARAMS
        for pattern, candidate in self.patterns.get((method, path.split("/", 2)[1]), ()):
            found = pattern.fullmatch(path)
            if found is not None:
                return candidate, found.groupdict()
        return None


def index_of(routes: Sequence[BaseRoute], endpoints: Sequence[Endpoint]) -> Index:
    """Return an index of FastAPI's routes, in their order; what is none of `endpoints` is this node's."""
    ours = {(endpoint.method, endpoint.path): endpoint for endpoint in endpoints}
    index = Index()
    for route in routes:
        if not isinstance(route, APIRoute):
            continue
        for method in route.methods or ():
            own = Endpoint(method, route.path, route.endpoint, reach=Reach.NODE)
            endpoint = ours.get((method, route.path), own)
            if "{" in route.path:
                key = (method, route.path.split("/", 2)[1])
                index.patterns.setdefault(key, []).append((route.path_regex, endpoint))
            else:
                index.exact[method, route.path] = endpoint
    return index
