"""The pages of the console: what they show, and what their buttons do, through the same use cases as the API."""

from __future__ import annotations

import asyncio
import csv
import hashlib
import io
import re
from html import unescape
from pathlib import Path

import aiohttp
import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from api.console import csv_files, unmatched
from chains.types import Rail
from devnet.receiver import receiver
from kernel.pages import live
from kernel.web.listener import SHUTDOWN_S
from scanner import events, ingest
from scanner.model import IntentStatus, Reason
from scanner.store import intents, outbox, samples
from scanner.store.samples import Sample
from tests.api.conftest import KEY
from tests.harness import ROOT, USDT, Running, environment, running
from tests.plain_browser import Browser
from tests.scanner.facts import a_hash, a_transfer, an_intent

HOSTILE = "<script>alert(1)</script>\"'&"


async def stray(daemon: Running, **fields: object) -> str:
    """Let a transfer of nobody's be seen; return the id of its row."""
    async with daemon.database.write() as tx:
        transfer = a_transfer(an_intent("nobody"), **fields)
        await ingest.record_page(tx, 97, [transfer], now=1, late_ms=1, moment=1)
    return str((await daemon.api.unmatched())[-1]["id"])


async def untold(daemon: Running, intent_id: str, url: str) -> str:
    """Register an intent, and queue an event about it; return its id."""
    await daemon.api.create(intentId=intent_id, callbackUrl=url)
    async with daemon.database.write() as tx:
        intent = await intents.get(tx, intent_id)
        assert intent is not None
        row = events.expired(intent, daemon.daemon.redelivery._clock.now_ms())
        await outbox.add(tx, [row])
    daemon.daemon.dispatcher.wakeup.wake()
    return str(row["event_id"])


async def stands(daemon: Running, event_id: str, status: str) -> None:
    async with asyncio.timeout(10):
        while (await daemon.api.get(f"/webhooks/{event_id}"))["webhook"]["status"] != status:  # noqa: ASYNC110 - seen over HTTP alone
            await asyncio.sleep(0.02)


async def test_the_overview_shows_every_chain_and_problems_first(daemon: Running, operator: Browser) -> None:
    await daemon.api.create(intentId="waits")
    async with asyncio.timeout(10):
        while (await daemon.api.chain())["state"] != "failing":  # noqa: ASYNC110 - seen over HTTP alone
            await asyncio.sleep(0.02)

    page = await operator.get("/console")

    assert page.status == 200
    assert page.said.index("failing") < page.said.index("webhooks pending") < page.said.index("Endpoint")
    assert re.search(r'status=pending&amp;chainId=97">1<', page.text)


async def test_the_overview_is_live(daemon: Running, operator: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "EVERY_S", 0.05)
    async with operator.session.get(f"{operator.url}/console/events") as response:
        assert response.content_type == "text/event-stream"

        async def until(text: str) -> None:
            async with asyncio.timeout(10):
                while text not in unescape((await response.content.readline()).decode()):
                    pass

        await until("event: part")
        await daemon.api.create(intentId="new")
        await until('status=pending&chainId=97">1<')


async def test_a_live_page_ends_with_its_session(operator: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "EVERY_S", 0.05)
    async with operator.session.get(f"{operator.url}/console/events") as response:
        await response.content.readline()
        await operator.submit("/console", "/console/logout")

        async with asyncio.timeout(10):
            await response.content.read()

    assert response.content.at_eof()


async def test_a_live_page_does_not_hold_up_the_end(tmp_path: Path) -> None:
    env = environment(tmp_path, "http://127.0.0.1:9", SCANNER_API_KEY=KEY, POLL_INTERVAL_SEC="3600")
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        async with running(env) as daemon:
            operator = Browser(daemon.api.url, session)
            await operator.sign_in("/console/login", key=KEY)
            response = await session.get(f"{daemon.api.url}/console/events")
            await response.content.readline()
            ends = asyncio.get_running_loop().time()
        took = asyncio.get_running_loop().time() - ends
        await response.content.read()

    assert took < SHUTDOWN_S


async def test_live_pages_have_a_bound(operator: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MAX_STREAMS", 1)
    async with operator.session.get(f"{operator.url}/console/events"):
        page = await operator.get("/console/events")

    assert page.status == 429


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["second", "first"]),
        ("q=first", ["first"]),
        ("q=nobody", []),
        ("status=pending", ["second", "first"]),
        ("status=confirmed&q=&rail=", []),
        ("rail=direct", ["second"]),
        ("createdTo=2020-01-01T00:00:00Z", []),
    ],
)
async def test_intents_are_found_and_filtered(daemon: Running, operator: Browser, query: str, found: list[str]) -> None:
    await daemon.api.create(intentId="first")
    await daemon.api.create(intentId="second", rail="direct", destination="0x" + "5" * 40)

    page = await operator.get(f"/console/intents?{query}")

    assert page.status == 200
    assert re.findall(r'href="[^"]*console/intents/([^"]+)"', page.text) == found


