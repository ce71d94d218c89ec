"""One form of an OpenAPI description, whoever made it: shapes by what is in them, two spellings of one thing made one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

_PREFIX = "#/components/schemas/"
_LISTS = ("anyOf", "oneOf", "enum", "required")


def calls(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Return each call with everything that is said of it, by path and method."""
    schemas, known = document["components"]["schemas"], dict[str, int]()
    yield {name: value for name, value in document.items() if name not in {"paths", "components"}} | {
        "securitySchemes": document["components"]["securitySchemes"]
    }
    for path, methods in sorted(document["paths"].items()):
        for method, operation in sorted(methods.items()):
            reported = {name: each for name, each in operation.items() if (name, each) != ("parameters", [])}
            yield {"call": f"{method.upper()} {path}", **_numbered(_written_out(reported, schemas), known)}


def _written_out(value: Any, schemas: dict[str, Any]) -> Any:
    """Put what a reference names in its place."""
    if isinstance(value, list):
        return [_written_out(each, schemas) for each in value]
    if not isinstance(value, dict):
        return value
    if "$ref" in value:
        beside = {name: each for name, each in value.items() if name != "$ref"}
        return _written_out({**schemas[value["$ref"].removeprefix(_PREFIX)], **beside}, schemas)
    # A title is what a generator made of a name; a field that is called so is an object.
    found = {name: each for name, each in value.items() if name != "title" or isinstance(each, dict)}
    return _one_spelling({name: _written_out(each, schemas) for name, each in found.items()})


def _numbered(value: Any, known: dict[str, int]) -> Any:
    """Replace an object that was shown before by its number."""
    if isinstance(value, list):
        return [_numbered(each, known) for each in value]
    if not isinstance(value, dict):
        return value
    if not isinstance(value.get("properties"), dict):
        return {name: _numbered(each, known) for name, each in value.items()}
    text = json.dumps(value, sort_keys=True)
    if text in known:
        return {"shape": known[text]}
    number = known[text] = len(known) + 1
    return {"shape": number, **{name: _numbered(each, known) for name, each in value.items()}}


def _one_spelling(schema: dict[str, Any]) -> dict[str, Any]:
    if schema.get("additionalProperties") is True:  # which is so where nothing is said
        schema = {name: each for name, each in schema.items() if name != "additionalProperties"}
    if schema.get("properties") == {}:
        schema = {name: each for name, each in schema.items() if name != "properties"}
    if "const" in schema:
        schema = {**schema, "enum": [schema["const"]]}
        del schema["const"]
    if "enum" in schema and "type" in schema:
        schema = {name: each for name, each in schema.items() if name != "type"}
    if isinstance(schema.get("enum"), list) and None in schema["enum"]:
        values = [each for each in schema["enum"] if each is not None]
        return _one_spelling({"anyOf": [_one_spelling({**schema, "enum": values}), {"type": "null"}]})
    if isinstance(schema.get("type"), list):
        kinds = schema["type"]
        rest = {name: each for name, each in schema.items() if name not in {"type", "description"}}
        kept = {name: schema[name] for name in ("description",) if name in schema}
        schema = {**kept, "anyOf": [{"type": kind} if kind == "null" else {**rest, "type": kind} for kind in kinds]}
    for name in _LISTS:
        if isinstance(schema.get(name), list):
            schema = {**schema, name: sorted(schema[name], key=repr)}
    return dict(sorted(schema.items()))
