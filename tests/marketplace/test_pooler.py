"""Two backends behind PgBouncer in transaction mode: each transaction may be on another connection."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests import postgres
from tests.e2e.test_pgbouncer import PGBOUNCER, pooled
from tests.marketplace.accepted_purchase import TEN, accept_purchase
from tests.marketplace.conftest import OwnClock
from tests.marketplace.fake_scanner import FakeScanner
from tests.marketplace.harness import empty_database, environment, new_request, on_postgresql, running
from tests.marketplace.test_shared_store import streaming, there

pytestmark = [
    postgres.needed,
    pytest.mark.skipif(PGBOUNCER is None, reason="there is no pgbouncer on this machine"),
]


async def test_everything_works_with_a_connection_a_transaction(
    tmp_path: Path, fake_scanner: FakeScanner, postgresql: postgres.Server
) -> None:
    clock = OwnClock()
    with pooled(postgresql) as folder:
        async with empty_database(postgresql) as direct:
            url = direct.replace(str(postgresql.folder), f"{folder}&port=6432")
            async with asyncio.timeout(10):
                while not (folder / ".s.PGSQL.6432").exists():  # noqa: ASYNC110 - it says no other way
                    await asyncio.sleep(0.05)
            env = environment(tmp_path, fake_scanner.url, **on_postgresql(url))
            async with running(env, clock=clock) as one, running(env, clock=clock) as other:
                purchases = await asyncio.gather(
                    *(accept_purchase(each, fake_scanner, clock) for each in (one, other) * 4)
                )
                await asyncio.gather(*(purchase.fund() for purchase in purchases))
                first = purchases[0]
                await first.buyer.ok("PATCH", first.path("confirm-delivery"))
                assert (await first.release())[0] == 200
                async with streaming(there(other, first.seller)) as stream:
                    await new_request(first.buyer, title="over there")
                    assert (await stream.next())[1] == "New request: over there"
                await other.settled_down()

                assert await first.findings() == []
                assert first.entries() == [("payment_detected", TEN), ("hold", TEN), ("release", TEN)]
                led = [each.marketplace.sharing.leases.leads for each in (one, other)]  # type: ignore[union-attr]
                assert sorted(led) == [[], ["sweep"]]
