"""The pages of admins and resolvers: what they show, and what their buttons do, through the use cases of the API."""

from __future__ import annotations

import asyncio
import re
from html import unescape
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import aiohttp
import orjson
import pytest
from aiohttp import web

from kernel.pages import live
from kernel.web.listener import SHUTDOWN_S
from marketplace.payments.observation import AMOUNT_MISMATCH
from marketplace.payments.unapplied_funds import DOUBLE_CREDIT
from marketplace.risk.policy import BASELINE_MISSING, BASELINE_STALE, Reason
from marketplace.web.pages import words
from marketplace.web.pages.operations import place
from marketplace.web.pages.routes import ASSETS, PAGES
from tests.harness import FakeClock
from tests.marketplace.accepted_purchase import (
    BUYERS_WALLET,
    DONE_IN,
    SELLERS_WALLET,
    TEN,
    AcceptedPurchase,
    accept_purchase,
)
from tests.marketplace.fake_scanner import FakeScanner, news
from tests.marketplace.harness import ADMIN, ESCROW, PASSWORD, Running, environment, notes, running
from tests.marketplace.pages.conftest import sign_in
from tests.plain_browser import Browser, Page

HOSTILE = "<script>alert(1)</script>\"'&"
LINK = re.compile(r'(?:href|action)="([^"]+)"')


async def argued(purchase: AcceptedPurchase, reason: str = "It never came.") -> str:
    """Pay, and open a dispute; return its id."""
    if not purchase.payment_id:
        await purchase.fund()
    body = {"purchaseRequestId": purchase.request_id, "reason": reason, "category": "not_received"}
    return str((await purchase.buyer.ok("POST", "/api/disputes", body))["dispute"]["id"])


async def held(purchase: AcceptedPurchase) -> str:
    """Let too little be confirmed, so that the payment is held; return the path of its page."""
    await purchase.open()
    await purchase.hook(purchase.scanner.pay(purchase.payment_id, TEN - 1))
    return f"/admin/payments/{purchase.payment_id}"


def ways(browser: Browser, page: Page, path: str) -> set[str]:
    """Return the paths a page leads to, as a browser works them out."""
    found = {
        urljoin(browser.url + path, unescape(link)) for link in LINK.findall(page.text) if not link.startswith("#")
    }
    return {urlsplit(each).path for each in found if each.startswith(browser.url)}


# -- what waits ------------------------------------------------------------------------------------------


async def test_the_overview_says_what_waits_for_whom(
    purchase: AcceptedPurchase, admin: Browser, resolver: Browser
) -> None:
    await argued(purchase)

    for who in (admin, resolver):
        page = await who.get("/admin")
        assert "1 open disputes" in page.said
    assert "0 payments awaiting confirmation" in (await admin.get("/admin")).said
    assert "Health" in (await admin.get("/admin")).said
    assert "awaiting" not in (await resolver.get("/admin")).said


async def test_the_overview_is_live_and_ends_with_its_session(
    purchase: AcceptedPurchase, admin: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "EVERY_S", 0.02)
    await purchase.fund()
    async with admin.session.get(f"{admin.url}/admin/events") as response, asyncio.timeout(20):
        assert response.content_type == "text/event-stream"
        await argued(purchase)
        while b"<strong>1</strong> open disputes" not in await response.content.readline():
            pass
        await admin.submit("/admin", "/admin/logout")
        await response.content.read()

    assert response.content.at_eof()


async def test_a_live_page_does_not_hold_up_the_end(tmp_path: Path) -> None:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        async with running(environment(tmp_path)) as shop:
            visitor = Browser(shop.nobody.url, session)
            await sign_in(visitor, *ADMIN)
            response = await session.get(f"{visitor.url}/admin/events")
            await response.content.readline()
            ends = asyncio.get_running_loop().time()
        took = asyncio.get_running_loop().time() - ends
        await response.content.read()

    assert took < SHUTDOWN_S


