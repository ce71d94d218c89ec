"""What a daemon loads is what its chains need: `import web3` by itself takes a second and 54 MB."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

from devnet.evm.anvil import Anvil
from tests.harness import MERCHANT, ROOT, USDT, environment, process

LIBRARIES = {"web3", "tronpy", "pytoniq", "pytoniq_core"}
# Where a chain is EVM's and the store a file.
UNUSED = LIBRARIES | {"eth_abi", "eth_utils", "rlp", "asyncpg", "sqlalchemy.orm", "sqlalchemy.ext.asyncio"}


@pytest.mark.process
@pytest.mark.anvil
async def test_a_daemon_of_an_evm_chain_loads_no_chain_library_for_a_listed_or_an_ordinary_token(
    chain: Anvil, tmp_path: Path
) -> None:
    odd = await chain.token("ODD", 7)
    env = environment(tmp_path, chain.url)

    async with (
        aiohttp.ClientSession() as session,
        process(env, session, "tests.loaded", "scanner", afresh=True) as started,
    ):
        listed = await started.api.create()
        await chain.pay(USDT, MERCHANT, 1000, listed["paymentReference"])
        await chain.mine(5)
        await started.api.status_is(listed["intentId"], "confirmed")
        ordinary = await started.api.create(token=None, tokenAddress=odd)
        assert (await started.api.intent(ordinary["intentId"]))["tokenSymbol"] == "ODD"
        assert await started.terminate() == 0

    loaded = json.loads(started.output[-1])
    assert {"scanner.app", "chains.evm.adapter", "chains.evm.abi_codec"} <= {*loaded}
    assert UNUSED & {*loaded} == set()


def test_what_a_daemon_imports_holds_no_library_that_it_may_never_use() -> None:
    unused = UNUSED | {"alembic"}  # loaded once, to make the store
    program = f"import sys, scanner.__main__, chains.evm.adapter; print(*{unused} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout.split() == []


@pytest.mark.parametrize(("family", "needed"), [("evm", set()), ("tron", set()), ("ton", {"pytoniq_core"})])
def test_a_family_loads_at_most_its_own_library_at_start(family: str, needed: set[str]) -> None:
    program = f"import sys, chains.{family}.adapter; print(*{LIBRARIES} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)

    assert {*done.stdout.split()} == needed
