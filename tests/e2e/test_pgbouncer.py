"""Several processes behind PgBouncer in transaction mode: each transaction may be on another connection."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from devnet.evm.anvil import Anvil
from devnet.receiver import Receiver
from tests import postgres
from tests.e2e.test_cluster import LEASE_S, cluster, until_led
from tests.harness import MERCHANT, USDT

PGBOUNCER = shutil.which("pgbouncer")
pytestmark = [
    pytest.mark.anvil,
    pytest.mark.skipif(PGBOUNCER is None, reason="there is no pgbouncer on this machine"),
]
SETTINGS = """
[databases]
* = host={server} user={user}
[pgbouncer]
listen_addr =
unix_socket_dir = {folder}
listen_port = 6432
auth_type = any
auth_file = {folder}/users
pool_mode = transaction
default_pool_size = 8
max_client_conn = 500
"""


@contextmanager
def pooled(server: postgres.Server) -> Iterator[Path]:
    """Run a pooler before a server, and give the folder of its socket."""
    folder = Path(tempfile.mkdtemp(prefix="pgbouncer"))
    (folder / "users").write_text(f'"{postgres.USER}" ""\n')
    (folder / "ini").write_text(SETTINGS.format(server=server.folder, user=postgres.USER, folder=folder))
    user = postgres.other_user()
    if user is not None:
        shutil.chown(folder, user)
    with (folder / "log").open("wb") as log:
        pooler = subprocess.Popen([str(PGBOUNCER), folder / "ini"], user=user, stdout=log, stderr=log)
    try:
        yield folder
    finally:
        pooler.kill()
        pooler.wait()
        shutil.rmtree(folder)


async def test_everything_works_with_a_connection_a_transaction(
    chain: Anvil, hooks: Receiver, tmp_path: Path, postgresql: postgres.Server
) -> None:
    with pooled(postgresql) as folder:
        async with postgresql.database() as direct:
            url = direct.replace(str(postgresql.folder), f"{folder}&port=6432")
            async with asyncio.timeout(10):
                while not (folder / ".s.PGSQL.6432").exists():  # noqa: ASYNC110 - it says no other way
                    await asyncio.sleep(0.05)
            async with cluster(tmp_path, chain, url, 3) as nodes:
                apis = [node.api for node in nodes.values()]
                created = []
                for _ in range(5):
                    created += await asyncio.gather(
                        *(api.create(callbackUrl=hooks.url(), amount="5000") for api in apis * 2)
                    )
                for intent in created:
                    await chain.pay(USDT, MERCHANT, 5000, intent["paymentReference"])
                await chain.mine(6)
                await hooks.wait_for(len(created), timeout_s=60)
                leader = await until_led(apis[0])
                await nodes[leader].kill()
                rest = next(node for name, node in nodes.items() if name != leader)
                began = asyncio.get_running_loop().time()
                await until_led(rest.api, but=leader)
                took = asyncio.get_running_loop().time() - began
                more = await rest.api.create(callbackUrl=hooks.url(), amount="5000")
                await chain.pay(USDT, MERCHANT, 5000, more["paymentReference"])
                await chain.mine(6)
                await rest.api.status_is(more["intentId"], "confirmed", timeout_s=30)
                await hooks.wait_until(lambda: more["intentId"] in {each.json["intentId"] for each in hooks.deliveries})
                listed = await rest.api.get("/intents?limit=100")

    assert took <= 2 * LEASE_S + 1
    everybody = sorted(intent["intentId"] for intent in [*created, more])
    # What was told and not written down by the one that was killed is told again, under the same id.
    assert sorted(each.json["intentId"] for each in hooks.distinct.values()) == everybody
    assert sorted(intent["intentId"] for intent in listed["intents"]) == everybody
