"""Whatever a machine makes up from the served description, no answer is a failure of ours."""

from __future__ import annotations

import asyncio

import hypothesis
import pytest
import schemathesis
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from marketplace.web.routes import ROUTES, STREAM
from tests.marketplace.accepted_purchase import AcceptedPurchase

# 500 is described nowhere, so it fails the last one.
CHECKS = [content_type_conformance, response_schema_conformance, status_code_conformance]
EXAMPLES = 12


def explore(url: str, token: str) -> set[tuple[str, str]]:
    """Try every operation but the endless one; return which there were."""
    headers = {"Authorization": f"Bearer {token}"}
    tried = set()
    for result in schemathesis.openapi.from_url(f"{url}/openapi.json").get_all_operations():
        operation = result.ok()
        if operation.path == STREAM:
            continue

        @hypothesis.settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(case=operation.as_strategy())
        def check(case: schemathesis.Case) -> None:
            case.call_and_validate(base_url=url, headers=headers, checks=CHECKS, timeout=10)

        check()
        tried.add((operation.method.upper(), operation.path))
    return tried


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("who", ["admin", "buyer", "seller"])
@pytest.mark.timeout(300)
async def test_nothing_made_up_from_the_description_breaks_it(purchase: AcceptedPurchase, who: str) -> None:
    await purchase.fund()
    token = {"admin": purchase.market.admin, "buyer": purchase.buyer, "seller": purchase.seller}[who].token
    assert token is not None

    tried = await asyncio.to_thread(explore, purchase.buyer.url, token)

    assert tried == {(route.method, route.path) for route in ROUTES} - {("GET", STREAM), ("GET", "/openapi.json")}
