"""Whoever has a pay token sees one payment and nothing else, so often and no more."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from api.app import PAGE_ASSETS
from api.keys import SERVICES
from api.pay import doors, events
from kernel.errors import StoreError
from scanner.checkout import payments
from scanner.checkout.payments import BUSY_S
from scanner.services import Services
from tests.harness import SECRET, USDT, FakeClock, Running, environment, running

KEY = "a-key-for-tests"
PUBLIC = "https://pay.example"
CALLBACK = "http://127.0.0.1:9/hook"
DIRECT = "0x5000000000000000000000000000000000000001"
HASH = "0x" + "ab" * 32


@dataclass
class Shop:
    """A scanner buyers can reach, a buyer without a key, and the store behind it."""

    scanner: Running
    buyer: aiohttp.ClientSession
    store: Path
    clock: FakeClock

    @property
    def services(self) -> Services:
        return self.scanner.daemon.app[SERVICES]

    async def token(self, **fields: Any) -> str:
        created = await self.scanner.api.create(**fields)
        return str(created["paymentUrl"]).rsplit("/", 1)[1]

    @asynccontextmanager
    async def get(self, path: str, **more: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        async with self.buyer.get(self.scanner.api.url + path, **more) as response:
            yield response

    async def page(self, path: str, **more: Any) -> tuple[int, str]:
        async with self.get(path, **more) as response:
            return response.status, await response.text()

    async def look(self, token: str, body: Any = None, **more: Any) -> tuple[int, Any, Any]:
        url = f"{self.scanner.api.url}/pay/{token}/recheck"
        async with self.buyer.post(url, json={} if body is None else body, **more) as response:
            return response.status, await response.json(), response.headers

    async def write(self, statement: str, *values: Any) -> None:
        """Change the store beside the scanner, which is in this loop: it may be in the middle of a transaction."""
        async with self.scanner.database.write() as tx:
            await tx.exec_driver_sql(statement, values)


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    env = environment(
        tmp_path, "http://127.0.0.1:9", SCANNER_API_KEY=KEY, SCANNER_PUBLIC_URL=PUBLIC, POLL_INTERVAL_SEC="3600"
    )
    clock = FakeClock()
    async with running(env, clock=clock) as scanner, aiohttp.ClientSession() as buyer:
        yield Shop(scanner, buyer, tmp_path / "scanner.db", clock)


async def test_a_page_shows_what_to_pay_without_a_script(shop: Shop) -> None:
    token = await shop.token(
        rail="direct",
        destination=DIRECT,
        amount="12500000000000000000",
        checkout={"title": "Order <7> & more", "description": "Two chairs"},
    )

    status, text = await shop.page(f"/pay/{token}")

    assert status == 200
    for shown in ("Order &lt;7&gt; &amp; more", "Two chairs", "BSC Testnet", ">12.5<", ">USDT<", DIRECT, USDT):
        assert shown in text
    assert 'data-copy="12.5"' in text
    assert f"https://testnet.bscscan.com/address/{DIRECT}" in text
    assert f"ethereum:{USDT}@97/transfer?address={DIRECT}&amp;uint256=12500000000000000000" in text
    assert 'src="data:image/svg+xml' in text


async def test_a_page_is_kept_by_nobody_and_loads_nothing_from_elsewhere(shop: Shop) -> None:
    async with shop.get(f"/pay/{await shop.token()}") as response:
        headers, text = response.headers, await response.text()

    assert headers["Content-Security-Policy"] == "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'"
    assert (headers["Cache-Control"], headers["Referrer-Policy"]) == ("no-store", "no-referrer")
    assert "noindex" in headers["X-Robots-Tag"]
    assert '<meta name="robots" content="noindex' in text
    # Addresses of scripts, styles and images are relative or lie in the page; nothing runs in the page itself.
    assert all(re.match(r"\.\./assets/|data:image/", url) for url in re.findall(r'\ssrc="([^"]*)"', text))
    assert re.findall(r"<script(?![^>]* src=)|<style|\son\w+=|\sstyle=", text) == []


async def test_who_may_frame_it_is_for_the_operator_to_say(tmp_path: Path) -> None:
    more = {"SCANNER_PUBLIC_URL": PUBLIC, "SCANNER_CHECKOUT_FRAME_ANCESTORS": "https://shop.example"}
    async with (
        running(environment(tmp_path, "http://127.0.0.1:9", **more)) as scanner,
        aiohttp.ClientSession() as buyer,
    ):
        token = (await scanner.api.create())["paymentUrl"].rsplit("/", 1)[1]
        for path in (f"/pay/{token}", "/pay/unknown"):
            async with buyer.get(scanner.api.url + path) as response:
                assert response.headers["Content-Security-Policy"].endswith("frame-ancestors https://shop.example")


async def test_nothing_of_the_backend_can_be_reached_through_a_token(shop: Shop) -> None:
    token = await shop.token(intentId="intent-of-the-backend", callbackUrl=CALLBACK)
    other = await shop.token(intentId="another", checkout={"title": "Somebody else's"})
    await shop.write("UPDATE intents SET status = 'expired', cancelled_at = 1 WHERE intent_id = 'another'")
    with sqlite3.connect(shop.store) as store:
        salt, sealed = store.execute(
            "SELECT salt, callback_secret FROM intents WHERE pay_token = ?", [token]
        ).fetchone()
    async with shop.get(f"/pay/{token}/events") as response:
        told = await response.content.readuntil(b"\n\n") + await response.content.readuntil(b"\n\n")
    texts = [
        (await shop.page(f"/pay/{token}"))[1],
        told.decode(),
        json.dumps((await shop.look(token))[1]),
        json.dumps((await shop.look(token, {"txHash": "nonsense"}))[1]),
    ]

    for text in texts:
        for secret in (
            SECRET,
            CALLBACK,
            salt,
            sealed,
            KEY,
            "intent-of-the-backend",
            other,
            "Somebody else",
            "127.0.0.1:9",
        ):
            assert secret not in text, secret


@pytest.mark.parametrize(
    "path",
    ["/intents", "/intents/{token}", "/pay", "/pay/", "/pay/{token}/", "/pay/{token}/intent", "/assets", "/metrics"],
)
async def test_a_token_opens_no_other_door(shop: Shop, path: str) -> None:
    token = await shop.token()

    status, text = await shop.page(path.format(token=token), headers={"Authorization": f"Bearer {token}"})

    assert (status, json.loads(text)["code"]) == (401, "unauthorized")


async def test_an_unknown_token_is_a_page_that_says_so(shop: Shop) -> None:
    for token in ("x", "a" * 22, "a" * 4_000, "%00", "..%2f..", "' OR 1=1 --"):
        status, text = await shop.page(f"/pay/{token}")
        assert (status, "There is no such payment" in text) == (404, True), token
        status, answer, _ = await shop.look(token)
        assert (status, answer["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("query", "locale", "browser", "language"),
    [
        ("", None, "", 'lang="en" dir="ltr"'),
        ("?lang=fa", "en", "en", 'lang="fa" dir="rtl"'),
        ("?lang=de", "fa-IR", "en", 'lang="fa" dir="rtl"'),
        ("", None, "fa-IR,fa;q=0.9,en;q=0.8", 'lang="fa" dir="rtl"'),
        ("?lang=" + "x" * 2_000, None, "", 'lang="en" dir="ltr"'),
    ],
)
async def test_the_language_of_a_page(shop: Shop, query: str, locale: str | None, browser: str, language: str) -> None:
    token = await shop.token(checkout={"locale": locale})

    _, text = await shop.page(f"/pay/{token}{query}", headers={"Accept-Language": browser})

    assert f"<html {language}>" in text


CONFIRMED = "status = 'confirmed', tx_hash = '0xcd', confirmed_at = 1"


@pytest.mark.parametrize(
    ("change", "state", "says", "asks_for_money"),
    [
        ("amount_received = '0'", "waiting", "Waiting for your payment", True),
        ("amount_received = '400'", "partial", "0.0000000000000006 USDT", True),
        ("status = 'confirming', tx_hash = '0xcd', amount_received = '1000'", "seen", "Your payment was seen", False),
        (f"{CONFIRMED}, amount_received = '1000'", "paid", "https://shop.example/done", False),
        (f"{CONFIRMED}, amount_received = '1500'", "paid", "0.0000000000000005 USDT", False),
        (f"{CONFIRMED}, amount_received = '0'", "reorged", "Your payment is not on the chain any more", False),
        ("expires_at = 1", "time_up", "Time is up. If you paid in time, it will be found.", False),
        ("status = 'expired', expired_at = 1", "expired", "This payment has expired", False),
        ("status = 'expired', expired_at = 1, amount_received = '400'", "expired", "has arrived", False),
        ("status = 'expired', cancelled_at = 1", "cancelled", "This payment was cancelled", False),
    ],
)
async def test_a_page_says_where_a_payment_stands(
    shop: Shop, change: str, state: str, says: str, asks_for_money: bool
) -> None:
    fields: dict[str, Any] = {"amount": "1000", "checkout": {"redirectUrl": "https://shop.example/done"}}
    token = await shop.token(rail="direct", destination=DIRECT, **fields)
    await shop.write(f"UPDATE intents SET {change} WHERE pay_token = ?", token)  # noqa: S608 - of the table above

    _, text = await shop.page(f"/pay/{token}")

    assert f'data-state="{state}"' in text
    assert says in text
    assert ('id="qr"' in text) is asks_for_money
    assert (DIRECT in text) is asks_for_money


async def test_the_code_for_the_rest_names_the_rest(shop: Shop) -> None:
    token = await shop.token(rail="direct", destination=DIRECT, amount="1000")
    await shop.write("UPDATE intents SET amount_received = '400' WHERE pay_token = ?", token)

    _, text = await shop.page(f"/pay/{token}")

    assert "uint256=600" in text
    assert "uint256=1000" not in text


async def test_an_open_page_is_told_what_happens(shop: Shop) -> None:
    token = await shop.token(amount="1000")
    async with shop.get(f"/pay/{token}/events?lang=fa") as response:
        assert response.content_type == "text/event-stream"
        first = await next_event(response)
        await shop.write("UPDATE intents SET amount_received = '400' WHERE pay_token = ?", token)
        second = await next_event(response)

    assert (first["state"], second["state"]) == ("waiting", "partial")
    assert "بخشی هنوز مانده است" in second["parts"]["status"]["html"]
    assert first["parts"]["status"]["digest"] != second["parts"]["status"]["digest"]
    assert (first["wallet"]["amount"], second["wallet"]["amount"]) == ("1000", "600")


async def test_a_live_page_that_cannot_go_on_is_broken_off_so_that_it_connects_again(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Left open it would be silent, and the buyer would wait in front of what was."""
    token = await shop.token(amount="1000")
    async with shop.get(f"/pay/{token}/events") as response:
        await next_event(response)

        def failing(*_: Any) -> bytes:
            raise StoreError("the store failed")

        monkeypatch.setattr(events, "_event", failing)
        await shop.write("UPDATE intents SET amount_received = '400' WHERE pay_token = ?", token)
        with pytest.raises(aiohttp.ClientError):
            await next_event(response)


