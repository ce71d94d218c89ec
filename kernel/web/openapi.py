"""Assembles a description of an API (OpenAPI 3.1): answers from what they are made of, bodies from what checks them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

JSON = "application/json"
_REFERENCE = "#/components/schemas/"
_PARAMETER = re.compile(r"\{(\w+)\}")

Schema = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """What comes back with one status; `kind` is a type that msgspec can describe."""

    description: str
    kind: Any
    content: str = JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One operation; `more` are members of it that nothing here makes, such as its summary."""

    method: str
    path: str
    answers: Mapping[int, Answer]
    body: type[BaseModel] | None = None
    needs_body: bool = True
    query: type[BaseModel] | None = None
    identity: Mapping[str, Any]  # the schema of a variable part of the path
    more: Mapping[str, Any] = field(default_factory=dict)


def assemble(
    calls: Sequence[Call],
    *,
    head: Mapping[str, Any],
    security_schemes: Mapping[str, Any],
    described: Callable[[type[Any]], Mapping[str, Any]],
) -> dict[str, Any]:
    """Return the document; `described` gives the schema of a type that msgspec does not know by itself."""
    answers = _Answers(calls, described)
    bodies, checked = _models({call.body for call in calls if call.body is not None})
    queries, beside = _models({call.query for call in calls if call.query is not None})
    paths: dict[str, dict[str, Any]] = {}
    for call in calls:
        operation: dict[str, Any] = {**call.more, "responses": answers.of(call), "parameters": _in_path(call)}
        if call.query is not None:
            operation["parameters"] += _in_query(queries[call.query], beside)
        if call.body is not None:
            content = {JSON: {"schema": bodies[call.body]}}
            operation["requestBody"] = {"required": call.needs_body, "content": content}
        paths.setdefault(call.path, {})[call.method.lower()] = operation
    words = {name: schema for name, schema in beside.items() if "enum" in schema}
    schemas = {**words, **checked, **answers.components}
    return {**head, "paths": paths, "components": {"schemas": schemas, "securitySchemes": dict(security_schemes)}}


class _Answers:
    """The schemas of all answers; each struct once."""

    def __init__(self, calls: Sequence[Call], described: Callable[[type[Any]], Mapping[str, Any]]) -> None:
        kinds = {repr(answer.kind): answer.kind for call in calls for answer in call.answers.values()}
        found, components = msgspec.json.schema_components(
            kinds.values(), schema_hook=lambda kind: dict(described(kind)), ref_template=_REFERENCE + "{name}"
        )
        self._schemas = dict(zip(kinds, found, strict=True))
        self.components = {name: _closed(schema) for name, schema in components.items()}

    def of(self, call: Call) -> dict[str, Any]:
        return {
            str(status): {
                "description": answer.description,
                "content": {answer.content: {"schema": self._schemas[repr(answer.kind)]}},
            }
            for status, answer in sorted(call.answers.items())
        }


def _closed(schema: Schema) -> Schema:
    """An answer has the fields that are described and no others; whoever reads it is the one who is lenient."""
    return {**schema, "additionalProperties": False} if "properties" in schema else schema


def _models(models: set[type[BaseModel]]) -> tuple[dict[type[BaseModel], Schema], dict[str, Schema]]:
    """Return a reference to each model, and what the references name."""
    ordered = sorted(models, key=lambda model: model.__name__)
    references, definitions = models_json_schema(
        [(model, "validation") for model in ordered], ref_template=_REFERENCE + "{model}"
    )
    return {model: references[model, "validation"] for model in ordered}, definitions.get("$defs", {})


def _in_path(call: Call) -> list[Schema]:
    return [
        {"name": name, "in": "path", "required": True, "schema": dict(call.identity)}
        for name in _PARAMETER.findall(call.path)
    ]


def _in_query(reference: Schema, beside: Mapping[str, Schema]) -> list[Schema]:
    """Return the parameters of a query, each of which may be left out; null cannot be said in one."""
    properties = beside[reference["$ref"].removeprefix(_REFERENCE)]["properties"]
    found = []
    for name, value in properties.items():
        choices = [choice for choice in value.get("anyOf", [value]) if choice.get("type") != "null"]
        found.append({"name": name, "in": "query", "required": False, "schema": choices[0]})
    return found
