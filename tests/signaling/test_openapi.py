import json

from server.core.interviews import Role
from server.signaling.openapi import plain_path
from tests.signaling.serving import Serving


def test_patterns_are_not_part_of_a_documented_path() -> None:
    assert plain_path(r"/a/{one}/b/{two:\d{1,9}}") == "/a/{one}/b/{two}"


async def test_the_document_is_whole(serving: Serving) -> None:
    status, document = await serving.call("GET", "/openapi.json")
    assert status == 200
    assert document["openapi"] == "3.1.0"
    references = {
        part.partition('"')[0] for part in json.dumps(document).split("#/components/schemas/")[1:]
    }
    assert references <= set(document["components"]["schemas"])
    for path, operations in document["paths"].items():
        for operation in operations.values():
            named = {p["name"] for p in operation["parameters"]}
            assert named == {part[1:-1] for part in path.split("/") if part.startswith("{")}


async def test_bodies_are_what_the_document_says(serving: Serving) -> None:
    _, document = await serving.call("GET", "/openapi.json")
    schemas = document["components"]["schemas"]
    _, me = await serving.call("GET", "/api/me", serving.token(Role.OBSERVER))
    assert set(me) == set(schemas["Me"]["properties"])
    _, made = await serving.call("POST", "/api/interviews", serving.owner, json={"title": "T"})
    assert set(made) == set(schemas["Invitation"]["properties"])
    _, refused = await serving.call("GET", "/api/me")
    assert set(refused["error"]) == set(schemas["ErrorInfo"]["properties"])
