"""The clients of both languages say the same of the same webhooks."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import pytest

from clients.python.amn_scanner_client import (
    BalanceEvent,
    IntentEvent,
    InvalidWebhook,
    MalformedWebhook,
    verify_webhook,
)
from protocol.codec import plain
from protocol.events import BalanceTransfer, EventTransfer
from tests.clients.webhook_vectors import (
    BALANCE,
    CONFIRMED,
    INTENT,
    INVALID,
    MALFORMED,
    UNUSABLE,
    Vector,
    signed,
    vectors,
)
from tests.harness import ROOT, SECRET
from tests.node import printed

VECTORS = list(vectors())
YEARS_S = 10**8
MODULE = json.dumps((ROOT / "clients" / "js" / "index.js").as_uri())
JUDGE = f"""
import {{ verifyWebhook, InvalidWebhook, MalformedWebhook }} from {MODULE};
import {{ readFileSync }} from "node:fs";

function judged({{ body, headers, secret, now }}) {{
  try {{
    const event = verifyWebhook(Buffer.from(body, "base64"), headers, secret, {{ now }});
    return {{ is: "watchId" in event ? "balance" : "intent", event }};
  }} catch (error) {{
    if (error instanceof MalformedWebhook) {{
      return {{ is: "malformed", eventId: error.eventId, eventType: error.eventType, names: error.names }};
    }}
    if (error instanceof InvalidWebhook) return {{ is: "invalid" }};
    if (error instanceof RangeError) return {{ is: "unusable" }};
    throw error;
  }}
}}
console.log(JSON.stringify(JSON.parse(readFileSync(0, "utf8")).map(judged)));
"""


def judged(vector: Vector) -> dict[str, Any]:
    """Return what the Python client says."""
    try:
        event = verify_webhook(vector.body, vector.headers, vector.secret, now=vector.now)
    except MalformedWebhook as exc:
        return {"is": MALFORMED, "eventId": exc.event_id, "eventType": exc.event_type, "names": list(exc.names)}
    except InvalidWebhook:
        return {"is": INVALID}
    except ValueError:
        return {"is": UNUSABLE}
    return {"is": BALANCE if isinstance(event, BalanceEvent) else INTENT, "event": plain(event)}


@pytest.fixture(scope="module")
def in_node() -> list[dict[str, Any]]:
    """Return what the JavaScript client says of every vector."""
    found: list[dict[str, Any]] = json.loads(
        printed(JUDGE, given=json.dumps([v.as_json() for v in VECTORS]), module=True)
    )
    return found


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.name)
def test_the_python_client_says_what_a_webhook_is(vector: Vector) -> None:
    assert judged(vector)["is"] == vector.expected


def test_the_javascript_client_says_the_same_to_the_last_field(in_node: list[dict[str, Any]]) -> None:
    assert len(in_node) == len(VECTORS) > 70

    for vector, said in zip(VECTORS, in_node, strict=True):
        assert (vector.name, said) == (vector.name, judged(vector))


@pytest.mark.parametrize("kind", [IntentEvent, BalanceEvent, EventTransfer, BalanceTransfer])
def test_the_javascript_client_knows_every_field(kind: type[msgspec.Struct]) -> None:
    name = {"IntentEvent": "INTENT_EVENT", "BalanceEvent": "BALANCE_EVENT", "EventTransfer": "EVENT_TRANSFER"}
    shape = name.get(kind.__name__, "BALANCE_TRANSFER")
    program = (
        f"import {{ SHAPES }} from {MODULE};"
        f"console.log(JSON.stringify(Object.entries(SHAPES.{shape}).map(([n, k]) => [n, k.optional === true])));"
    )
    fields = [[field.encode_name, not field.required] for field in msgspec.structs.fields(kind)]

    assert json.loads(printed(program, module=True)) == fields
    typed = (ROOT / "clients" / "js" / "index.d.ts").read_text().split(f"interface {kind.__name__} {{")[1].split("}")[0]
    assert [line.split(":")[0].strip() for line in typed.strip().splitlines()] == [name for name, _ in fields]


def test_without_a_moment_the_clock_of_the_machine_is_asked() -> None:
    body, headers = signed(CONFIRMED, age_s=YEARS_S)
    vector = {"body": base64.b64encode(body).decode(), "headers": headers, "secret": SECRET}

    with pytest.raises(InvalidWebhook, match="too old"):
        verify_webhook(body, headers, SECRET)
    assert json.loads(printed(JUDGE, given=json.dumps([vector]), module=True)) == [{"is": INVALID}]


def test_the_javascript_client_takes_the_headers_of_a_fetch_request() -> None:
    program = JUDGE.replace(
        "map(judged)", "map((vector) => judged({ ...vector, headers: new Headers(vector.headers) }))"
    )
    vector = Vector("", *signed(CONFIRMED), INTENT).as_json()

    assert json.loads(printed(program, given=json.dumps([vector]), module=True))[0]["is"] == INTENT
