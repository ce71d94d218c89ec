"""What sellers put into their shops, and how it is bought."""

from __future__ import annotations

import uuid
from typing import Any

from tests.marketplace.harness import MARKET, Api


def template_body(**fields: Any) -> dict[str, Any]:
    """Return a template that is accepted."""
    return {
        "title": "A poster",
        "description": "Printed on paper.",
        "productType": "physical_product",
        "price": {"amount": "10", "currency": "USDT"},
        "deliveryTime": {"amount": 2, "unit": "days"},
        **fields,
    }


def checkout_body(*share_ids: str, quantity: int = 1, **fields: Any) -> dict[str, Any]:
    """Return a cart that is accepted."""
    return {
        "checkoutId": str(uuid.uuid4()),
        "lines": [{"shareId": share_id, "quantity": quantity} for share_id in share_ids],
        "rail": "proxy",
        "chainId": 97,
        "token": "USDT",
        **fields,
    }


async def new_template(seller: Api, **fields: Any) -> dict[str, Any]:
    return dict((await seller.ok("POST", f"{MARKET}/templates", template_body(**fields), 201))["template"])