async def test_time_that_runs_out_is_told(shop: Shop) -> None:
    token = await shop.token()
    async with shop.get(f"/pay/{token}/events") as response:
        await next_event(response)
        shop.clock.advance(86_401)

        assert (await next_event(response))["state"] == "time_up"


async def next_event(response: aiohttp.ClientResponse) -> dict[str, Any]:
    async with asyncio.timeout(10):
        while True:
            block = await response.content.readuntil(b"\n\n")
            if block.startswith(b"event: payment\ndata: "):
                return dict(json.loads(block.split(b"data: ", 1)[1]))


async def test_open_pages_are_bounded_and_closing_one_makes_room(shop: Shop) -> None:
    token = await shop.token()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as buyers:
        url = f"{shop.scanner.api.url}/pay/{token}/events"
        opened = [await buyers.get(url) for _ in range(doors.MAX_OPEN_A_PAYMENT)]
        async with buyers.get(url) as refused:
            assert (refused.status, (await refused.json())["code"]) == (429, "rate_limited")
            assert refused.headers["Retry-After"] == "30"
        assert (await shop.page(f"/pay/{token}"))[0] == 200
        opened[0].close()
        async with asyncio.timeout(10):
            while (again := await buyers.get(url)).status != 200:
                again.close()
                await asyncio.sleep(0.05)
        for each in [*opened, again]:
            each.close()


