"""An id matches whole: a line break behind it makes it another text, everywhere it is read."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
from yarl import URL

from tests.harness import intent_body
from tests.marketplace.accepted_purchase import AcceptedPurchase
from tests.service_contract.services import SCANNER

BEHIND = ["\n", "\r", "\r\n", "\0", "\u2028", "\x85", " "]


@pytest.mark.parametrize("behind", BEHIND)
async def test_the_scanner_refuses_an_id_with_something_behind_it(tmp_path: Path, behind: str) -> None:
    async with SCANNER.running(SCANNER.environment(tmp_path)) as running:
        for body in (intent_body(intentId="nl-1" + behind), intent_body(intentId=behind + "nl-1")):
            status, answer = await running.api.call("POST", "/intents", body)
            assert (status, answer["code"]) == (400, "invalid_request")
        assert (await running.api.get("/intents"))["intents"] == []


@pytest.mark.parametrize("behind", BEHIND)
async def test_the_marketplace_refuses_an_id_with_something_behind_it(purchase: AcceptedPurchase, behind: str) -> None:
    for path, body in (
        ("/api/marketplace/purchase-requests/%s/select-offer", {"offerId": str(uuid.uuid4()) + behind}),
        (
            "/api/disputes",
            {"purchaseRequestId": purchase.request_id + behind, "reason": "never came", "category": "other"},
        ),
        ("/api/payment/intents", purchase.intent() | {"purchaseRequestId": purchase.request_id + behind}),
        ("/api/marketplace/purchase-requests/%s/delivery-code/verify", {"code": "123456" + behind}),
    ):
        person = purchase.seller if "verify" in path else purchase.buyer
        status, answer = await person.call("POST", path.replace("%s", purchase.request_id), body)
        code = "verify" in path and behind == " "
        expected = (422, "invalid") if code else (400, "bad_request")
        assert (status, answer["error"]["code"]) == expected, (path, answer)


@pytest.mark.parametrize("behind", ["%0A", "%0D", "%00", "%20", "%C2%85", "0", "%2F"])
@pytest.mark.parametrize(
    "path",
    [
        "/api/payment/%s",
        "/api/disputes/%s",
        "/api/marketplace/purchase-requests/%s",
        "/api/marketplace/offers/%s/rounds",
        "/api/marketplace/purchase-requests/%s/delivery-code/status",
    ],
)
async def test_the_marketplace_refuses_a_path_with_something_behind_its_id(
    purchase: AcceptedPurchase, path: str, behind: str
) -> None:
    """Not as one that is not there: a look-up by a text with a line break behind it finds what `$` let through."""
    url = URL(purchase.buyer.url + path.replace("%s", str(uuid.uuid4()) + behind), encoded=True)
    async with purchase.buyer.session.get(url, headers={"Authorization": f"Bearer {purchase.buyer.token}"}) as response:
        answer = await response.json()
    assert (response.status, answer["error"]["code"]) == (400, "bad_request")


def test_an_address_of_mail_matches_whole() -> None:
    from pydantic import TypeAdapter, ValidationError  # noqa: PLC0415

    from marketplace.errors import Refused  # noqa: PLC0415
    from marketplace.web.fields import Email  # noqa: PLC0415

    adapter = TypeAdapter(Email)
    assert adapter.validate_python(" a@example.test ") == "a@example.test"
    for wrong in ("a@b\nc", "a b@c", "@b", "a@", "a@b@c"):
        with pytest.raises((ValidationError, Refused)):
            adapter.validate_python(wrong)
