"""Assembles a description of an API (OpenAPI 3.1): answers from what they are made of, bodies from what checks them."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import msgspec
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

JSON = "application/json"
_REFERENCE = "#/components/schemas/"
_PARAMETER = re.compile(r"\{(\w+)\}")

Schema: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """What comes back with one status: a type that msgspec can describe, or several, of which it is one."""

    description: str
    kind: Any
    content: str = JSON
    inside: Callable[[Schema], Schema] = dict  # what is put around it

    @property
    def kinds(self) -> tuple[Any, ...]:
        return self.kind if isinstance(self.kind, tuple) else (self.kind,)


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
    bodies, checked = _models({call.body for call in calls if call.body is not None}, taken=answers.components)
    queries, beside = _models({call.query for call in calls if call.query is not None}, taken=answers.components)
    paths: dict[str, dict[str, Any]] = {}
    for call in calls:
        parameters = _in_path(call) + ([] if call.query is None else _in_query(queries[call.query], beside))
        operation: dict[str, Any] = {**call.more, "responses": answers.of(call), "parameters": parameters}
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
        kinds = {repr(kind): kind for call in calls for answer in call.answers.values() for kind in answer.kinds}
        found, components = msgspec.json.schema_components(
            kinds.values(), schema_hook=lambda kind: dict(described(kind)), ref_template=_REFERENCE + "{name}"
        )
        self._schemas = dict(zip(kinds, found, strict=True))
        self.components = {name: _closed(schema) for name, schema in components.items()}

    def of(self, call: Call) -> dict[str, Any]:
        return {
            str(status): {
                "description": answer.description,
                "content": {answer.content: {"schema": answer.inside(self._one_of(answer.kinds))}},
            }
            for status, answer in sorted(call.answers.items())
        }

    def _one_of(self, kinds: Sequence[Any]) -> Schema:
        found = [self._schemas[repr(kind)] for kind in kinds]
        return found[0] if len(found) == 1 else {"anyOf": found}


def _closed(schema: Schema) -> Schema:
    """An answer has the fields that are described and no others; whoever reads it is the one who is lenient."""
    return {**schema, "additionalProperties": False} if "properties" in schema else schema


def _models(
    models: set[type[BaseModel]], *, taken: Container[str]
) -> tuple[dict[type[BaseModel], Schema], dict[str, Schema]]:
    """Return a reference to each model, and what they name: a price that is asked for is another than one told."""
    ordered = sorted(models, key=lambda model: model.__name__)
    references, definitions = models_json_schema(
        [(model, "validation") for model in ordered], ref_template=_REFERENCE + "{model}"
    )
    found = _renamed(definitions.get("$defs", {}), taken)
    named = {_free(name, taken): schema for name, schema in found.items()}
    return {model: _renamed(references[model, "validation"], taken) for model in ordered}, named


def _free(name: str, taken: Container[str]) -> str:
    return f"{name}Input" if name in taken else name


def _renamed(value: Any, taken: Container[str]) -> Any:
    """Let references to what has another name now follow."""
    if isinstance(value, list):
        return [_renamed(each, taken) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        name: _REFERENCE + _free(each.removeprefix(_REFERENCE), taken) if name == "$ref" else _renamed(each, taken)
        for name, each in value.items()
    }


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
