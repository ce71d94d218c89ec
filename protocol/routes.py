"""The calls of the scanner's API, one table: server, description and client are made from it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, TypeAlias, TypeVar, cast

from msgspec import Meta

from protocol import answers
from protocol.wire import Wire

A = TypeVar("A")

JSON = "application/json"
HTML = "text/html"
STREAM = "text/event-stream"
Description: TypeAlias = Annotated[dict[str, Any], Meta(description="An OpenAPI 3.1 document.")]
_PARAMETER = re.compile(r"{(\w+)}")


@dataclass(frozen=True, slots=True)
class Route(Generic[A]):
    """One call: what it is for, what it answers, and which refusals it alone may answer with."""

    method: str
    path: str
    summary: str
    answer: type[A]  # of JSON a struct, else str
    refusals: tuple[int, ...] = ()
    also: Mapping[int, type[Wire]] = field(default_factory=dict, hash=False)  # answers that are none of 200, by status
    content: str = JSON
    is_open: bool = False  # answered without a key
    needs_store: bool = True

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the variable parts of the path."""
        return tuple(_PARAMETER.findall(self.path))

    def at(self, *segments: str) -> str:
        """Return the path with its variable parts, which are escaped already, filled in."""
        parts = iter(segments)
        return _PARAMETER.sub(lambda _: next(parts), self.path)


HEALTH = Route("GET", "/health", "Alive?", answers.Health, is_open=True, needs_store=False)
READY = Route("GET", "/ready", "Ready to serve?", answers.Readiness, also={503: answers.Readiness}, needs_store=False)
METRICS = Route("GET", "/metrics", "Prometheus metrics.", str, content="text/plain")
STATUS = Route("GET", "/scanner/status", "How each chain is doing.", answers.Status)
LIST_INTENTS = Route("GET", "/intents", "List intents in order of creation.", answers.IntentPage)
CREATE_INTENT = Route("POST", "/intents", "Register a payment to wait for.", answers.CreatedIntent, (409,))
SHOW_INTENT = Route("GET", "/intents/{intentId}", "Show an intent.", answers.OneIntent, (404,))
CANCEL_INTENT = Route("DELETE", "/intents/{intentId}", "Cancel a pending intent.", answers.ChangedIntent, (404, 409))
LIST_TRANSFERS = Route(
    "GET", "/intents/{intentId}/transfers", "List an intent's transfers.", answers.TransferPage, (404,)
)
SHOW_PROOF = Route("GET", "/intents/{intentId}/proof", "Prove an intent's payment.", answers.OneProof, (404, 409))
RECHECK = Route("POST", "/intents/{intentId}/recheck", "Look now, for this intent.", answers.Rechecked, (404, 502))
CHECK_BALANCE = Route("POST", "/balances/check", "Read a balance now.", answers.Balance, (502,), needs_store=False)
INSPECT = Route(
    "POST",
    "/transactions/inspect",
    "Look at a transaction now.",
    answers.InspectedTransaction,
    (502,),
    needs_store=False,
)
CREATE_WATCH = Route("POST", "/balance-watches", "Watch a balance.", answers.OneWatch, (409, 502))
SHOW_WATCH = Route("GET", "/balance-watches/{watchId}", "Show a balance watch.", answers.OneWatch, (404,))
DELETE_WATCH = Route("DELETE", "/balance-watches/{watchId}", "Stop a balance watch.", answers.OneWatch, (404,))
STOP_WATCH = Route("POST", "/balance-watches/{watchId}/stop", "Stop a balance watch.", answers.OneWatch, (404,))
LIST_UNMATCHED = Route("GET", "/unmatched", "Transfers that settled nothing.", answers.UnmatchedPage)
HANDLE_UNMATCHED = Route("POST", "/unmatched/{id}/handled", "Note that it is seen to.", answers.OneUnmatched, (404,))
STATS = Route("GET", "/stats", "How a chain was doing in the last hours.", answers.Stats)
LIST_WEBHOOKS = Route("GET", "/webhooks", "What was told, and what waits to be.", answers.WebhookPage)
SHOW_WEBHOOK = Route("GET", "/webhooks/{eventId}", "Show a webhook with its tries.", answers.OneWebhook, (404,))
REDELIVER = Route(
    "POST", "/webhooks/{eventId}/redeliver", "Send a webhook again, under its id.", answers.OneWebhook, (404, 409)
)
TEST_WEBHOOK = Route("POST", "/webhooks/test", "Send a test event now.", answers.TestedWebhook, needs_store=False)
RETRY_WEBHOOKS = Route("POST", "/admin/webhooks/retry", "Retry failed webhooks now.", answers.Retried)
ROTATE_SECRET = Route("POST", "/admin/callback-secrets/rotate", "Change a callback secret.", answers.RotatedSecret)
PAYMENT_PAGE = Route("GET", "/pay/{payToken}", "The page to pay at.", str, (404, 429), content=HTML, is_open=True)
PAYMENT_EVENTS = Route(
    "GET", "/pay/{payToken}/events", "What happens to a payment, live.", str, (404, 429), content=STREAM, is_open=True
)
PAYMENT_RECHECK = Route(
    "POST", "/pay/{payToken}/recheck", "Look now, for this payment.", answers.LookedAt, (404, 429, 502), is_open=True
)
ASSET = Route(
    "GET", "/assets/{version}/{name}", "A style, a script or an icon.", str, (404,), is_open=True, needs_store=False
)
ICON = Route("GET", "/favicon.ico", "The icon.", str, is_open=True, needs_store=False)

DESCRIPTION: Route[dict[str, Any]] = Route(
    "GET", "/openapi.json", "This description.", cast("type[dict[str, Any]]", Description), needs_store=False
)
DOCS = Route("GET", "/docs", "This description, to read.", str, content=HTML, needs_store=False)

ROUTES: tuple[Route[Any], ...] = (
    HEALTH,
    READY,
    METRICS,
    STATUS,
    LIST_INTENTS,
    CREATE_INTENT,
    SHOW_INTENT,
    CANCEL_INTENT,
    LIST_TRANSFERS,
    SHOW_PROOF,
    RECHECK,
    INSPECT,
    CHECK_BALANCE,
    CREATE_WATCH,
    SHOW_WATCH,
    DELETE_WATCH,
    STOP_WATCH,
    LIST_UNMATCHED,
    HANDLE_UNMATCHED,
    STATS,
    LIST_WEBHOOKS,
    SHOW_WEBHOOK,
    TEST_WEBHOOK,
    REDELIVER,
    RETRY_WEBHOOKS,
    ROTATE_SECRET,
    PAYMENT_RECHECK,
    DESCRIPTION,
    DOCS,
)

# What browsers ask for: served like the others, and no calls of the API.
PAGES: tuple[Route[Any], ...] = (PAYMENT_PAGE, PAYMENT_EVENTS, ASSET, ICON)
