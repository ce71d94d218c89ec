"""The tables of the wire fit each other, and the daemon they describe."""

from __future__ import annotations

import msgspec
import pytest

from api.app import HANDLERS
from api.openapi import BODIES, QUERIES, WITHOUT_BODY_TOO
from kernel.web import http_errors
from protocol import answers, events
from protocol.errors import CODES, STATUSES
from protocol.routes import PAGES, ROUTES, Route
from protocol.words import EventType
from scanner.model import Intent, Watch


def test_every_call_is_served_and_what_is_served_is_a_call() -> None:
    assert set(HANDLERS) == {*ROUTES, *PAGES}
    assert {*BODIES, *QUERIES} <= set(ROUTES)
    assert BODIES.keys() >= WITHOUT_BODY_TOO
    assert len({(route.method, route.path) for route in HANDLERS}) == len(HANDLERS)


def test_the_codes_of_http_are_among_the_codes_of_the_api_with_their_statuses() -> None:
    assert http_errors.CODES.items() <= CODES.items()
    assert set(CODES.values()) - STATUSES.keys() == {405, 500}  # of what is no call, and of a bug


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_what_a_call_may_refuse_has_a_sentence(route: Route[object]) -> None:
    assert {*route.refusals, *route.also} <= STATUSES.keys()
    assert route.at(*("x" for _ in route.parameters)).count("{") == 0


def test_every_event_of_an_intent_has_its_fields() -> None:
    assert set(events.FIELDS) == set(EventType) - {EventType.BALANCE_CHANGED}
    names = {field.name for field in msgspec.structs.fields(events.IntentEvent)}
    assert {name for fields in events.FIELDS.values() for name in fields} <= names


def test_an_intent_and_a_watch_on_the_wire_are_those_of_the_daemon() -> None:
    """A field that is new is written in the body that asks for it, here, in the model and in the table."""
    assert set(answers.Intent.__struct_fields__) <= set(Intent._fields)
    assert set(answers.Watch.__struct_fields__) <= set(Watch._fields)
    kept = {"callback_secret", "salt", "request", "receiver"}
    assert kept.isdisjoint(answers.Intent.__struct_fields__)
    assert kept.isdisjoint(answers.Watch.__struct_fields__)