async def test_live_pages_have_a_bound(admin: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MAX_STREAMS", 1)
    async with admin.session.get(f"{admin.url}/admin/events"):
        page = await admin.get("/admin/events")

    assert (page.status, page.headers["Retry-After"]) == (429, "10")


async def test_what_awaits_confirmation_says_why_and_is_ended(purchase: AcceptedPurchase, admin: Browser) -> None:
    path = await held(purchase)

    listed = await admin.get("/admin/awaiting")
    shown = await admin.get(path)
    done = await admin.submit("/admin/awaiting", f"{path}/cancel")
    recovered = await admin.get("/admin/recoveries")

    for page in (listed, shown):
        assert "insufficient_amount" in page.said
        assert words.HELD[Reason.INSUFFICIENT_AMOUNT] in page.said
    assert (done.status, (await purchase.payment())["status"]) == (303, "cancelled")
    assert "insufficient_amount" in recovered.said
    assert "9.999999999999999999 USDT" in recovered.said
    assert "None." in (await admin.get("/admin/awaiting")).said


async def test_a_payment_is_looked_at_again(purchase: AcceptedPurchase, admin: Browser) -> None:
    await purchase.open()
    path = f"/admin/payments/{purchase.payment_id}"

    nothing = await admin.submit(path, f"{path}/check")
    purchase.scanner.pay(purchase.payment_id)
    funded = await admin.submit(path, f"{path}/check")
    purchase.scanner.down = True
    another = await accept_purchase(purchase.market, purchase.scanner, purchase.clock)
    await another.open()
    away = await admin.submit(f"/admin/payments/{another.payment_id}", f"/admin/payments/{another.payment_id}/check")

    assert (nothing.status, "it is funded" in nothing.said) == (200, False)
    assert (funded.status, "it is funded" in funded.said) == (200, True)
    assert (away.status, "cannot be read now" in away.said) == (503, True)


async def test_a_watch_is_stopped(purchase: AcceptedPurchase, admin: Browser) -> None:
    await purchase.open("direct_balance", mode="watch")
    path = f"/admin/payments/{purchase.payment_id}"

    done = await admin.submit(path, f"{path}/stop-watch")

    assert (done.status, (await purchase.payment())["stopReason"]) == (303, "manual")
    assert "Stop watch" not in (await admin.get(path)).said
    again = await accept_purchase(purchase.market, purchase.scanner, purchase.clock)
    await again.open()
    none = f"/admin/payments/{again.payment_id}"
    assert (await admin.submit(none, f"{none}/stop-watch")).status == 409


# -- money that leaves -----------------------------------------------------------------------------------


async def test_a_release_is_ordered_carried_out_and_told(purchase: AcceptedPurchase, admin: Browser) -> None:
    await purchase.fund()
    path = f"/admin/payments/{purchase.payment_id}"
    early = await admin.submit(path, f"{path}/release", toAddress=SELLERS_WALLET)
    await purchase.buyer.ok("PATCH", purchase.path("confirm-delivery"))
    wrong = await admin.submit(path, f"{path}/release", toAddress=ESCROW)
    missing = await admin.submit(path, f"{path}/release", toAddress="")
    ordered = await admin.submit(path, f"{path}/release", toAddress=SELLERS_WALLET)
    listed = await admin.get("/admin/instructions?status=pending")
    (settle,) = {each for each in ways(admin, listed, "/admin/instructions") if each.endswith("/settle")}
    nonsense = await admin.submit("/admin/instructions", settle, txHash="0x12")
    order = (await purchase.market.admin.ok("GET", "/api/admin/instructions"))["payouts"][0]["instruction"]
    purchase.scanner.carries_out(order, tx=DONE_IN)
    settled = await admin.submit("/admin/instructions", settle, txHash=DONE_IN)
    another = await admin.submit("/admin", settle, txHash="0x" + "cd" * 32)

    assert (early.status, "cannot be released yet: not_delivered" in early.said) == (409, True)
    assert (wrong.status, "address of this escrow" in wrong.said) == (422, True)
    assert (missing.status, "toAddress is required" in missing.said) == (422, True)
    assert ordered.status == 303
    for words_ in ("release", "10 USDT", f"{TEN} base units", SELLERS_WALLET, ESCROW):
        assert words_ in listed.said
    assert (nonsense.status, "no transaction hash" in nonsense.said) == (422, True)
    assert (settled.status, (await purchase.payment())["escrowState"]) == (303, "released")
    assert another.status == 409
    assert DONE_IN in (await admin.get("/admin/instructions?status=released")).said
    assert "None." in (await admin.get("/admin/instructions?status=pending")).said
    story = (await admin.get(path)).said
    assert story.index("Opened") < story.index("Payment detected") < story.index("Hold") < story.index("Release 2")


async def test_a_refund_names_its_reason(purchase: AcceptedPurchase, admin: Browser) -> None:
    await purchase.fund()
    path = f"/admin/payments/{purchase.payment_id}"

    short = await admin.submit(path, f"{path}/refund", toAddress=BUYERS_WALLET, reason="no")
    ordered = await admin.submit(path, f"{path}/refund", toAddress=BUYERS_WALLET, reason="It never came.")

    assert (short.status, 'value="no"' in short.text) == (422, True)
    assert (ordered.status, (await purchase.payment())["escrowState"]) == (303, "releasing")
    assert "It never came." in (await admin.get(path)).said


async def test_a_payment_is_held_and_let_go(purchase: AcceptedPurchase, admin: Browser) -> None:
    await purchase.fund()
    path = f"/admin/payments/{purchase.payment_id}"

    wrong = await admin.submit(path, f"{path}/hold", until="tomorrow")
    await admin.submit(path, f"{path}/hold", until="2100-01-01T00:00:00Z")
    holding = (await purchase.payment())["holdUntil"]
    await admin.submit(path, f"{path}/hold", until="")

    assert (wrong.status, "RFC 3339" in wrong.said) == (422, True)
    assert (holding, (await purchase.payment())["holdUntil"]) == ("2100-01-01T00:00:00.000Z", None)


async def test_a_reorganisation_is_cleared_with_a_note(purchase: AcceptedPurchase, admin: Browser) -> None:
    await purchase.fund()
    path = f"/admin/payments/{purchase.payment_id}"
    with purchase.market.opened() as store:
        store.execute("UPDATE payments SET reorged_at = 1 WHERE id = ?", [purchase.payment_id])

    warned = await admin.get(path)
    refused = await admin.submit(path, f"{path}/refund", toAddress=BUYERS_WALLET, reason="It never came.")
    empty = await admin.submit(path, f"{path}/clear-reorg", note=" ")
    done = await admin.submit(path, f"{path}/clear-reorg", note="It stands in block 7.")

    assert "may be gone from the chain" in warned.said
    assert "/refund" not in warned.text
    assert "/release" not in warned.text
    assert (refused.status, empty.status, done.status) == (409, 422, 303)
    assert (await purchase.payment())["reorgedAt"] is None


# -- disputes --------------------------------------------------------------------------------------------


async def test_a_resolver_looks_after_a_dispute_and_resolves_it(purchase: AcceptedPurchase, resolver: Browser) -> None:
    path = f"/admin/disputes/{await argued(purchase)}"
    me = re.search(r"assignedTo=([0-9a-f-]+)", (await resolver.get("/admin")).text)
    assert me is not None

    assert (await resolver.submit(path, f"{path}/assign", userId=me[1])).status == 303
    mine = await resolver.get(f"/admin/disputes?assignedTo={me[1]}&status=open")
    assert re.search(r"not_received open It never came. you PAY-", mine.said)
    said = await resolver.submit(path, f"{path}/evidence", text="I asked both.", link="https://x.test/1")
    wrong = await resolver.submit(path, f"{path}/evidence", text="I asked both.", link="javascript:alert(1)")
    short = await resolver.submit(path, f"{path}/resolve", outcome="refund", note="x")
    odd = await resolver.submit(path, f"{path}/resolve", outcome="coin", note="It never came.")
    done = await resolver.submit(path, f"{path}/resolve", outcome="refund", note="It never came.")
    late = await resolver.submit("/admin", f"{path}/evidence", text="Too late.")

    assert (said.status, wrong.status, short.status, odd.status, done.status, late.status) == (
        *(303, 422, 422, 422, 303, 409),
    )
    shown = await resolver.get(path)
    for text in ("refund", "It never came.", "I asked both.", "by you"):
        assert text in shown.said
    assert 'href="https://x.test/1"' in shown.text
    assert "javascript:" not in shown.text
    assert "/resolve" not in shown.text
    assert (await purchase.payment())["escrowState"] == "funded"


async def test_a_dispute_is_talked_about_moved_and_split(purchase: AcceptedPurchase, resolver: Browser) -> None:
    about = await argued(purchase)
    path = f"/admin/disputes/{about}"
    written = await resolver.submit(path, f"{path}/messages", text=HOSTILE)
    await purchase.buyer.ok("POST", f"/api/disputes/{about}/messages", {"text": "On Monday."}, 201)
    moved = await resolver.submit(path, f"{path}/deadline", dueAt="2027-01-31T12:00:00Z")
    past = await resolver.submit(path, f"{path}/deadline", dueAt="2020-01-31T12:00:00Z")
    shown = await resolver.get(path)
    ruling = {"outcome": "split", "note": "Half broken."}
    refused = await resolver.submit(path, f"{path}/resolve", **ruling)
    split = await resolver.submit(path, f"{path}/resolve", **ruling, buyerBps="2500")

    assert (written.status, moved.status, past.status, refused.status, split.status) == (303, 303, 422, 422, 303)
    assert "On Monday." in shown.said
    assert HOSTILE not in shown.text
    assert "2027-01-31" in shown.text
    assert "split (25 % to the buyer)" in (await resolver.get(path)).said
    assert "To be decided by" in (await resolver.get("/admin/disputes?overdue=false")).said


async def test_the_parts_of_a_split_are_ordered_one_by_one(purchase: AcceptedPurchase, admin: Browser) -> None:
    about, path = await argued(purchase), f"/admin/payments/{purchase.payment_id}"
    ruling = {"outcome": "split", "note": "Half broken.", "buyerBps": 2_500}
    await purchase.market.admin.ok("POST", f"/api/disputes/{about}/resolve", ruling)

    page = await admin.get(path)
    refund = await admin.submit(path, f"{path}/refund", toAddress=BUYERS_WALLET, reason="a quarter")
    release = await admin.submit(path, f"{path}/release", toAddress=SELLERS_WALLET)

    assert "2.5 USDT to the buyer, 7.5 USDT to the seller" in page.said
    assert "Order the refund of 2.5 USDT" in page.said
    assert "Order the release of 7.5 USDT" in page.said
    assert (refund.status, release.status) == (303, 303)
    given = (await purchase.market.admin.ok("GET", "/api/admin/instructions"))["payouts"]
    assert sorted(each["instruction"]["amount"] for each in given) == ["2.5", "7.5"]


async def test_an_admin_says_who_looks_after_a_dispute(
    purchase: AcceptedPurchase, admin: Browser, resolver: Browser
) -> None:
    about = await argued(purchase)
    path = f"/admin/disputes/{about}"
    page = await admin.get(path)
    ruth = re.search(r'<option value="([0-9a-f-]+)">Ruth \(resolver\)', page.text)
    assert ruth is not None

    await admin.submit(path, f"{path}/assign", userId=ruth[1])
    told = await resolver.get("/admin/notifications")
    nobody = await admin.submit(path, f"{path}/assign", userId="")
    buyer = await admin.submit(path, f"{path}/assign", userId=purchase.buyer.user_id)

    assert "dispute_assigned" in told.said
    assert f"disputes/{about}" in told.text
    assert (nobody.status, buyer.status) == (303, 422)
    assert "has to be an admin or a resolver" in buyer.said


async def test_an_admin_sees_who_people_are_and_a_resolver_sees_their_sides(
    purchase: AcceptedPurchase, admin: Browser, resolver: Browser
) -> None:
    path = f"/admin/disputes/{await argued(purchase)}"
    payment = f"/admin/payments/{purchase.payment_id}"

    assert re.search(r"by buyer, Buyer \(buyer-\d+@example.test\)", (await admin.get(path)).said)
    assert re.search(r"Buyer \(buyer-\d+@example.test\)", (await admin.get(payment)).said)
    for page in (await resolver.get(path), await resolver.get(payment)):
        assert "buyer-" not in page.said
    assert re.search(r"by buyer Reason", (await resolver.get(path)).said)
    assert purchase.buyer.user_id in (await resolver.get(payment)).said


async def test_a_resolver_is_offered_nothing_that_would_be_refused(
    purchase: AcceptedPurchase, resolver: Browser
) -> None:
    about = await argued(purchase)
    theirs = {(m, re.compile(re.sub(r"{\w+}", "[^/]+", p))) for m, p, _, roles in PAGES if "resolver" in roles}
    for path in (
        "/admin",
        "/admin/disputes",
        f"/admin/disputes/{about}",
        f"/admin/payments/{purchase.payment_id}",
        "/admin/notifications",
        "/admin/nowhere",
    ):
        offered = {way for way in ways(resolver, await resolver.get(path), path) if way.startswith("/admin")}
        assert offered
        assert [way for way in offered if not any(pattern.fullmatch(way) for _, pattern in theirs)] == [], path


# -- people, networks, the ledger, what one is told ------------------------------------------------------


async def test_people_are_found_and_added(market: Running, admin: Browser) -> None:
    new = {"name": "Zoe", "email": "zoe@example.test", "password": PASSWORD, "role": "seller"}

    added = await admin.submit("/admin/users", "/admin/users", **new)
    taken = await admin.submit("/admin/users", "/admin/users", **new)
    king = await admin.submit("/admin/users", "/admin/users", **{**new, "role": "king"})
    found = await admin.get("/admin/users?q=ZOE&role=")
    none = await admin.get("/admin/users?q=zoe&role=buyer")

    assert (added.status, taken.status, king.status) == (303, 409, 422)
    assert 'value="zoe@example.test"' in taken.text
    assert PASSWORD not in taken.text
    assert "zoe@example.test" in found.said
    assert ("None." in none.said, "zoe@" in none.said) == (True, False)
    users = (await market.admin.ok("GET", "/api/admin/users?role=seller"))["users"]
    assert [user["name"] for user in users] == ["Zoe"]


async def test_pages_lead_on(market: Running, admin: Browser, clock: FakeClock) -> None:
    for _ in range(25):
        clock.advance(1)
        await market.user("buyer")

    first = await admin.get("/admin/users?role=buyer")
    more = re.search(r'href="([^"]+)" rel="next"', first.text)
    assert more is not None
    rest = await admin.get(urljoin("/admin/users", unescape(more[1])))
    refused = await admin.submit("/admin/users", "/admin/users", name="x")

    emails = re.findall(r"buyer-\d+@example.test", first.text + rest.text)
    assert (len(emails), len(set(emails))) == (25, 25)
    assert 'rel="next"' not in rest.text
    onward = re.search(r'href="([^"]+)" rel="next"', refused.text)
    assert onward is not None
    assert (await admin.get(urljoin("/admin/users", unescape(onward[1])))).status == 200


async def test_confirmations_are_raised_and_never_below_the_floor(market: Running, admin: Browser) -> None:
    raised = await admin.submit("/admin/networks", "/admin/networks/threshold", chainId="97", confirmations="9")
    refused = [
        await admin.submit("/admin/networks", "/admin/networks/threshold", chainId=chain, confirmations=number)
        for chain, number in (("97", "1"), ("97", "x"), ("97", "9" * 30), ("999", "9"), ("", ""), ("97", "²"))
    ]
    shown = await admin.get("/admin/networks")

    assert raised.status == 303
    assert [page.status for page in refused] == [422] * 6
    assert "must be at least" in refused[0].said
    current = (await market.admin.ok("GET", "/api/admin/settings/confirmation-thresholds"))["thresholds"]
    assert {each["chainId"]: each["confirmations"] for each in current}[97] == 9
    assert re.search(r"UTC 97 9 ", shown.said)


async def test_the_rate_of_a_seller_is_set_and_taken_back(
    market: Running, purchase: AcceptedPurchase, admin: Browser
) -> None:
    seller = purchase.seller.user_id
    given = {"sellerId": seller, "note": HOSTILE}
    done = await admin.submit("/admin/fees", "/admin/fees", bps="250", **given)
    refused = [await admin.submit("/admin/fees", "/admin/fees", bps=bps, **given) for bps in ("10000", "x", "-1")]
    own = await admin.get(f"/admin/fees?sellerId={seller}&inForce=true")
    await admin.submit("/admin/fees", "/admin/fees", bps="", **given)
    back = await admin.get("/admin/fees?sellerId=&inForce=true")

    assert (done.status, [page.status for page in refused]) == (303, [422] * 3)
    assert "2.5 % yes" in own.said
    assert HOSTILE not in own.text
    assert "None." in back.said
    found = await market.admin.ok("GET", "/api/admin/fees")
    assert [each["bps"] for each in found["changes"]] == [None, 250]


async def test_networks_are_shown_as_both_services_know_them(
    market: Running, fake_scanner: FakeScanner, admin: Browser
) -> None:
    shown = await admin.get("/admin/networks")
    fake_scanner.down = True
    market.marketplace.clock.advance(11)  # type: ignore[attr-defined]  # the tests' own clock

    without = await admin.get("/admin/networks")

    assert "the scanner does not watch it" in shown.text
    assert "The scanner cannot be asked" not in shown.text
    assert "The scanner cannot be asked" in without.text
    assert "the scanner does not watch it" not in without.text


async def test_the_page_of_a_payment_says_what_its_amount_was_quoted_by(
    market: Running, fake_scanner: FakeScanner, clock: FakeClock, admin: Browser
) -> None:
    quoted = await accept_purchase(market, fake_scanner, clock, "10", "USD")
    plain = await accept_purchase(market, fake_scanner, clock)
    await quoted.open()
    await plain.open()

    shown = await admin.get(f"/admin/payments/{quoted.payment_id}")
    other = await admin.get(f"/admin/payments/{plain.payment_id}")

    assert "10 USD at 1" in shown.text
    assert "no source of prices is configured" in shown.text
    assert "<h2>Quote</h2>" not in other.text


async def test_the_ledger_is_compared(purchase: AcceptedPurchase, admin: Browser) -> None:
    await purchase.fund()
    fine = await admin.get("/admin/reconciliation")
    with purchase.market.opened() as store:
        store.execute("UPDATE payments SET escrow_state = 'released' WHERE id = ?", [purchase.payment_id])
    broken = await admin.get("/admin/reconciliation")

    assert "all is one story" in fine.said
    assert "escrow_ledger_mismatch" in broken.said
    assert f"payments/{purchase.payment_id}" in broken.text


async def test_long_lists_are_cut_and_say_so(
    purchase: AcceptedPurchase, admin: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("marketplace.web.pages.operations.SHOWN_FINDINGS", 1)
    monkeypatch.setattr("marketplace.web.pages.operations.SHOWN_HISTORY", 2)
    await purchase.fund()
    another = await accept_purchase(purchase.market, purchase.scanner, purchase.clock)
    await another.fund()
    with purchase.market.opened() as store:
        store.execute("UPDATE payments SET escrow_state = 'released'")
    for number in ("21", "22", "23"):
        await admin.submit("/admin/networks", "/admin/networks/threshold", chainId="97", confirmations=number)

    findings = await admin.get("/admin/reconciliation")
    networks = await admin.get("/admin/networks")

    assert re.search(r"[1-9] findings. Findings, the first 1 ", findings.said)
    assert findings.text.count('scope="row"') == 1
    assert re.findall(r"<td>(2[123])</td>", networks.text) == ["23", "22"]


async def test_a_notification_is_marked_as_read(purchase: AcceptedPurchase, admin: Browser) -> None:
    about = await argued(purchase)
    page = await admin.get("/admin/notifications")
    all_of_them = "/admin/notifications/read"
    (read,) = {each for each in ways(admin, page, "/admin/notifications") if each.endswith("/read")} - {all_of_them}

    assert ("dispute_opened", about) in await notes(purchase.market.admin)
    assert (await admin.submit("/admin/notifications", read)).status == 303
    assert "Mark as read" not in (await admin.get("/admin/notifications")).said
    assert (
        await admin.submit("/admin", read.replace(read.split("/")[3], "0" * 8 + read.split("/")[3][8:]))
    ).status == 404


@pytest.mark.parametrize(
    ("url", "leads_to"),
    [
        ("/payments/1", "/admin/payments/1"),
        ("/disputes/1", "/admin/disputes/1"),
        ("/requests/1", None),
        ("//evil.example/x", None),
        ("javascript:alert(1)", None),
        ("", None),
        (None, None),
    ],
)
def test_a_notification_leads_to_a_page_of_ours_or_nowhere(url: str | None, leads_to: str | None) -> None:
    assert place(url) == leads_to


# -- what strangers write --------------------------------------------------------------------------------


async def test_what_a_stranger_writes_is_text_and_nothing_else(
    purchase: AcceptedPurchase, admin: Browser, resolver: Browser
) -> None:
    purchase.scanner.public_url = f"https://pay.example.test/{HOSTILE.replace(' ', '')}"
    await purchase.fund()
    about = await argued(purchase, reason=HOSTILE)
    evidence = {"text": HOSTILE, "link": f"https://x.test/{HOSTILE}"}
    await purchase.buyer.ok("POST", f"/api/disputes/{about}/evidence", evidence)
    await purchase.market.user("buyer", name=HOSTILE, email=f"a{HOSTILE}@example.test")
    with purchase.market.opened() as store:  # whatever a scanner of another version may name
        store.execute(
            "UPDATE payments SET tx_hash = ?, reason = ?, evidence = ?", [HOSTILE, HOSTILE, f'"{HOSTILE[:8]}"']
        )
        store.execute("UPDATE notifications SET title = ?", [HOSTILE])
    dispute = f"/admin/disputes/{about}"
    pages = [
        *[await admin.get(path) for path in (dispute, f"/admin/payments/{purchase.payment_id}")],
        *[await admin.get(path) for path in ("/admin/disputes", "/admin/users", "/admin/notifications")],
        *[await admin.get(path, params={"q": HOSTILE}) for path in ("/admin/users", "/admin/payments")],
        *[await resolver.get(path) for path in (dispute, "/admin/disputes")],
        await admin.submit(dispute, f"{dispute}/resolve", outcome=HOSTILE, note=HOSTILE),
        await admin.submit("/admin/users", "/admin/users", name=HOSTILE, email=HOSTILE, password="x", role=HOSTILE),
        await admin.submit("/admin/users", "/admin/login", email=HOSTILE, password="x"),
    ]

    for page in pages:
        assert "<script>alert" not in page.text
        assert "<script" not in page.text.replace("<script type", "").replace("<script defer", "")
    assert all(HOSTILE in page.said for page in pages[:5])


async def test_what_the_scanner_or_a_chain_names_is_text_and_nothing_else(
    purchase: AcceptedPurchase, admin: Browser
) -> None:
    """Most of it is checked before it is stored; pages do not count on that."""
    await admin.submit("/admin", f"{await held(purchase)}/cancel")
    refunded = await accept_purchase(purchase.market, purchase.scanner, purchase.clock)
    await refunded.fund()
    await refunded.refund()
    about = await argued(await accept_purchase(purchase.market, purchase.scanner, purchase.clock))
    with purchase.market.opened() as store:
        store.execute("UPDATE recoveries SET reason = ?, token_address = ?, last_tx_hash = ?", [HOSTILE] * 3)
        store.execute(
            "UPDATE payments SET destination = ?, token_symbol = ?, token_address = ?, hold_reason = ?", [HOSTILE] * 4
        )
        store.execute("UPDATE disputes SET category = ?", [HOSTILE])
        store.execute("UPDATE payments SET status = 'processing' WHERE id = ?", [purchase.payment_id])
    reasons = orjson.dumps({"status": "not_ready", "reasons": [HOSTILE]}).decode()
    purchase.scanner.lies["/ready"] = lambda _: web.Response(status=503, text=reasons, content_type="application/json")

    for path in (
        "/admin",
        "/admin/awaiting",
        "/admin/payments",
        f"/admin/payments/{refunded.payment_id}",
        "/admin/recoveries",
        "/admin/instructions",
        "/admin/disputes",
        f"/admin/disputes/{about}",
    ):
        page = await admin.get(path)
        assert (page.status, HOSTILE in page.said, "<script>alert" in page.text) == (200, True, False), path


async def test_what_is_not_there_is_a_page_that_says_so(admin: Browser) -> None:
    nothing = "00000000-0000-4000-8000-000000000000"
    for path in (f"/admin/payments/{nothing}", f"/admin/disputes/{nothing}", "/admin/nowhere"):
        page = await admin.get(path)
        assert (page.status, "Overview" in page.said) == (404, True), path


async def test_a_filter_that_is_none_is_said_to_be_so(admin: Browser) -> None:
    for path, status in (
        ("/admin/disputes?status=odd", 422),
        ("/admin/disputes?assignedTo=x", 400),
        ("/admin/instructions?status=odd", 422),
        ("/admin/users?role=king", 422),
        ("/admin/payments?page=0", 422),
        ("/admin/payments?limit=101", 422),
        ("/admin/users?q=%00", 400),
        ("/admin/payments/x", 400),
    ):
        assert (await admin.get(path)).status == status, path


async def test_a_failure_of_ours_is_a_page_without_its_insides(
    admin: Browser, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a secret inside")

    monkeypatch.setattr("marketplace.web.pages.users.next_page", fail)

    page = await admin.get("/admin/users")

    assert (page.status, "it was logged" in page.said, "a secret" in page.text) == (500, True, False)
    assert "GET /admin/users failed" in caplog.text


def test_every_reason_has_a_sentence() -> None:
    held_for = {AMOUNT_MISMATCH, DOUBLE_CREDIT, BASELINE_MISSING, BASELINE_STALE, *Reason} - {Reason.AML_NOT_REQUIRED}

    assert set(words.HELD) == held_for


def test_the_assets_are_small() -> None:
    assert ASSETS.packed_bytes < 60 * 1024


async def test_a_payment_is_followed_to_the_scanners_page(purchase: AcceptedPurchase, admin: Browser) -> None:
    payment = (await purchase.open("direct"))["payment"]
    await purchase.hook(news(purchase.scanner.intents[payment["id"]], "payment.detected"))

    shown = await admin.get(f"/admin/payments/{payment['id']}")

    assert f'href="{payment["paymentUrl"]}" target="_blank" rel="noopener noreferrer"' in shown.text
    assert "waits for confirmations" in (await admin.get("/admin/awaiting")).said
    assert payment["paymentRef"] in (await admin.get("/admin/payments")).said
