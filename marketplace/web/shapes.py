"""What answers look like, as the description tells it: every field, whether it may be null, and nothing else."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from marketplace import model

Schema = dict[str, Any]
TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}
COUNT: Schema = {"type": "integer", "minimum": 0}
WHOLE: Schema = {"type": "integer"}
TIME: Schema = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"}
UNITS: Schema = {"type": "string", "pattern": "^-?[0-9]+$"}
MONEY: Schema = {"type": "string", "pattern": r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?$"}
OPEN: Schema = {"type": "object"}  # evidence and the scanner's own block: what is in them depends on what was seen


def obj(optional: dict[str, Schema] | None = None, /, **fields: Schema) -> Schema:
    """Return an object with these fields, of which the optional ones may be missing, and no other."""
    return {
        "type": "object",
        "required": list(fields),
        "properties": {**fields, **(optional or {})},
        "additionalProperties": False,
    }


def null(schema: Schema) -> Schema:
    """Return a schema that null fits too."""
    if "enum" in schema:
        return {"enum": [*schema["enum"], None]}
    if isinstance(schema.get("type"), str) and schema["type"] != "object":
        return {**schema, "type": [schema["type"], "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


def word(kind: type[StrEnum]) -> Schema:
    return {"enum": [str(each) for each in kind]}


def many(schema: Schema) -> Schema:
    return {"type": "array", "items": schema}


def page(name: str, schema: Schema) -> Schema:
    """Return one page of a list."""
    return obj(**{name: many(schema)}, total=COUNT, page=COUNT, limit=COUNT)


PRICE = obj(amount=MONEY, currency=TEXT)
USER = obj(id=TEXT, email=TEXT, role=word(model.Role), name=TEXT)
TOKENS = obj(accessToken=TEXT, refreshToken=TEXT)
REQUEST = obj(
    id=TEXT,
    status=word(model.RequestStatus),
    buyerId=TEXT,
    title=TEXT,
    description=TEXT,
    productType=word(model.ProductType),
    productLink=null(TEXT),
    quantity=COUNT,
    budget=obj(min=MONEY, max=MONEY, currency=TEXT),
    urgency=TEXT,
    deliveryInfo=obj(deliveryType=TEXT, email=null(TEXT)),
    selectedOfferId=null(TEXT),
    deliveryConfirmed=FLAG,
    deliveryProof=null(OPEN),
    deliveredAt=null(TIME),
    confirmedAt=null(TIME),
    createdAt=TIME,
    updatedAt=TIME,
)
OFFER = obj(
    id=TEXT,
    purchaseRequestId=TEXT,
    sellerId=TEXT,
    title=TEXT,
    description=TEXT,
    price=PRICE,
    deliveryTime=obj(amount=COUNT, unit=TEXT),
    notes=null(TEXT),
    validUntil=null(TIME),
    requireAmlCheck=FLAG,
    amlBlockOnFailure=FLAG,
    status=word(model.OfferStatus),
    createdAt=TIME,
    updatedAt=TIME,
)
ROUND = obj(
    id=TEXT,
    offerId=TEXT,
    round=COUNT,
    by=TEXT,
    price=PRICE,
    note=null(TEXT),
    answer=null(TEXT),
    expiresAt=TIME,
    createdAt=TIME,
)
PAYMENT = obj(
    id=TEXT,
    paymentRef=TEXT,
    purchaseRequestId=TEXT,
    sellerOfferId=TEXT,
    buyerId=TEXT,
    sellerId=TEXT,
    provider=TEXT,
    providerPaymentId=null(TEXT),
    direction=word(model.Direction),
    rail=word(model.Rail),
    mode=null(word(model.Mode)),
    chainId=COUNT,
    tokenAddress=TEXT,
    tokenSymbol=TEXT,
    decimals=COUNT,
    amount=MONEY,
    amountBaseUnits=UNITS,
    destination=null(TEXT),
    status=word(model.PaymentStatus),
    escrowState=null(word(model.EscrowState)),
    confirmationsRequired=COUNT,
    evidence=null(OPEN),
    txHash=null(TEXT),
    holdReason=null(TEXT),
    holdUntil=null(TIME),
    reorgedAt=null(TIME),
    stopReason=null(word(model.StopReason)),
    baselineBalance=null(MONEY),
    baselineBalanceBaseUnits=null(UNITS),
    currentBalance=null(MONEY),
    currentBalanceBaseUnits=null(UNITS),
    reason=null(TEXT),
    settlesPaymentId=null(TEXT),
    expiresAt=null(TIME),
    createdAt=TIME,
    updatedAt=TIME,
)
INSTRUCTIONS = obj(
    {
        "baselineBalance": null(MONEY),
        "baselineBalanceBaseUnits": null(UNITS),
        "watchId": TEXT,
        "nextCheckAt": null(TIME),
    },
    address=TEXT,
    tokenAddress=TEXT,
    tokenSymbol=TEXT,
    decimals=COUNT,
    chainId=COUNT,
    amount=MONEY,
    amountBaseUnits=UNITS,
    paymentUri=null(TEXT),
    expiresAt=null(TIME),
)
LEDGER = obj(
    held=MONEY,
    releasable=MONEY,
    available=MONEY,
    heldBaseUnits=UNITS,
    releasableBaseUnits=UNITS,
    availableBaseUnits=UNITS,
    currency=TEXT,
)
CHECKED = obj(
    payment=PAYMENT,
    funded=FLAG,
    reason=null(TEXT),
    delta=MONEY,
    deltaBaseUnits=UNITS,
    expected=MONEY,
    expectedBaseUnits=UNITS,
    currency=TEXT,
)
ORDERED = obj(
    payment=PAYMENT,
    instruction=obj(
        id=TEXT,
        kind={"enum": ["release", "refund"]},
        chainId=COUNT,
        tokenAddress=TEXT,
        tokenSymbol=TEXT,
        **{"from": TEXT},
        to=TEXT,
        amount=MONEY,
        amountBaseUnits=UNITS,
        status={"enum": ["pending", "released"]},
        txHash=null(TEXT),
        createdAt=TIME,
    ),
)
RECOVERY = obj(
    id=TEXT,
    paymentId=TEXT,
    reason=TEXT,
    amountBaseUnits=null(UNITS),
    tokenAddress=null(TEXT),
    count={"type": "integer", "minimum": 1},
    txHash=null(TEXT),
    lastTxHash=null(TEXT),
    evidence=OPEN,
    createdAt=TIME,
    updatedAt=TIME,
)
CLEARED = obj(payment=PAYMENT, clearances=many(obj(reorgedAt=TIME, note=TEXT, clearedBy=TEXT, clearedAt=TIME)))
EVIDENCE = obj(id=TEXT, by=TEXT, text=TEXT, link=null(TEXT), createdAt=TIME)
DISPUTE = obj(
    {"evidence": many(EVIDENCE)},
    id=TEXT,
    purchaseRequestId=TEXT,
    paymentId=TEXT,
    openedBy=TEXT,
    reason=TEXT,
    category=TEXT,
    status=word(model.DisputeStatus),
    outcome=null(word(model.DisputeOutcome)),
    note=null(TEXT),
    resolvedBy=null(TEXT),
    resolvedAt=null(TIME),
    createdAt=TIME,
)
NOTE = obj(
    id=TEXT,
    category=TEXT,
    type=TEXT,
    title=TEXT,
    relatedId=null(TEXT),
    actionUrl=null(TEXT),
    read=FLAG,
    createdAt=TIME,
)
THRESHOLDS = obj(
    thresholds=many(obj(chainId=COUNT, floor=COUNT, confirmations=COUNT)),
    history=many(obj(chainId=COUNT, confirmations=COUNT, setBy=TEXT, createdAt=TIME)),
)
CHECK = obj({"detail": TEXT}, status={"enum": ["ok", "degraded", "down"]})
SCREENING = obj({"detail": TEXT}, status={"enum": ["ok", "degraded", "down"]}, entries=COUNT, unreadable=COUNT)
HEALTH = obj(
    status={"enum": ["ok", "degraded", "down"]},
    version=TEXT,
    uptimeSec=WHOLE,
    checks=obj(db=CHECK, scanner=CHECK, webhooks=CHECK, ledger=CHECK, registry=CHECK, screening=SCREENING),
)
OPENED = obj(payment=PAYMENT, checkoutBlock=OPEN), obj(payment=PAYMENT, instructions=INSTRUCTIONS)
TAKEN = obj(outcome=TEXT, funded=FLAG)

_MARKET = "/api/marketplace"
_REQUEST = f"{_MARKET}/purchase-requests/{{id}}"
_OFFER = f"{_MARKET}/offers/{{id}}"
_ADMIN = "/api/admin"
_DISPUTE = "/api/disputes/{id}"

# What each call answers by status, inside `data`.
ANSWERS: dict[tuple[str, str], dict[int, Schema]] = {
    ("GET", "/health"): {200: obj(status=TEXT)},
    ("GET", "/api/version"): {200: obj(version=TEXT)},
    ("GET", "/api/health"): {200: HEALTH, 503: HEALTH},
    ("POST", "/api/auth/login"): {200: obj(tokens=TOKENS, user=USER)},
    ("POST", "/api/auth/refresh-token"): {200: obj(tokens=TOKENS)},
    ("GET", "/api/auth/me"): {200: obj(user=USER)},
    ("POST", f"{_ADMIN}/users"): {201: obj(user=USER)},
    ("POST", f"{_MARKET}/purchase-requests"): {201: obj(purchaseRequest=REQUEST)},
    ("GET", f"{_MARKET}/purchase-requests"): {200: page("purchaseRequests", REQUEST)},
    ("GET", f"{_MARKET}/purchase-requests/my"): {200: page("purchaseRequests", REQUEST)},
    ("GET", _REQUEST): {200: obj(purchaseRequest=REQUEST)},
    ("POST", f"{_REQUEST}/offers"): {201: obj(offer=OFFER)},
    ("POST", f"{_REQUEST}/select-offer"): {200: obj(purchaseRequest=REQUEST, offer=OFFER)},
    ("GET", f"{_MARKET}/offers"): {200: page("offers", OFFER)},
    ("PATCH", _OFFER): {200: obj(offer=OFFER)},
    ("POST", f"{_OFFER}/withdraw"): {200: obj(offer=OFFER)},
    ("POST", f"{_OFFER}/counter"): {201: obj(round=ROUND)},
    ("POST", f"{_OFFER}/counter/answer"): {200: obj(offer=OFFER)},
    ("GET", f"{_OFFER}/rounds"): {200: obj(rounds=many(ROUND))},
    ("PATCH", f"{_REQUEST}/delivery"): {200: obj(purchaseRequest=REQUEST)},
    ("PATCH", f"{_REQUEST}/confirm-delivery"): {200: obj(purchaseRequest=REQUEST)},
    ("POST", f"{_REQUEST}/delivery-code/generate"): {200: obj(code=TEXT, expiresAt=TIME)},
    ("POST", f"{_REQUEST}/delivery-code/verify"): {200: obj(purchaseRequest=REQUEST)},
    ("GET", f"{_REQUEST}/delivery-code/status"): {
        200: obj(active=FLAG, used=FLAG, attemptsLeft=COUNT, expiresAt=null(TIME))
    },
    ("POST", "/api/payment/intents"): {
        200: {"anyOf": list(OPENED)},
        201: {"anyOf": list(OPENED)},
        202: obj(payment=PAYMENT),
    },
    ("GET", "/api/payment/history"): {200: page("payments", PAYMENT)},
    ("POST", "/api/payment/amn-scanner/webhook"): {200: TAKEN, 202: TAKEN},
    ("POST", "/api/payment/amn-scanner/direct-balance/check/{paymentId}"): {200: CHECKED},
    ("GET", "/api/payment/{id}"): {200: obj(payment=PAYMENT, ledger=LEDGER)},
    ("POST", "/api/payment/{id}/cancel"): {200: obj(payment=PAYMENT)},
    ("GET", f"{_ADMIN}/payments/awaiting-confirmation"): {200: page("payments", PAYMENT)},
    ("POST", f"{_ADMIN}/payments/{{id}}/release"): {200: ORDERED},
    ("POST", f"{_ADMIN}/payments/{{id}}/refund"): {200: ORDERED},
    ("POST", f"{_ADMIN}/payments/{{id}}/hold"): {200: obj(payment=PAYMENT)},
    ("POST", f"{_ADMIN}/payments/{{id}}/clear-reorg"): {200: CLEARED},
    ("POST", f"{_ADMIN}/payments/{{id}}/stop-watch"): {200: obj(payment=PAYMENT)},
    ("POST", f"{_ADMIN}/instructions/{{id}}/settle"): {200: ORDERED},
    ("GET", f"{_ADMIN}/recoveries"): {200: page("recoveries", RECOVERY)},
    ("GET", f"{_ADMIN}/reconciliation"): {
        200: obj(ok=FLAG, checked=COUNT, findings=many(obj(kind=TEXT, paymentId=TEXT, detail=TEXT)))
    },
    ("GET", f"{_ADMIN}/settings/confirmation-thresholds"): {200: THRESHOLDS},
    ("PUT", f"{_ADMIN}/settings/confirmation-thresholds"): {200: THRESHOLDS},
    ("POST", "/api/disputes"): {201: obj(dispute=DISPUTE)},
    ("GET", _DISPUTE): {200: obj(dispute=DISPUTE)},
    ("POST", f"{_DISPUTE}/evidence"): {201: obj(dispute=DISPUTE)},
    ("POST", f"{_DISPUTE}/resolve"): {200: obj(dispute=DISPUTE)},
    ("GET", "/api/notifications"): {200: page("notifications", NOTE)},
    ("GET", "/api/notifications/unread-count"): {200: obj(count=COUNT)},
    ("PATCH", "/api/notifications/{id}/read"): {200: obj(notification=NOTE)},
}
