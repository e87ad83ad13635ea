"""`/openapi.json` (OpenAPI 3.1) from the table of routes and the types of the bodies."""

import re
from collections.abc import Iterable
from typing import Any, Protocol

import msgspec

from server import __version__
from server.core.interviews import Role
from server.signaling.errors import ErrorBody

_PARAMETER = re.compile(r"\{(\w+)(?::[^{}]*(?:\{[^{}]*\})?)?\}")


class Described(Protocol):
    """What of a route is told."""

    @property
    def method(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def summary(self) -> str: ...
    @property
    def roles(self) -> frozenset[Role] | None: ...
    @property
    def status(self) -> int: ...
    @property
    def takes(self) -> Any: ...
    @property
    def gives(self) -> Any: ...


def document(routes: Iterable[Described]) -> dict[str, Any]:
    """The whole description."""
    routes = tuple(routes)
    types = [t for route in routes for t in (route.takes, route.gives) if _is_json(t)]
    schemas, components = msgspec.json.schema_components(
        [*types, ErrorBody], ref_template="#/components/schemas/{name}"
    )
    by_type = dict(zip(map(repr, [*types, ErrorBody]), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        path = plain_path(route.path)
        paths.setdefault(path, {})[route.method.lower()] = _operation(route, by_type)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Vivavoce", "version": __version__, "license": {"name": "Apache-2.0"}},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"link": {"type": "http", "scheme": "bearer"}},
        },
    }


def plain_path(path: str) -> str:
    """An aiohttp path without the patterns of its parameters."""
    return _PARAMETER.sub(r"{\1}", path)


def _operation(route: Described, schemas: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": route.summary}
    if route.gives is not None:
        answer["content"] = _content(route.gives, schemas)
    operation: dict[str, Any] = {
        "summary": route.summary,
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in _PARAMETER.findall(route.path)
        ],
        "responses": {
            str(route.status): answer,
            "default": {"description": "Refused", "content": _content(ErrorBody, schemas)},
        },
    }
    if route.takes is not None:
        content = _content(route.takes, schemas)
        operation["requestBody"] = {"required": True, "content": content}
    if route.roles is not None:
        operation["security"] = [{"link": []}]
        operation["description"] = f"For {', '.join(sorted(route.roles))}."
    return operation


def _is_json(body: Any) -> bool:
    return body is not None and not isinstance(body, str)


def _content(body: Any, schemas: dict[str, Any]) -> dict[str, Any]:
    if isinstance(body, str):
        return {body: {"schema": {"type": "string"}}}
    return {"application/json": {"schema": schemas[repr(body)]}}
