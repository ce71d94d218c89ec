"""Telegram and e-mail: chosen by each, written with what they tell of, sent until taken, and never twice on purpose."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web

from marketplace.errors import ConfigError
from marketplace.notifications import courier as couriers
from marketplace.notifications.mail import mail_server
from marketplace.notifications.telegram import Telegram
from marketplace.settings import load_settings
from tests import postgres
from tests.harness import FakeClock
from tests.marketplace.accepted_purchase import AcceptedPurchase
from tests.marketplace.harness import (
    ADMIN,
    Api,
    Running,
    empty_database,
    environment,
    login,
    new_request,
    notes,
    on_postgresql,
    running,
)
from tests.marketplace.pages.conftest import sign_in
from tests.plain_browser import browser

BOTH = pytest.mark.parametrize("engine", ["sqlite", "postgresql"], indirect=True)
TOKEN = "123456:a-token-of-the-tests"
CHAT = 4711
PLACE = "/api/notifications/channels"
ALL = [{"channel": "telegram", "category": "request"}]


@dataclass(slots=True)
class Stub:
    """The bot API, as far as a bot sees it."""

    url: str = ""
    sent: list[tuple[str, str]] = field(default_factory=list)
    asked: int = 0
    status: int = 200
    answer: Mapping[str, Any] = field(default_factory=lambda: {"ok": True})
    updates: asyncio.Queue[dict[str, Any]] = field(default_factory=asyncio.Queue)
    unread: list[dict[str, Any]] = field(default_factory=list)

    async def send(self, request: web.Request) -> web.Response:
        assert request.match_info["token"] == TOKEN
        self.asked += 1
        body = await request.json()
        if self.status == 200:
            self.sent.append((body["chat_id"], body["text"]))
        return web.json_response(self.answer, status=self.status)

    async def read(self, request: web.Request) -> web.StreamResponse:
        assert request.match_info["token"] == TOKEN
        answer = web.StreamResponse()
        await answer.prepare(request)
        # What was not confirmed by asking from behind it comes again; and in pieces, as over a network.
        offset = (await request.json())["offset"]
        self.unread = [each for each in self.unread if each["update_id"] >= offset]
        if not self.unread:
            self.unread.append(await self.updates.get())
        told = orjson.dumps({"ok": True, "result": self.unread})
        for start in range(0, len(told), 1 << 20):
            await answer.write(told[start : start + (1 << 20)])
        return answer

    async def something(self) -> None:
        """Let whoever runs beside the test go on."""
        await asyncio.sleep(0.01)

    def write(self, number: int, text: str, chat: int = CHAT) -> None:
        self.updates.put_nowait({"update_id": number, "message": {"text": text, "chat": {"id": chat}}})


@pytest.fixture
async def telegram() -> AsyncIterator[Stub]:
    stub = Stub()
    app = web.Application()
    app.router.add_post("/bot{token}/sendMessage", stub.send)
    app.router.add_post("/bot{token}/getUpdates", stub.read)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    stub.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield stub
    await runner.cleanup()


@asynccontextmanager
async def told(folder: Path, telegram: Stub, clock: FakeClock, **more: str) -> AsyncIterator[Running]:
    env = environment(folder, TELEGRAM_BOT_TOKEN=TOKEN, TELEGRAM_API_URL=telegram.url, **more)
    async with running(env, clock=clock) as shop:
        yield shop


async def linked(shop: Running, telegram: Stub, number: int = 1) -> Api:
    """Return a seller whose chat is linked, and who wants to be told of requests there."""
    seller = await shop.user("seller")
    code = (await seller.ok("POST", "/api/notifications/telegram/link", status=201))["code"]
    telegram.write(number, f"/start {code}", CHAT + number)
    async with asyncio.timeout(20):
        while not (await seller.ok("GET", PLACE))["telegramLinked"]:
            await telegram.something()
    await seller.ok("PUT", PLACE, {"choices": ALL})
    return seller


async def until_ended(shop: Running, status: str) -> list[tuple[Any, ...]]:
    """Wait until every message has ended in some way; return them."""
    async with asyncio.timeout(20):
        while True:
            with shop.opened() as store:
                rows = store.execute("SELECT status, attempts, last_error FROM messages").fetchall()
            if rows and all(row[0] == status for row in rows):
                return list(rows)
            await asyncio.sleep(0.01)


@BOTH
async def test_who_linked_a_chat_and_chose_is_told_there(
    tmp_path: Path, telegram: Stub, clock: FakeClock, place: Mapping[str, str]
) -> None:
    async with told(tmp_path, telegram, clock, **place) as shop:
        await linked(shop, telegram)
        await shop.user("seller")  # who chose nothing
        await new_request(await shop.user("buyer"), title="A used bicycle")
        await until_ended(shop, "sent")

    assert len(telegram.sent) == 1
    assert telegram.sent[0][0] == str(CHAT + 1)
    assert "A used bicycle" in telegram.sent[0][1]


async def test_a_start_code_links_once_for_a_while(tmp_path: Path, telegram: Stub, clock: FakeClock) -> None:
    async with told(tmp_path, telegram, clock) as shop:
        seller = await shop.user("seller")
        old = (await seller.ok("POST", "/api/notifications/telegram/link"))["code"]
        clock.advance(16 * 60)
        shop.admin = await login(shop.nobody, *ADMIN)
        seller = await shop.user("seller")
        code = (await seller.ok("POST", "/api/notifications/telegram/link"))["code"]
        for number, text in enumerate((f"/start {old}", "/start nothing", "hello", f"/start {code}", f"/start {code}")):
            telegram.write(number, text, CHAT + number)
        telegram.updates.put_nowait({"update_id": 9, "message": None})
        other = await linked(shop, telegram, 10)  # what came before was read by then

        with shop.opened() as store:
            found = dict(store.execute("SELECT user_id, chat_id FROM telegram_links").fetchall())
            assert code not in str(store.execute("SELECT * FROM telegram_codes").fetchall())
        assert found == {seller.user_id: str(CHAT + 3), other.user_id: str(CHAT + 10)}
        assert not (await other.ok("POST", "/api/notifications/telegram/unlink"))["telegramLinked"]


async def test_a_long_message_to_the_bot_keeps_nobody_from_linking(
    tmp_path: Path, telegram: Stub, clock: FakeClock
) -> None:
    """Half of an answer was read, and the same one asked for again, for as long as strangers liked."""
    async with told(tmp_path, telegram, clock) as shop:
        telegram.write(1, "x" * (3 << 20), CHAT)
        await linked(shop, telegram, 2)


async def test_a_message_that_cannot_be_sent_keeps_no_other_waiting(
    tmp_path: Path, telegram: Stub, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def send(_: Telegram, address: str, title: str) -> None:
        if "odd" in title:
            raise UnicodeError(title)
        telegram.sent.append((address, title))

    async with told(tmp_path, telegram, clock) as shop:
        await linked(shop, telegram)
        monkeypatch.setattr(Telegram, "send", send)
        buyer = await shop.user("buyer")
        for title in ("An odd bicycle", "A used bicycle"):
            await new_request(buyer, title=title)
        async with asyncio.timeout(20):
            while not telegram.sent:
                await telegram.something()
        with shop.opened() as store:
            rows = store.execute("SELECT status, attempts, claim, last_error FROM messages ORDER BY id").fetchall()

    assert rows[0] == ("pending", 1, None, "it cannot be sent (UnicodeError)")
    assert "A used bicycle" in telegram.sent[0][1]


async def test_what_is_not_taken_is_sent_again_and_given_up_in_the_end(
    tmp_path: Path, telegram: Stub, clock: FakeClock
) -> None:
    telegram.status, telegram.answer = 500, {}
    async with told(tmp_path, telegram, clock) as shop:
        await linked(shop, telegram)
        await new_request(await shop.user("buyer"))
        for attempt in range(couriers.MOST_ATTEMPTS):
            async with asyncio.timeout(20):
                while telegram.asked <= attempt:
                    clock.advance(couriers.LONGEST_PAUSE_S)
                    shop.marketplace.services.units.messages.wake()
                    await asyncio.sleep(0.05)

        rows = await until_ended(shop, "failed")
    assert [row[1] for row in rows] == [couriers.MOST_ATTEMPTS]
    assert telegram.asked == couriers.MOST_ATTEMPTS


async def test_a_chat_that_blocked_the_bot_is_not_asked_again(tmp_path: Path, telegram: Stub, clock: FakeClock) -> None:
    telegram.status, telegram.answer = 403, {"ok": False}
    async with told(tmp_path, telegram, clock) as shop:
        await linked(shop, telegram)
        await new_request(await shop.user("buyer"))
        rows = await until_ended(shop, "failed")

    assert (len(rows), telegram.asked) == (1, 1)


async def test_nothing_is_sent_of_what_is_undone(tmp_path: Path, telegram: Stub, clock: FakeClock) -> None:
    async with told(tmp_path, telegram, clock) as shop:
        seller, units = await linked(shop, telegram), shop.marketplace.services.units

        async def undone() -> None:
            async with units.begin(None) as work:
                work.notify([seller.user_id], "request", "request_created", "A request", about="x")
                await work.finish()
                raise RuntimeError

        with pytest.raises(RuntimeError):
            await undone()
        with shop.opened() as store:
            assert store.execute("SELECT 1 FROM messages").fetchall() == []


async def test_two_processes_send_a_message_once(
    tmp_path: Path, telegram: Stub, clock: FakeClock, postgresql: postgres.Server
) -> None:
    async with empty_database(postgresql) as url:
        place = on_postgresql(url)
        async with told(tmp_path, telegram, clock, **place) as one, told(tmp_path, telegram, clock, **place) as other:
            await linked(one, telegram)
            buyer = await one.user("buyer")
            for _ in range(10):
                await new_request(buyer)
            for shop in (one, other):
                shop.marketplace.services.units.messages.wake()
            async with asyncio.timeout(30):
                while len(telegram.sent) < 10:
                    await telegram.something()
            await until_ended(one, "sent")

    assert len(telegram.sent) == 10


async def test_the_bots_token_is_in_no_line(
    tmp_path: Path, telegram: Stub, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    telegram.url = "http://127.0.0.1:9"
    async with told(tmp_path, telegram, clock) as shop:
        async with asyncio.timeout(20):
            while "cannot be reached" not in caplog.text:
                await telegram.something()
        assert shop

    assert TOKEN not in caplog.text


async def test_nobody_vouches_for_an_e_mail_that_registered_by_itself(tmp_path: Path) -> None:
    more = {"SMTP_URL": "smtp://127.0.0.1:9", "SMTP_FROM": "shop@example.test", "MARKETPLACE_REGISTRATION": "true"}
    wanted = {"choices": [{"channel": "email", "category": "payment"}]}
    async with running(environment(tmp_path, **more)) as shop:
        body = {"email": "x@example.test", "password": "a long password", "name": "X", "role": "buyer"}
        await shop.nobody.ok("POST", "/api/auth/register", body)
        tokens = await shop.nobody.ok("POST", "/api/auth/login", {"email": body["email"], "password": body["password"]})
        stranger = Api(shop.nobody.url, shop.nobody.session, tokens["tokens"]["accessToken"])

        assert await stranger.refused("PUT", PLACE, wanted) == (409, "conflict")
        shown = await (await shop.user("buyer")).ok("PUT", PLACE, wanted)
        assert (shown["available"], shown["choices"]) == (["email"], wanted["choices"])


async def test_without_a_bot_there_is_nothing_to_link(shop: Running) -> None:
    assert await shop.admin.refused("POST", "/api/notifications/telegram/link") == (409, "conflict")


class Smtp:
    """A mail server that takes what it is sent."""

    def __init__(self) -> None:
        self.mails: list[str] = []
        self.refuses = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 here\r\n")
        while line := (await reader.readline()).decode().strip():
            word = line.upper()
            if word.startswith("DATA"):
                writer.write(b"354 go on\r\n")
                mail = (await reader.readuntil(b"\r\n.\r\n")).decode()
                self.mails.append(mail)
                writer.write(b"250 taken\r\n")
            elif word.startswith("RCPT") and self.refuses:
                writer.write(f"{self.refuses} no\r\n".encode())
            elif word.startswith("QUIT"):
                writer.write(b"221 bye\r\n")
                break
            else:
                writer.write(b"250 ok\r\n")
        writer.close()


@asynccontextmanager
async def smtp() -> AsyncIterator[tuple[Smtp, str]]:
    found = Smtp()
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    async with server:
        yield found, f"smtp://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize(("refuses", "status"), [("", "sent"), ("550", "failed")])
async def test_mail_goes_to_the_address_of_the_account(tmp_path: Path, refuses: str, status: str) -> None:
    async with smtp() as (server, url):
        server.refuses = refuses
        async with running(environment(tmp_path, SMTP_URL=url, SMTP_FROM="shop@example.test")) as shop:
            seller = await shop.user("seller", email="ann@example.test")
            await seller.ok("PUT", PLACE, {"choices": [{"channel": "email", "category": "request"}]})
            await new_request(await shop.user("buyer"), title="Bicycle Ünal")
            await until_ended(shop, status)

    assert len(server.mails) == (not refuses)
    for mail in server.mails:
        assert "To: ann@example.test" in mail
        assert "From: shop@example.test" in mail


@pytest.mark.parametrize("url", ["http://a.test", "smtp://", "smtp://a.test/x", "smtp://a.test?x=1"])
def test_what_is_no_mail_server_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(ValueError, match="smtps://"):
        mail_server(url)
    with pytest.raises(ConfigError, match=r"^SMTP_URL"):
        load_settings(environment(tmp_path, SMTP_URL=url, SMTP_FROM="a@b.test"))


def test_mail_needs_a_sender(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^SMTP_FROM"):
        load_settings(environment(tmp_path, SMTP_URL="smtp://a.test"))


def test_what_strangers_chose_stays_on_one_line() -> None:
    assert couriers.one_line("a\r\nBcc: b@example.test\u2028c" + "d" * 300, 30) == "a Bcc: b@example.test c" + "d" * 7


async def test_the_pages_link_a_chat_and_keep_what_is_chosen(tmp_path: Path, telegram: Stub, clock: FakeClock) -> None:
    async with told(tmp_path, telegram, clock) as shop, browser(shop.nobody.url) as visitor:
        await sign_in(visitor, *ADMIN)
        linking = await visitor.submit("/admin/account", "/admin/account/telegram")
        telegram.write(1, linking.said.partition("hour: ")[2].partition("Link")[0].strip())
        async with asyncio.timeout(20):
            while "A chat is linked." not in (await visitor.get("/admin/account")).said:
                await telegram.something()

        kept = await visitor.submit("/admin/account", "/admin/account/channels", **{"telegram-alert": "yes"})

        assert kept.status == 303
        assert "checked" in (await visitor.get("/admin/account")).text
        shown = await shop.admin.ok("GET", PLACE)
        assert shown["choices"] == [{"channel": "telegram", "category": "alert"}]
        assert (await visitor.submit("/admin/account", "/admin/account/telegram/unlink")).status == 303
        assert "A chat is linked." not in (await visitor.get("/admin/account")).said


async def test_admins_are_told_at_most_hourly_of_what_the_books_contradict(
    purchase: AcceptedPurchase, clock: FakeClock
) -> None:
    market, watch = purchase.market, purchase.market.marketplace.sweep
    await purchase.fund()
    await watch.once()
    assert "reconciliation_finding" not in [kind for kind, _ in await notes(market.admin)]
    await market.write("UPDATE payments SET amount_base = amount_base || '0' WHERE direction = 'in'")
    for _ in range(3):
        await watch.once()
    assert "reconciliation_finding" not in [kind for kind, _ in await notes(market.admin)]  # not looked at again yet
    clock.advance(3600)
    market.admin = await login(market.nobody, *ADMIN)
    for _ in range(3):
        await watch.once()

    assert [kind for kind, _ in await notes(market.admin)].count("reconciliation_finding") == 1


async def test_admins_are_told_hourly_of_webhooks_that_the_scanner_gave_up(
    purchase: AcceptedPurchase, clock: FakeClock
) -> None:
    """Of ours alone, on however many pages: a scanner may have other backends."""
    market, watch = purchase.market, purchase.market.marketplace.sweep
    await purchase.open()
    purchase.scanner.given_up = [
        "another's",
        "another's too",
        purchase.payment_id,
        f"{purchase.payment_id}-balance-c97",
    ]
    for _ in range(3):
        await watch.once()
    assert [kind for kind, _ in await notes(market.admin)].count("webhook_given_up") == 1
    (title,) = {
        note["title"]
        for note in (await market.admin.ok("GET", "/api/notifications?limit=100"))["notifications"]
        if note["type"] == "webhook_given_up"
    }
    assert "given up 2 webhooks" in title

    purchase.scanner.given_up = ["another's"]
    clock.advance(3601)
    market.admin = await login(market.nobody, *ADMIN)
    await watch.once()
    assert [kind for kind, _ in await notes(market.admin)].count("webhook_given_up") == 1


async def test_a_scanner_that_is_away_is_asked_again_at_the_next_round(purchase: AcceptedPurchase) -> None:
    market, watch = purchase.market, purchase.market.marketplace.sweep
    await purchase.open()
    purchase.scanner.given_up = [purchase.payment_id]
    purchase.scanner.down = True
    await watch.once()
    purchase.scanner.down = False
    await watch.once()

    assert [kind for kind, _ in await notes(market.admin)].count("webhook_given_up") == 1