@pytest.mark.parametrize("query", ["status=odd", "createdFrom=yesterday", "limit=x", "cursor=!", "q=" + "x" * 201])
async def test_a_filter_that_is_none_is_said_to_be_so(operator: Browser, query: str) -> None:
    assert (await operator.get(f"/console/intents?{query}")).status == 400


async def test_pages_of_intents_lead_on(daemon: Running, operator: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.console.intents.SHOWN", 2)
    for n in range(3):
        await daemon.api.create(intentId=f"order-{n}")

    page = await operator.get("/console/intents?status=pending")
    more = re.search(r'href="(\?[^"]+)" rel="next"', page.text)
    assert more is not None
    rest = await operator.get(f"/console/intents{unescape(more[1])}")

    assert re.findall(r'href="[^"]*console/intents/([^"]+)"', page.text + rest.text) == [
        "order-2",
        "order-1",
        "order-0",
    ]
    assert 'rel="next"' not in rest.text


async def test_an_intent_tells_its_story(daemon: Running, operator: Browser) -> None:
    created = await daemon.api.create(intentId="story")
    async with daemon.database.write() as tx:
        intent = await intents.get(tx, "story")
        assert intent is not None
        paid = a_transfer(intent, amount=400, tx_hash=a_hash("part"))
        await ingest.record_page(tx, 97, [paid], now=intent.created_at, late_ms=1, moment=intent.created_at)

    page = await operator.get("/console/intents/story")

    for words in ("Registered", "Seen", "counts", "Waiting for the payment", created["paymentReference"]):
        assert words in page.said
    assert f"/tx/{a_hash('part')}" in page.text


async def test_an_intent_is_cancelled(daemon: Running, operator: Browser) -> None:
    await daemon.api.create(intentId="gone")

    page = await operator.submit("/console/intents/gone", "/console/intents/gone/cancel")
    again = await operator.get("/console/intents/gone")

    assert (page.status, page.headers["Location"]) == (303, "../../../console/intents/gone")
    assert (await daemon.api.intent("gone"))["cancelledAt"] is not None
    assert "Cancelled" in again.said
    assert "/cancel" not in again.text


async def test_a_recheck_says_why_it_could_not_look(daemon: Running, operator: Browser) -> None:
    await daemon.api.create(intentId="asked")
    path = "/console/intents/asked"

    nonsense = await operator.submit(path, f"{path}/recheck", txHash="0x12")
    unreachable = await operator.submit(path, f"{path}/recheck", txHash="0x" + "1" * 64)
    endless = await operator.submit(path, f"{path}/recheck", txHash="1" * 129)

    assert (nonsense.status, unreachable.status, endless.status) == (400, 502, 400)
    assert "64 hex digits" in nonsense.said
    assert "cannot be read" in unreachable.said


async def test_what_a_stranger_names_is_text_and_nothing_else(daemon: Running, operator: Browser) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(status=500, text=HOSTILE)

    app = web.Application()
    app.router.add_post("/", answer)
    async with TestServer(app) as hooks:
        event_id = await untold(daemon, "hostile", str(hooks.make_url("/")))
        async with asyncio.timeout(10):
            while not (await daemon.api.get(f"/webhooks/{event_id}"))["webhook"]["tries"]:  # noqa: ASYNC110 - seen over HTTP alone
                await asyncio.sleep(0.02)
        pages = [
            await operator.get(path)
            for path in (f"/console/webhooks/{event_id}", "/console/intents/hostile", "/console/webhooks")
        ]
        pages.append(await operator.get("/console/intents", params={"q": HOSTILE}))

    assert all("<script>alert" not in page.text for page in pages)
    assert HOSTILE in pages[0].said


async def test_an_unmatched_amount_is_shown_as_its_token_counts_it(daemon: Running, operator: Browser) -> None:
    await stray(daemon, token=USDT.lower(), amount=1_500_000_000_000_000_000)
    await stray(daemon, tx_hash=a_hash("other"), amount=7)

    page = await operator.get("/console/unmatched")

    assert re.findall(r"<td>(?:<bdi[^>]*>)?(?:<span[^>]*>)?([0-9.]+)(?:</span> <span[^>]*>(\w+))?", page.text) == [
        ("1.5", "USDT"),
        ("7", ""),
    ]


async def test_chains_and_processes_are_listed(operator: Browser) -> None:
    page = await operator.get("/console/chains")

    assert 'href="../console/chains/97"' in page.text
    assert "node-1, version" in page.said
    assert "leads 97" in page.said


async def test_unmatched_says_why_and_is_marked_as_handled(daemon: Running, operator: Browser) -> None:
    row = await stray(daemon)

    before = await operator.get("/console/unmatched")
    done = await operator.submit("/console/unmatched", f"/console/unmatched/{row}/handled", note="sent back")
    after = await operator.get("/console/unmatched?reason=unknown_reference&chainId=97")

    assert unmatched.WHY[Reason.UNKNOWN_REFERENCE] in before.said
    assert (done.status, "sent back" in after.said) == (303, True)
    assert re.fullmatch(r"console-1-[0-9a-f]{8}", (await daemon.api.unmatched())[0]["handled"]["by"])


@pytest.mark.parametrize("note", ["", "  ", "x" * 1001])
async def test_a_note_has_bounds(daemon: Running, operator: Browser, note: str) -> None:
    row = await stray(daemon)

    page = await operator.submit("/console/unmatched", f"/console/unmatched/{row}/handled", note=note)

    assert page.status == 400


def test_every_reason_has_a_sentence() -> None:
    assert set(unmatched.WHY) == set(Reason)


async def test_a_table_holds_no_formula(daemon: Running, operator: Browser) -> None:
    """A spreadsheet runs what begins so; whoever pays, or writes a note, chooses some of the texts."""
    row = await stray(daemon, sender="=1+1")
    await operator.submit("/console/unmatched", f"/console/unmatched/{row}/handled", note="@SUM(A1)")

    page = await operator.get("/console/unmatched.csv")

    (heads, cells) = csv.reader(io.StringIO(page.text))
    found = dict(zip(heads, cells, strict=True))
    assert page.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert page.headers["Content-Disposition"] == 'attachment; filename="unmatched.csv"'
    assert (found["sender"], found["handledNote"]) == ("'=1+1", "'@SUM(A1)")
    assert (found["reason"], found["amount"]) == ("unknown_reference", "1000")


@pytest.mark.parametrize(
    "text", ["=1", "+1", "-1", "@a", "\ta", "\ra", "\na", "\uff1d1", "\uff0b1", "\uff0d1", "\uff20a"]
)
def test_what_a_spreadsheet_takes_for_a_formula_is_quoted(text: str) -> None:
    assert csv_files.cell(text) == f"'{text}"


async def test_intents_as_a_table(daemon: Running, operator: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(5):
        await daemon.api.create(intentId=f"order-{n}")

    page = await operator.get("/console/intents.csv?status=pending")
    monkeypatch.setattr(csv_files, "MAX_ROWS", 2)
    bounded = await operator.get("/console/intents.csv")

    assert [row[0] for row in csv.reader(io.StringIO(page.text))][1:] == [f"order-{n}" for n in range(5)]
    assert len(bounded.text.splitlines()) == 3


async def test_a_webhook_is_sent_again(daemon: Running, operator: Browser) -> None:
    async with receiver() as hooks:
        event_id = await untold(daemon, "told", hooks.url())
        await stands(daemon, event_id, "delivered")
        path = f"/console/webhooks/{event_id}"

        page = await operator.submit(path, f"{path}/redeliver")
        await hooks.wait_for(2)
        await stands(daemon, event_id, "delivered")
        shown = await operator.get(path)

    assert page.status == 303
    assert "Tries: 2" in shown.said
    assert '"eventType":"intent.expired"' in shown.said


@pytest.mark.parametrize("by_receiver", [True, False])
async def test_all_that_failed_is_sent_again(daemon: Running, operator: Browser, by_receiver: bool) -> None:
    async with receiver() as hooks, receiver() as others:
        for each in (hooks, others):
            each.behave(statuses=(410, 200))
        mine, theirs = await untold(daemon, "mine", hooks.url()), await untold(daemon, "theirs", others.url())
        await stands(daemon, mine, "failed")
        await stands(daemon, theirs, "failed")
        fields = {"receiver": hooks.url("").removeprefix("http://")} if by_receiver else {}

        await operator.submit("/console/webhooks", "/console/webhooks/redeliver", **fields)
        await stands(daemon, mine, "delivered")
        if not by_receiver:
            await stands(daemon, theirs, "delivered")

        failed = (await daemon.api.get("/webhooks?status=failed"))["webhooks"]
    assert [each["eventId"] for each in failed] == ([theirs] if by_receiver else [])


async def test_a_test_event_is_sent(operator: Browser) -> None:
    async with receiver() as hooks:
        page = await operator.submit(
            "/console/webhooks", "/console/webhooks/test", callbackUrl=hooks.url(), callbackSecret="s", eventType=""
        )
    wrong = await operator.submit(
        "/console/webhooks", "/console/webhooks/test", callbackUrl="ftp://x", callbackSecret="s"
    )

    assert (page.status, hooks.deliveries[0].json["test"]) == (200, True)
    assert re.search(r"200 in \d+ ms", page.said)
    assert (wrong.status, "http(s)" in wrong.said) == (400, True)


async def test_watches_are_listed_and_stopped(
    daemon: Running, operator: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.console.watches.SHOWN", 2)
    body = {"chainId": 97, "token": "USDT", "baselineBalance": "0", "callbackUrl": "http://127.0.0.1:9/"}
    for n in range(3):
        more = {"watchId": f"watch-{n}", "address": "0x" + f"{n + 1}" * 40, "callbackSecret": "s"}
        assert (await daemon.api.call("POST", "/balance-watches", body | more))[0] == 200

    page = await operator.get("/console/watches")
    more_link = re.search(r'href="(\?[^"]+)" rel="next"', page.text)
    assert more_link is not None
    rest = await operator.get(f"/console/watches{unescape(more_link[1])}")
    assert set(re.findall(r"watches/(watch-\d)/stop", page.text + rest.text)) == {"watch-0", "watch-1", "watch-2"}
    await operator.submit("/console/watches", "/console/watches/watch-1/stop")

    assert (await daemon.api.get("/balance-watches/watch-1"))["watch"]["status"] == "stopped"
    left = await operator.get("/console/watches")
    assert sorted(re.findall(r"watches/(watch-\d)/stop", left.text)) == ["watch-0", "watch-2"]


async def test_a_chain_shows_its_endpoints_and_what_its_graphs_draw(daemon: Running, operator: Browser) -> None:
    now = daemon.daemon.redelivery._clock.now_ms()
    async with daemon.database.write() as tx:
        await samples.add(tx, 97, Sample(now, 1234, 7, 2500))

    page = await operator.get("/console/chains/97")
    drawn = await operator.get("/console/chains/97/stats")

    assert "127.0.0.1:9#1" in page.said
    assert re.search(r"worst lag, 24 h 7 s", page.said)
    assert re.search(r"slowest detection, 24 h 2.5 s", page.said)
    assert orjson.loads(drawn.text)["points"][-1]["head"] == 1234
    for name in ("uplot.js", "uplot.css", "graphs.js"):
        (path,) = re.findall(rf'(?:src|href)="../..(/assets/[^"]+/{name})"', page.text)
        assert (await operator.get(path)).status == 200


@pytest.mark.parametrize(
    "path",
    [
        "/console/chains/1",
        "/console/chains/x",
        "/console/chains/" + "9" * 30,
        "/console/intents/nobody",
        "/console/webhooks/nobody",
        "/console/nowhere",
    ],
)
async def test_what_is_not_there_is_a_page_that_says_so(operator: Browser, path: str) -> None:
    page = await operator.get(path)

    assert page.status == 404
    assert "Overview" in page.said


@pytest.mark.parametrize("status", list(IntentStatus))
async def test_an_intent_of_every_status_has_a_page(daemon: Running, operator: Browser, status: IntentStatus) -> None:
    paid = {"tx_hash": a_hash("t"), "confirmed_at": 1, "block_number": 1, "confirmations": 9}
    settled = status in {IntentStatus.CONFIRMED, IntentStatus.WEBHOOK_FAILED, IntentStatus.CONFIRMING}
    async with daemon.database.write() as tx:
        made = an_intent("made", status=status, rail=Rail.DIRECT, **(paid if settled else {}))
        await intents.add_many(tx, [made])

    page = await operator.get("/console/intents/made")

    assert page.status == 200
    assert status in page.said


def test_what_is_vendored_is_what_was_published() -> None:
    for path, facts in orjson.loads((ROOT / "locks/vendored.json").read_bytes()).items():
        assert hashlib.sha256((ROOT / path).read_bytes()).hexdigest() == facts["sha256"], path
