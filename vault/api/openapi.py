"""The OpenAPI document: paths from FastAPI's routes, schemas from the model.

Called by `vault.api.app`, once, when somebody first asks for `/openapi.json`.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from vault.api.context import Endpoint
from vault.api.shapes import ErrorText
from vault.crypto.plaintext import Plaintext

REF = "#/components/schemas/{name}"


def schemas_of(endpoints: Sequence[Endpoint]) -> tuple[dict[int, Any], dict[str, Any]]:
    """Return a schema for each type that endpoints take or give, by the type's `id()`, and the shared components."""
    types = [type_ for endpoint in endpoints for type_ in (endpoint.posts, endpoint.replies) if type_ is not None]
    types.append(ErrorText)
    schemas, components = msgspec.json.schema_components(types, schema_hook=_schema_of, ref_template=REF)
    return {id(type_): schema for type_, schema in zip(types, schemas, strict=True)}, components


def described(endpoint: Endpoint, schemas: dict[int, Any]) -> dict[str, Any]:
    """Return what the document says of one endpoint beyond its path and summary."""
    answer: dict[str, Any] = {"description": "Done."}
    if endpoint.replies is not None:
        answer["content"] = {"application/json": {"schema": schemas[id(endpoint.replies)]}}
    error = {"application/json": {"schema": schemas[id(ErrorText)]}}
    extra: dict[str, Any] = {
        "responses": {str(endpoint.status): answer, "default": {"description": "One sentence.", "content": error}},
        "parameters": [_parameter(name, "query") for name in endpoint.query]
        + [_parameter(name, "path") for name in path_parameters(endpoint.path)],
    }
    if endpoint.posts is not None:
        body = {"application/json": {"schema": schemas[id(endpoint.posts)]}}
        extra["requestBody"] = {"required": True, "content": body}
    return extra


def path_parameters(path: str) -> list[str]:
    """Return the names in a path's braces."""
    return [part.split("}", 1)[0].split(":", 1)[0] for part in path.split("{")[1:]]


def _parameter(name: str, place: str) -> dict[str, Any]:
    return {"name": name, "in": place, "required": place == "path", "schema": {"type": "string"}}


def _schema_of(type_: type) -> dict[str, Any]:
    if type_ is Plaintext:
        return {"type": "string", "format": "byte", "writeOnly": True}
    raise NotImplementedError(type_)
