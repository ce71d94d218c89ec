"""Secrets in a whole run: encrypted at rest, rotated with an overlap, and shown nowhere."""

from __future__ import annotations

import base64
import os
import sqlite3
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from devnet.evm.anvil import Anvil
from devnet.receiver import Receiver
from scanner.store.errors import StoreError
from tests.e2e.test_restore import command
from tests.harness import MERCHANT, USDT, Api, FakeClock, environment, intent_body, process, running
from webhooks.signing import verify_amn, verify_standard

pytestmark = pytest.mark.anvil

OWN, NEW = "the-secret-it-came-with", "whsec_" + base64.b64encode(b"the-secret-that-came-later").decode()
HOUR_S = 3600


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def a_key() -> str:
    return base64.b64encode(os.urandom(32)).decode()


def everything(folder: Path) -> bytes:
    """Return all that lies in a folder, and every value of its store."""
    content = b"".join(path.read_bytes() for path in folder.iterdir() if path.is_file())
    with sqlite3.connect(folder / "scanner.db") as store:
        tables = [row[0] for row in store.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            rows = store.execute(f"SELECT * FROM {table}").fetchall()  # noqa: S608 - its own tables
            content += repr(rows).encode()
    return content


async def paid(api: Api, chain: Anvil, hooks: Receiver, intent_id: str, secret: str) -> Any:
    """Register an intent, pay it, and return what its backend was sent."""
    known = len(hooks.deliveries)
    created = await api.create(intentId=intent_id, callbackUrl=hooks.url(), callbackSecret=secret)
    await chain.pay(USDT, MERCHANT, 1000, created["paymentReference"])
    await chain.mine(6)
    await hooks.wait_for(known + 1)
    return hooks.deliveries[-1]


def signers(delivery: Any, *secrets: str) -> list[bool]:
    """Say which of these secrets a receiver could verify a delivery with, in both header sets."""
    now = int(delivery.headers["webhook-timestamp"])
    found = []
    for secret in secrets:
        standard = verify_standard(delivery.headers, delivery.body, secret, now=now)
        former = delivery.headers.get("x-amn-signature-former")
        signatures = [delivery.headers["x-amn-signature"], *([former] if former else [])]
        assert standard is any(verify_amn(delivery.body, signature, secret) for signature in signatures)
        found.append(standard)
    return found


async def test_a_rotated_secret_signs_beside_the_former_until_the_overlap_is_over(
    chain: Anvil, hooks: Receiver, tmp_path: Path, clock: FakeClock
) -> None:
    async with running(environment(tmp_path, chain.url), clock=clock) as scanner:
        api = scanner.api
        waiting = {
            name: await api.create(intentId=name, callbackUrl=hooks.url(), callbackSecret=OWN)
            for name in ("during", "after")
        }
        clock.advance(1)
        body = {"callbackUrl": hooks.url(), "callbackSecret": NEW, "overlapHours": 2}
        status, first = await api.call("POST", "/admin/callback-secrets/rotate", body)
        assert status == 200, first
        assert await api.call("POST", "/admin/callback-secrets/rotate", body) == (200, first)
        assert (await api.create(intentId="during", callbackUrl=hooks.url(), callbackSecret=NEW))["intentId"]
        assert (await api.create(intentId="during", callbackUrl=hooks.url(), callbackSecret=OWN))["intentId"]

        for known, (name, hours) in enumerate((("during", 1), ("after", 2))):
            clock.advance(hours * HOUR_S)
            await chain.pay(USDT, MERCHANT, 1000, waiting[name]["paymentReference"])
            await chain.mine(6)
            await scanner.worker.poll()
            await hooks.wait_for(known + 1)
        during, after = hooks.deliveries
        assert during.headers["webhook-signature"].count("v1,") == 2
        assert signers(during, NEW, OWN) == [True, True]
        assert signers(after, NEW, OWN) == [True, False]
        again = intent_body(intentId="after", callbackUrl=hooks.url(), callbackSecret=OWN)
        status, answer = await api.call("POST", "/intents", again)
        assert (status, answer["details"]) == (409, {"field": "callbackSecret"})


@pytest.mark.process
async def test_without_the_key_its_secrets_are_encrypted_with_the_scanner_does_not_start(
    chain: Anvil, hooks: Receiver, tmp_path: Path
) -> None:
    env = environment(tmp_path, chain.url)
    async with running(env | {"SCANNER_SECRET_KEY": a_key()}) as scanner:
        await scanner.api.create(callbackUrl=hooks.url())
    with pytest.raises(StoreError, match="SCANNER_SECRET_KEY_FORMER"):
        async with running(env):
            raise AssertionError("it started, and could sign nothing")


async def test_secrets_and_keys_of_a_run_are_in_no_table_file_log_or_answer(
    chain: Anvil, hooks: Receiver, tmp_path: Path
) -> None:
    keys = {name: f"{name}-{os.urandom(12).hex()}" for name in ("first", "second")}
    sealing, former = a_key(), a_key()
    env = environment(tmp_path, chain.url, SCANNER_SECRET_KEY=former, SCANNER_API_KEY=keys["first"])
    answers: list[str] = []
    logs: list[str] = []
    async with aiohttp.ClientSession() as session:
        async with process(env, session) as scanner:
            api = Api(scanner.api.url, session, keys["first"])
            delivery = await paid(api, chain, hooks, "order-1", OWN)
            assert signers(delivery, OWN) == [True]
            await api.call(
                "POST", "/admin/callback-secrets/rotate", {"callbackUrl": hooks.url(), "callbackSecret": NEW}
            )
            answers += [str(await api.call("GET", path)) for path in ("/intents", "/intents/order-1", "/metrics")]
            assert await scanner.terminate() == 0
        logs += scanner.output

        env |= {"SCANNER_SECRET_KEY": sealing, "SCANNER_API_KEY_NEXT": keys["second"]}
        code, said = await command(env)
        assert code == 1
        assert "put that key into SCANNER_SECRET_KEY_FORMER" in said
        logs.append(said)
        async with process(env | {"SCANNER_SECRET_KEY_FORMER": former}, session) as scanner:
            for key in keys.values():
                assert (await Api(scanner.api.url, session, key).call("GET", "/intents"))[0] == 200
            assert (await Api(scanner.api.url, session, "neither").call("GET", "/intents"))[0] == 401
            assert await scanner.terminate() == 0
        logs += scanner.output
        async with process(env, session) as scanner:  # everything is encrypted with the key in use by now
            api = Api(scanner.api.url, session, keys["second"])
            delivery = await paid(api, chain, hooks, "order-2", NEW)
            assert signers(delivery, NEW, OWN) == [True, False]
            assert await scanner.terminate() == 0
        logs += scanner.output

    reported = everything(tmp_path) + "".join([*answers, *logs]).encode()
    for secret in (OWN, NEW, NEW.removeprefix("whsec_"), *keys.values(), sealing, former):
        assert secret.encode() not in reported