def test_open_pages_of_a_client_and_of_all_are_bounded() -> None:
    from contextlib import ExitStack  # noqa: PLC0415

    open_pages = doors.OpenPages(most=doors.MAX_OPEN_A_CLIENT + 5)
    with ExitStack() as stack:
        for i in range(doors.MAX_OPEN_A_CLIENT):
            stack.enter_context(open_pages.opened(f"p{i}", "one"))
        with pytest.raises(doors.ApiError):
            stack.enter_context(open_pages.opened("another", "one"))
        for i in range(5):
            stack.enter_context(open_pages.opened(f"q{i}", f"c{i}"))
        with pytest.raises(doors.ApiError):
            stack.enter_context(open_pages.opened("another", "another"))
    with open_pages.opened("another", "another"):  # all are forgotten when they are closed
        assert open_pages._by_client == {"another": 1}


async def test_the_end_of_the_process_ends_open_pages(tmp_path: Path) -> None:
    env = environment(tmp_path, "http://127.0.0.1:9", SCANNER_PUBLIC_URL=PUBLIC, POLL_INTERVAL_SEC="3600")
    async with aiohttp.ClientSession() as buyer:
        async with running(env) as scanner:
            token = (await scanner.api.create())["paymentUrl"].rsplit("/", 1)[1]
            response = await buyer.get(f"{scanner.api.url}/pay/{token}/events")
            await next_event(response)
            started = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - started < 4  # a page that stayed open would hold it for 5 s
        response.close()


