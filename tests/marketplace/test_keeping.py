"""What is kept and for how long, what is counted, what a check finds, and what no log line says."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pyotp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from kernel.logging import ConsoleFormatter
from marketplace.__main__ import main
from marketplace.web import metrics as web_metrics
from tests.harness import FakeClock
from tests.marketplace.accepted_purchase import AcceptedPurchase
from tests.marketplace.harness import ADMIN, PASSWORD, Running, environment, login, new_request, notes, running
from tests.marketplace.pages.conftest import sign_in
from tests.plain_browser import browser
from tests.repo.pages import column

BOTH = pytest.mark.parametrize("engine", ["sqlite", "postgresql"], indirect=True)
KEY = "a key of the tests for whoever reads metrics"
DAY_S = 86_400


# -- notifications -------------------------------------------------------------------------------------


@BOTH
async def test_everything_is_marked_as_read_and_nobody_elses(shop: Running) -> None:
    buyer, seller, other = [await shop.user(role) for role in ("buyer", "seller", "seller")]
    for _ in range(3):
        await new_request(buyer)

    assert await seller.ok("POST", "/api/notifications/read") == {"count": 3}

    assert await seller.ok("POST", "/api/notifications/read") == {"count": 0}
    assert await seller.ok("GET", "/api/notifications/unread-count") == {"count": 0}
    assert await other.ok("GET", "/api/notifications/unread-count") == {"count": 3}


async def test_the_pages_mark_everything_as_read(market: Running) -> None:
    await market.user("seller")
    resolver = await market.user("resolver", email="ruth@example.test")
    await market.admin.ok("POST", f"/api/admin/users/{resolver.user_id}/end-sessions")
    async with browser(market.nobody.url) as visitor:
        await sign_in(visitor, "ruth@example.test", PASSWORD)
        assert "new" in (await visitor.get("/admin/notifications")).said

        done = await visitor.submit("/admin/notifications", "/admin/notifications/read")

        assert (done.status, " new " in (await visitor.get("/admin/notifications")).said) == (303, False)


@BOTH
async def test_notifications_are_kept_for_ninety_days(shop: Running, clock: FakeClock) -> None:
    buyer, seller = await shop.user("buyer"), await shop.user("seller")
    email = (await seller.ok("GET", "/api/auth/me"))["user"]["email"]
    await new_request(buyer)
    clock.advance(89 * DAY_S)
    await shop.marketplace.sweep.once()
    buyer = await login(shop.nobody, (await _email(shop, buyer.user_id)), PASSWORD)
    await new_request(buyer)
    assert len(await notes(await login(shop.nobody, email, PASSWORD))) == 2

    clock.advance(2 * DAY_S)
    await shop.marketplace.sweep.once()

    assert len(await notes(await login(shop.nobody, email, PASSWORD))) == 1


async def _email(shop: Running, user_id: str) -> str:
    with shop.opened() as store:
        [(email,)] = store.execute("SELECT email FROM users WHERE id = ?", [user_id]).fetchall()
    return str(email)


# -- metrics -------------------------------------------------------------------------------------------


async def read(shop: Running, token: str | None) -> tuple[int, dict[str, Any]]:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    async with shop.nobody.session.get(f"{shop.nobody.url}/metrics", headers=headers) as response:
        text = await response.text()
        if response.status != 200:
            return response.status, {}
        return 200, {family.name: family for family in text_string_to_metric_families(text)}


async def test_metrics_are_for_their_key_and_for_admins(tmp_path: Path) -> None:
    async with running(environment(tmp_path, MARKETPLACE_METRICS_KEY=KEY)) as shop:
        buyer = await shop.user("buyer")

        assert (await read(shop, KEY))[0] == 200
        assert (await read(shop, shop.admin.token))[0] == 200
        assert (await read(shop, buyer.token))[0] == 403
        for nobody in (None, KEY[:-1], f"{KEY}x", "é"):
            assert (await read(shop, nobody))[0] == 401, nobody


async def test_metrics_count_what_waits(purchase: AcceptedPurchase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_metrics, "KEPT_S", 0)
    await purchase.open()
    await purchase.hook(purchase.scanner.pay(purchase.payment_id, 1))

    _, found = await read(purchase.market, purchase.market.admin.token)

    values = {name: family.samples[0].value for name, family in found.items() if len(family.samples) == 1}
    assert values["amn_marketplace_payments_held"] == 1
    by_status = {sample.labels["status"]: sample.value for sample in found["amn_marketplace_payments"].samples}
    assert by_status["pending"] + by_status["processing"] + by_status["confirmed"] == 1
    assert by_status["completed"] == 0


async def test_whoever_asks_chooses_no_label(shop: Running) -> None:
    for number in range(30):
        for method in ("GET", "PURGE"):
            async with shop.nobody.session.request(method, f"{shop.nobody.url}/place/{number}") as response:
                assert response.status == 404
        async with shop.nobody.session.get(f"{shop.nobody.url}/api/payment/{number}") as response:
            assert response.status in {400, 401}

    _, found = await read(shop, shop.admin.token)

    labels = {
        (sample.labels["method"], sample.labels["route"])
        for sample in found["amn_marketplace_http_requests"].samples
        if sample.name.endswith("_total")
    }
    assert not [each for each in labels if any(character.isdigit() for character in "".join(each))]
    assert ("other", "unknown") in labels
    assert ("GET", "/api/payment/{id}") in labels


async def test_the_metrics_are_those_that_are_documented(shop: Running) -> None:
    _, found = await read(shop, shop.admin.token)

    assert set(column("docs/marketplace.md", "metric of the marketplace")) == {
        name for name in found if not name.endswith("_created")
    }


# -- check ---------------------------------------------------------------------------------------------


def checked(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    for name, value in environment(folder).items():
        monkeypatch.setenv(name, value)
    return main(["check"]), capsys.readouterr().out


async def test_a_check_reads_the_books(
    tmp_path: Path,
    purchase: AcceptedPurchase,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    await purchase.fund()
    whole = await asyncio.to_thread(checked, tmp_path, monkeypatch, capsys)
    with closing(sqlite3.connect(tmp_path / "marketplace.db")) as store, store:
        store.execute("UPDATE payments SET amount_base = amount_base || '0' WHERE direction = 'in'")

    broken = await asyncio.to_thread(checked, tmp_path, monkeypatch, capsys)

    assert (whole[0], whole[1].splitlines()[-1]) == (0, "ok")
    assert broken[0] == 1
    assert f"PROBLEM wrong_hold: payment {purchase.payment_id}" in broken[1]


# -- logs ----------------------------------------------------------------------------------------------


async def test_no_log_line_tells_an_e_mail_a_password_or_a_code(
    purchase: AcceptedPurchase, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Each of these opens something, or says who somebody is."""
    for quiet in ("aiosqlite", "asyncio", "sqlalchemy", "alembic"):  # as `configure` keeps them
        caplog.set_level(logging.WARNING, quiet)
    caplog.set_level(logging.DEBUG)
    shop = purchase.market
    said: list[str] = [ADMIN[1], PASSWORD, "@example.test"]

    made = await shop.admin.ok("POST", "/api/admin/invitations", {"email": "ann@example.test", "role": "resolver"})
    joined = await shop.nobody.ok(
        "POST", "/api/auth/join", {"token": made["token"], "name": "Ann", "password": PASSWORD}
    )
    said += [made["token"], *joined["tokens"].values()]
    again = {"refreshToken": joined["tokens"]["refreshToken"]}
    for _ in range(2):
        await shop.nobody.call("POST", "/api/auth/refresh-token", again)
    ann = await login(shop.nobody, "ann@example.test", PASSWORD)
    secret = (await ann.ok("POST", "/api/auth/second-factor", {"password": PASSWORD}))["secret"]
    code = pyotp.TOTP(secret).generate_otp(clock.now_ms() // 30_000)
    codes = (await ann.ok("POST", "/api/auth/second-factor/confirm", {"code": code}))["recoveryCodes"]
    said += [secret, code, *codes]
    for wrong in ({"password": "not it"}, {"password": PASSWORD, "code": "000000"}):
        await shop.nobody.call("POST", "/api/auth/login", {"email": "ann@example.test", **wrong})
    reset = await shop.admin.ok("POST", f"/api/admin/users/{ann.user_id}/reset")
    await shop.nobody.ok("POST", "/api/auth/reset-password", {"token": reset["token"], "password": "a new one"})
    said += [reset["token"], "a new one"]
    await purchase.fund()
    delivered = await purchase.buyer.ok("POST", purchase.path("delivery-code/generate"))
    await purchase.seller.call("POST", purchase.path("delivery-code/verify"), {"code": "000000"})
    await purchase.seller.ok("POST", purchase.path("delivery-code/verify"), {"code": delivered["code"]})
    said.append(delivered["code"])
    await shop.write("CREATE TRIGGER no_more BEFORE INSERT ON account_events BEGIN SELECT raise(ABORT, 'no more'); END")
    bob = {"email": "bob@example.test", "role": "resolver"}
    headers = {"Authorization": f"Bearer {shop.admin.token}"}
    async with shop.admin.session.post(f"{shop.nobody.url}/api/admin/invitations", json=bob, headers=headers) as answer:
        assert answer.status == 500  # a bug, which is logged with all that caused it

    lines = [ConsoleFormatter().format(record) for record in caplog.records]
    assert "no more" in "".join(lines)
    assert [(word, line) for line in lines for word in said if word in line] == []


async def test_an_error_of_the_store_names_no_value(shop: Running) -> None:
    """What is logged with its cause would tell who it was about, else."""
    db = shop.marketplace.services.units.db
    try:
        async with db.write() as tx:
            await tx.exec_driver_sql("INSERT INTO users (id, email) VALUES (?, ?)", ("x", "ann@example.test"))
    except Exception as exc:  # noqa: BLE001 - whichever it is, with what caused it
        told = logging.Formatter().formatException((type(exc), exc, exc.__traceback__))
    assert "users" in told
    assert "ann@" not in told.replace('("x", "ann@example.test")', "")
