"""The local receiver says what comes, believes only what is signed, and hands everything on as it came."""

from __future__ import annotations

import asyncio
import io
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from devnet.receiver import Receiver
from scanner.commands import listen
from scanner.commands.listen import MAX_BODY, MAX_SHOWN, Listener, open_listener, printable
from tests.clients.webhook_vectors import CHANGED, CONFIRMED, NOW, signed
from tests.harness import SECRET
from tests.processes import start

ESCAPE = "\x1b[2J"


@dataclass
class Opened:
    """A listener, what it has shown, and a session to call it."""

    url: str
    session: aiohttp.ClientSession
    shown: list[tuple[str, str]] = field(default_factory=list)

    async def post(self, body: bytes, headers: dict[str, str], path: str = "/hooks/amn") -> tuple[int, bytes]:
        async with self.session.post(self.url + path, data=io.BytesIO(body), headers=headers) as response:
            return response.status, await response.read()


@pytest.fixture
async def opened(hooks: Receiver, request: pytest.FixtureRequest) -> AsyncIterator[Opened]:
    forward = {"forward": hooks.url(), "nowhere": "http://127.0.0.1:9/hook"}.get(getattr(request, "param", ""))
    shown: list[tuple[str, str]] = []
    listener = Listener(SECRET, lambda style, line: shown.append((style, line)), forward, now=lambda: NOW)
    async with open_listener(listener, host="127.0.0.1", port=0) as url, aiohttp.ClientSession() as session:
        yield Opened(url, session, shown)


async def test_a_signed_event_is_shown_in_a_line_and_answered_200(opened: Opened) -> None:
    confirmed = CONFIRMED | {"eventId": "evt_1", "amountReceived": "7"}

    assert (await opened.post(*signed(confirmed)))[0] == 200
    assert (await opened.post(*signed(CHANGED)))[0] == 200
    assert (await opened.post(*signed(confirmed)))[0] == 200

    first = f"payment.confirmed intent order-1: 7 of {2**200} in 0x4eba [evt_1]"
    assert opened.shown == [
        ("green", first),
        ("green", "balance_changed watch watch-1: 10 -> 4 [evt_2]"),
        ("green", f"{first} (again)"),
    ]


@pytest.mark.parametrize(
    ("webhook", "status", "said"),
    [
        (signed(CONFIRMED, secret="another"), 401, "refused: X-AMN-Signature is missing or wrong"),
        (signed(CONFIRMED, age_s=301), 401, "refused: webhook-signature is wrong or too old"),
        (signed({"intentId": "order-1"}), 400, "signed, and no event: chainId is missing"),
        ((b"", {}), 401, "refused: X-AMN-Signature is missing or wrong"),
    ],
    ids=["another secret", "old", "no event", "nothing"],
)
async def test_what_is_no_event_of_ours_is_refused(
    opened: Opened, webhook: tuple[bytes, dict[str, str]], status: int, said: str
) -> None:
    assert (await opened.post(*webhook))[0] == status
    assert [line for _, line in opened.shown] == [said]


@pytest.mark.parametrize("opened", ["forward"], indirect=True)
async def test_it_hands_on_body_and_signatures_as_they_came_and_answers_as_the_backend(
    opened: Opened, hooks: Receiver
) -> None:
    hooks.behave(statuses=(503, 200))
    webhook = signed(CONFIRMED)

    assert await opened.post(*webhook) == (503, b"status 503")
    assert (await opened.post(*webhook))[0] == 200

    delivery = hooks.deliveries[0]
    assert delivery.body == webhook[0]
    assert {n: v for n, v in delivery.headers.items() if n in {"x-amn-signature", "webhook-id"}} == {
        "x-amn-signature": webhook[1]["X-AMN-Signature"],
        "webhook-id": "evt_h",
    }
    assert [line.partition(" -> ")[2] for _, line in opened.shown] == ["HTTP 503", "HTTP 200"]
    assert opened.shown[1][1].endswith("(again) -> HTTP 200")


@pytest.mark.parametrize("opened", ["nowhere"], indirect=True)
async def test_a_backend_that_is_down_is_a_502_so_that_the_scanner_comes_again(opened: Opened) -> None:
    assert (await opened.post(*signed(CONFIRMED)))[0] == 502
    assert opened.shown[0][1].endswith("-> not reached (ClientConnectorError)")


async def test_what_comes_moves_no_cursor_and_fills_no_screen(opened: Opened) -> None:
    await opened.post(*signed(CONFIRMED | {"intentId": f"{ESCAPE}order", "txHash": "x" * 4000}))
    (line,) = [line for _, line in opened.shown]

    assert ESCAPE not in line
    assert line.isprintable()
    assert len(line) == MAX_SHOWN
    assert printable("a\nb\x07") == "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}"


async def test_it_takes_bodies_and_remembers_ids_up_to_a_bound(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listen, "REMEMBERED", 2)

    assert (await opened.post(b"x" * (MAX_BODY + 1), {}))[0] == 413
    for name in ("evt_1", "evt_2", "evt_3", "evt_1"):
        await opened.post(*signed(CONFIRMED | {"eventId": name}))

    assert [line for _, line in opened.shown if "again" in line] == []


@pytest.mark.process
async def test_as_a_program_it_says_where_it_listens_and_stops_when_asked(tmp_path: Path) -> None:
    env = {"AMN_SCANNER_WEBHOOK_SECRET": SECRET}
    started = await start("scanner", "listen", "--port", "0", env=env, folder=tmp_path, afresh=True)
    assert started.stdout is not None
    line = (await started.stdout.readline()).decode()
    url = line.split("listening on ")[1].split(":")[:3]
    async with aiohttp.ClientSession() as session, session.post(":".join(url), data=b"{}") as response:
        assert response.status == 401
    assert b"refused: X-AMN-Signature" in await started.stdout.readline()

    started.send_signal(signal.SIGTERM)

    assert await started.wait() == 0
    assert await asyncio.to_thread(os.listdir, tmp_path) == []


@pytest.mark.process
@pytest.mark.parametrize(
    ("arguments", "said"),
    [((), "--secret, or AMN_SCANNER_WEBHOOK_SECRET: must not be empty"), (("--secret", "whsec_*"), "must come base64")],
)
async def test_without_a_usable_secret_it_does_not_start(tmp_path: Path, arguments: Any, said: str) -> None:
    started = await start("scanner", "listen", *arguments, env={}, folder=tmp_path)
    out, _ = await started.communicate()

    assert started.returncode == 1
    assert said in out.decode()