async def test_a_stream_that_says_nothing_is_kept_alive(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "HEARTBEAT_S", 0.05)
    async with shop.get(f"/pay/{await shop.token()}/events") as response:
        await next_event(response)
        assert await response.content.readuntil(b"\n\n") == b": still here\n\n"


async def test_pages_are_counted_by_address_and_known_ones_apart_from_unknown_ones(shop: Shop) -> None:
    token = await shop.token()

    unknown = [(await shop.page(f"/pay/unknown-{i}"))[0] for i in range(61)]
    known = [(await shop.page(f"/pay/{token}"))[0] for _ in range(300 - 61)]

    assert (unknown.count(404), unknown[-1]) == (60, 429)
    assert set(known) == {200}
    async with shop.get(f"/pay/{token}") as response:
        assert (response.status, int(response.headers["Retry-After"]) <= 60) == (429, True)
        assert "Too many requests" in await response.text()


async def test_looking_again_has_its_limits(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    token = await shop.token()
    asked: list[tuple[str, str | None]] = []

    async def recheck(intent_id: str, tx_hash: str | None) -> tuple[None, list[Any]]:
        asked.append((intent_id, tx_hash))
        return None, []

    monkeypatch.setattr(shop.services.payments, "_recheck", recheck)

    first, second = await shop.look(token), await shop.look(token, {"txHash": HASH})
    assert (first[0], first[1]["state"], first[1]["found"]) == (200, "waiting", False)
    assert (second[0], second[2]["Retry-After"]) == (429, "10")
    for _ in range(19):
        shop.clock.advance(10)
        assert (await shop.look(token, {"txHash": HASH.upper().replace("X", "x")}))[0] == 200
    shop.clock.advance(10)
    assert (await shop.look(token))[0] == 429
    shop.clock.advance(3600)
    assert (await shop.look(token))[0] == 200
    assert len(asked) == 21
    assert {tx_hash for _, tx_hash in asked} == {None, HASH}


async def test_payments_whose_ids_read_as_addresses_have_limits_of_their_own(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def recheck(*_: Any) -> tuple[None, list[Any]]:
        return None, []

    monkeypatch.setattr(shop.services.payments, "_recheck", recheck)
    tokens = [await shop.token(intentId=f"2026:11:26::{number}") for number in (1, 2)]

    assert [(await shop.look(token))[0] for token in tokens] == [200, 200]


async def test_one_look_at_a_time_is_under_way_a_chain(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = await shop.token(), await shop.token()
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def recheck(*_: Any) -> tuple[None, list[Any]]:
        begun.set()
        await go_on.wait()
        return None, []

    monkeypatch.setattr(shop.services.payments, "_recheck", recheck)
    async with asyncio.TaskGroup() as group:
        looking = group.create_task(shop.look(one))
        await begun.wait()
        busy = await shop.look(other)
        go_on.set()

    assert looking.result()[0] == 200
    assert (busy[0], busy[2]["Retry-After"]) == (429, str(BUSY_S))
    assert (await shop.look(other))[0] == 200  # being refused costs nothing


async def test_a_transaction_that_was_judged_is_answered_from_the_store(shop: Shop) -> None:
    token = await shop.token(intentId="mine", amount="1000")
    await shop.write(
        "INSERT INTO transfers (chain_id, tx_hash, event_key, block_number, token, destination, amount, fee_amount,"
        " intent_id, reason, counted, settled, verified, seen_at)"
        " VALUES (97, ?, 'k', 5, 't', 'd', '1000', '0', 'mine', 'wrong_token', 0, 0, 0, 1)",
        HASH,
    )

    answers = [await shop.look(token, {"txHash": HASH}) for _ in range(25)]  # the chain is not there to be asked

    assert {status for status, _, _ in answers} == {200}
    assert (answers[0][1]["found"], answers[0][1]["counts"], answers[0][1]["reason"]) == (True, False, "wrong_token")


async def test_a_paid_payment_asks_nobody(shop: Shop) -> None:
    token = await shop.token()
    await shop.write(f"UPDATE intents SET {CONFIRMED}, amount_received = amount WHERE pay_token = ?", token)  # noqa: S608

    assert [(await shop.look(token))[0] for _ in range(3)] == [200, 200, 200]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("amount_received = '0'", "Nothing was found yet."),
        ("amount_received = '400'", "This payment was found."),
        ("status = 'expired', expired_at = 1", "Nothing was found yet."),
        ("status = 'expired', cancelled_at = 1", "Nothing was found yet."),
        (f"{CONFIRMED}, amount_received = '0'", "Nothing was found yet."),
        (f"{CONFIRMED}, amount_received = amount", "This payment is confirmed."),
    ],
)
async def test_looking_says_that_it_was_found_only_when_it_was(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, change: str, says: str
) -> None:
    token = await shop.token(amount="1000")
    await shop.write(f"UPDATE intents SET {change} WHERE pay_token = ?", token)  # noqa: S608 - of the table above

    async def recheck(*_: Any) -> tuple[None, list[Any]]:
        return None, []

    monkeypatch.setattr(shop.services.payments, "_recheck", recheck)

    assert says in (await shop.look(token))[1]["message"]


@pytest.mark.parametrize(
    "body",
    [
        {"txHash": "0x12"},
        {"txHash": "x" * 129},
        {"txHash": ""},
        {"txHash": 7},
        {"hash": HASH},
        [],
        {"txHash": HASH + "\n\x00"},
    ],
)
async def test_what_is_no_hash_is_refused_and_asks_nobody(shop: Shop, body: Any) -> None:
    token = await shop.token()

    for _ in range(3):
        status, answer, _ = await shop.look(token, body)
        assert status == 400, answer


async def test_a_chain_that_cannot_be_asked_is_said_without_naming_its_endpoints(shop: Shop) -> None:
    status, answer, _ = await shop.look(await shop.token())

    assert (status, answer["code"]) == (502, "chain_unavailable")
    assert "127.0.0.1" not in json.dumps(answer)


async def test_a_chain_that_is_watched_no_more_asks_for_no_money(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    token = await shop.token(rail="direct", destination=DIRECT)
    monkeypatch.setattr(shop.services, "_workers", {})
    monkeypatch.setattr(shop.services, "chain", lambda _: None)

    status, text = await shop.page(f"/pay/{token}")

    assert (status, DIRECT in text) == (200, False)


async def test_assets_are_open_small_and_cached(shop: Shop) -> None:
    _, text = await shop.page(f"/pay/{await shop.token()}")
    paths = set(re.findall(r"\.\.(/assets/[^\"]+)", text))

    for path in paths:
        async with shop.get(path, headers={"Accept-Encoding": "gzip"}, auto_decompress=False) as response:
            assert response.status == 200
            assert "immutable" in response.headers["Cache-Control"]
            assert len(gzip.decompress(await response.read())) > 100
    assert len(paths) >= 4
    assert PAGE_ASSETS.packed_bytes < 60_000
    assert (await shop.page("/favicon.ico"))[0] == 200
    assert (await shop.page(f"/assets/{PAGE_ASSETS.version}/nothing.js"))[0] == 404
    async with shop.buyer.head(shop.scanner.api.url + PAGE_ASSETS.path("kit.css")) as response:
        assert response.status == 200


def test_limits_of_looking_are_those_that_are_documented() -> None:
    assert {name: (limit.count, limit.per_s) for name, limit in payments.LIMITS.items()} == {
        "hour": (20, 3600),
        "pause": (1, 10),
    }


@pytest.mark.parametrize(
    ("chain_id", "destination", "uri", "explorer"),
    [
        (
            728126428,
            "TJRabPrwbZy45sbavfcjinPJC18kjpRTv8",
            "tron:TJRabPrwbZy45sbavfcjinPJC18kjpRTv8?amount=1500000&amp;token=TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t",
            "https://tronscan.org/#/address/TJRabPrwbZy45sbavfcjinPJC18kjpRTv8",
        ),
        (1100, "EQBeXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXlEW", "ton://transfer/UQ", "https://tonviewer.com/EQ"),
    ],
)
async def test_other_families_are_paid_by_link_and_code_alone(
    tmp_path: Path, chain_id: int, destination: str, uri: str, explorer: str
) -> None:
    urls = {"TRONGRID_URL": "http://127.0.0.1:9", "TONCENTER_URL": "http://127.0.0.1:9"}
    more = {"SCANNER_ENABLED_CHAINS": str(chain_id), "SCANNER_PUBLIC_URL": PUBLIC, **urls}
    async with (
        running(environment(tmp_path, "http://127.0.0.1:9", **more)) as scanner,
        aiohttp.ClientSession() as buyer,
    ):
        created = await scanner.api.create(chainId=chain_id, destination=destination, amount="1500000")
        path = created["paymentUrl"].removeprefix(PUBLIC)
        async with buyer.get(scanner.api.url + path) as response:
            text = await response.text()

    assert uri in text
    assert explorer in text
    assert ">1.5<" in text
    assert 'data-wallet=""' in text  # no wallet that is injected pays there
