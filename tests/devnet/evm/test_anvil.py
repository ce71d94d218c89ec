"""The local chain behaves like the chains it stands for."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chains.evm.events import TRANSFER_TOPIC
from chains.evm.fee_proxy import EVENT_TOPIC
from devnet.evm.anvil import PROXY, Anvil, ProxyPayment, anvil
from devnet.evm.local_node import AnvilError

pytestmark = pytest.mark.anvil
SHOP = "0x" + "5e" * 20
COLLECTOR = "0x" + "fe" * 20
REFERENCE = "0xa0098add01acc736"
REFERENCE_TOPIC = "0xc7c539abf3cdbbbf3c3a97b741582f8a0dc6a830717acb1fd0a092dc47e1eb90"


@pytest.fixture
async def chain() -> AsyncIterator[Anvil]:
    async with anvil() as fresh:
        yield fresh


def word(value: int | str) -> str:
    return f"{value:064x}" if isinstance(value, int) else value[2:].lower().rjust(64, "0")


async def credits_of(chain: Anvil, tx: str) -> list[tuple[str, int]]:
    """Return who the token says it credited in a transaction, and with how much."""
    logs = (await chain.mined(tx))["logs"]
    return [("0x" + log["topics"][2][-40:], int(log["data"], 16)) for log in logs if log["topics"][0] == TRANSFER_TOPIC]


async def test_it_starts_at_once_and_nothing_is_left_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    started = time.monotonic()
    async with anvil(chain_id=56) as chain:
        assert time.monotonic() - started < 5  # 0.15 s on a machine that does nothing else
        assert await chain.rpc("eth_chainId") == "0x38"
        port = int(chain.url.rpartition(":")[2])
        pids = _listeners(port)
        homes = [_home(pid) for pid in pids]
    assert pids
    assert str(tmp_path) not in homes
    assert not _listeners(port)
    assert not any(map(_alive, pids))
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - a few entries of a local folder


def _home(pid: int) -> str:
    variables = Path(f"/proc/{pid}/environ").read_text().split("\0")
    return next(text.removeprefix("HOME=") for text in variables if text.startswith("HOME="))


def _alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def _listeners(port: int) -> list[int]:
    """Return who listens on a loopback port."""
    sockets = {
        f"socket:[{row.split()[9]}]"
        for row in Path("/proc/net/tcp").read_text().splitlines()[1:]
        if row.split()[1].endswith(f":{port:04X}") and row.split()[3] == "0A"
    }
    found = []
    for entry in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if str(entry.readlink()) in sockets:
                found.append(int(entry.parts[2]))
        except OSError:  # it ended, or is not ours to look at
            continue
    return found


async def test_a_port_that_is_taken_is_said_so(chain: Anvil) -> None:
    with pytest.raises(AnvilError, match="anvil ended with"):
        async with anvil(port=int(chain.url.rpartition(":")[2])):
            pass


async def test_the_proxy_at_its_usual_address_is_the_contract_its_authors_publish(chain: Anvil) -> None:
    deployed = await chain.deploy("ERC20FeeProxy")
    code = await chain.rpc("eth_getCode", [PROXY, "latest"])
    assert code == await chain.rpc("eth_getCode", [deployed, "latest"])
    assert len(code) > 2000


async def test_a_payment_emits_the_event_the_scanner_reads(chain: Anvil) -> None:
    token = await chain.token("USDT", 18)
    tx = await chain.pay(token, SHOP, 5000, REFERENCE, fee_amount=70, fee_address=COLLECTOR)
    receipt = await chain.mined(tx)
    (event,) = [log for log in receipt["logs"] if log["topics"][0] == EVENT_TOPIC]
    assert receipt["status"] == "0x1"
    assert event["address"] == PROXY.lower()
    assert event["topics"] == [EVENT_TOPIC, REFERENCE_TOPIC]
    assert event["data"] == "0x" + word(token) + word(SHOP) + word(5000) + word(70) + word(COLLECTOR)
    assert await credits_of(chain, tx) == [(SHOP, 5000), (COLLECTOR, 70)]


async def test_a_token_at_a_given_address_says_what_the_registry_says(chain: Anvil) -> None:
    address = "0x109F54Dab34426D5477986b0460aE5dFBA65f022"
    assert await chain.token("USDT", 6, at=address) == address
    assert int(await chain.call(address, "decimals()") or "", 16) == 6
    symbol = await chain.call(address, "symbol()") or ""
    assert bytes.fromhex(symbol[2:]).rstrip(b"\0").endswith(b"USDT")
    await chain.pay(address, SHOP, 12, REFERENCE)
    assert await chain.balance(address, SHOP) == 12


@pytest.mark.parametrize(
    ("kind", "credited"),
    [
        ("TestToken", [(SHOP, 1000)]),
        ("NoReturnToken", [(SHOP, 1000)]),
        ("FeeToken", [(SHOP, 990), ("0x" + "0" * 37 + "fee", 10)]),
        ("SilentToken", []),
    ],
)
async def test_every_kind_of_token_passes_the_proxy_and_credits_as_it_does(
    chain: Anvil, kind: str, credited: list[tuple[str, int]]
) -> None:
    token = await chain.token("ODD", 18, kind=kind)
    tx = await chain.pay(token, SHOP, 1000, REFERENCE)
    assert (await chain.mined(tx))["status"] == "0x1"
    assert await credits_of(chain, tx) == credited
    assert await chain.balance(token, SHOP) == sum(value for to, value in credited if to == SHOP)


async def test_two_references_are_paid_in_one_transaction(chain: Anvil) -> None:
    token, odd = await chain.token("USDT"), await chain.token("ODD", kind="NoReturnToken")
    tx = await chain.pay_together(
        [
            ProxyPayment(token, SHOP, 10, REFERENCE, fee_amount=1, fee_address=COLLECTOR),
            ProxyPayment(odd, SHOP, 20, "0x" + "22" * 8),
        ]
    )
    events = [log for log in (await chain.mined(tx))["logs"] if log["topics"][0] == EVENT_TOPIC]
    assert [log["data"][130:194] for log in events] == [word(10), word(20)]
    assert len({log["topics"][1] for log in events}) == 2
    assert await chain.balance(token, COLLECTOR) == 1
    assert await chain.balance(odd, SHOP) == 20


async def test_a_plain_transfer_makes_no_proxy_event(chain: Anvil) -> None:
    token = await chain.token("USDT")
    tx = await chain.transfer(token, SHOP, 77)
    assert [log["topics"][0] for log in (await chain.mined(tx))["logs"]] == [TRANSFER_TOPIC]


async def test_without_automine_a_payment_of_a_new_payer_waits_and_succeeds(chain: Anvil) -> None:
    token = await chain.token("USDT")
    await chain.automine(on=False)
    tx = await chain.pay(token, SHOP, 5, REFERENCE, payer=chain.accounts[4])
    together = await chain.pay_together([ProxyPayment(token, SHOP, 6, REFERENCE)])
    assert await chain.receipt(tx) is None
    await chain.mine()
    assert (await chain.mined(tx))["status"] == "0x1"
    assert (await chain.mined(together))["status"] == "0x1"
    assert await chain.balance(token, SHOP) == 11


async def test_a_reorg_replaces_the_blocks_and_forgets_their_transactions(chain: Anvil) -> None:
    token = await chain.token("USDT")
    tx = await chain.pay(token, SHOP, 5, REFERENCE)
    paid = await chain.mined(tx)
    await chain.mine(3)
    before = await chain.height()
    await chain.reorg(4)
    await chain.mine(2)
    replaced = await chain.block(int(paid["blockNumber"], 16))
    assert replaced is not None
    assert replaced["hash"] != paid["blockHash"]
    assert await chain.height() == before + 2
    assert await chain.receipt(tx) is None
    assert await chain.balance(token, SHOP) == 0


async def test_a_reorg_can_move_the_very_same_transaction_to_another_block(chain: Anvil) -> None:
    token = await chain.token("USDT")
    await chain.fund(token, chain.accounts[1])
    await chain.mine(5)
    tx = await chain.pay(token, SHOP, 5, REFERENCE)
    paid = await chain.mined(tx)
    raw = await chain.raw(tx)
    await chain.mine(2)
    await chain.reorg(3, [(raw, 1)])
    moved = await chain.mined(tx)
    assert int(moved["blockNumber"], 16) == int(paid["blockNumber"], 16) + 1
    assert moved["blockHash"] != paid["blockHash"]
    assert await chain.balance(token, SHOP) == 5


async def test_after_a_reorg_that_took_the_allowance_a_payer_can_still_pay(chain: Anvil) -> None:
    token = await chain.token("USDT")
    await chain.mine()
    await chain.pay(token, SHOP, 5, REFERENCE)  # with mint and allowance in the blocks before
    await chain.reorg(3)
    tx = await chain.pay(token, SHOP, 7, REFERENCE)
    assert (await chain.mined(tx))["status"] == "0x1"
    assert await chain.balance(token, SHOP) == 7


@pytest.mark.parametrize("depth", [1, 49, 99])
async def test_a_reorg_of_all_later_blocks_leaves_the_contracts(chain: Anvil, depth: int) -> None:
    await chain.mine(depth)
    await chain.reorg(depth)
    token = await chain.token("USDT")
    assert (await chain.mined(await chain.pay(token, SHOP, 7, REFERENCE)))["status"] == "0x1"
    assert (await chain.mined(await chain.pay_together([ProxyPayment(token, SHOP, 1, REFERENCE)])))["status"] == "0x1"


async def test_with_automine_a_payment_is_on_chain_when_it_returns(chain: Anvil) -> None:
    token = await chain.token("USDT")
    for amount in range(1, 30):
        tx = await chain.pay(token, SHOP, amount, REFERENCE)
        assert await chain.receipt(tx) is not None


async def test_a_snapshot_brings_everything_back_once(chain: Anvil) -> None:
    token = await chain.token("USDT")
    snapshot = await chain.snapshot()
    await chain.pay(token, SHOP, 5, REFERENCE)
    await chain.revert(snapshot)
    assert await chain.balance(token, SHOP) == 0
    await chain.pay(token, SHOP, 6, REFERENCE)
    assert await chain.balance(token, SHOP) == 6
    with pytest.raises(AnvilError, match="no snapshot"):
        await chain.revert(snapshot)


async def test_finalized_trails_the_head_by_two_epochs() -> None:
    async with anvil(slots_in_epoch=4) as chain:
        await chain.mine(20)
        finalized, safe = await chain.block("finalized"), await chain.block("safe")
        assert finalized is not None
        assert safe is not None
        height = await chain.height()
        assert (height - int(finalized["number"], 16), height - int(safe["number"], 16)) == (8, 4)


async def test_a_chain_can_mine_by_the_clock() -> None:
    async with anvil(block_time=0.05) as chain:
        token = await chain.token("USDT")
        tx = await chain.pay(token, SHOP, 5, REFERENCE)
        assert (await chain.mined(tx))["status"] == "0x1"


async def test_a_refused_call_is_an_error_with_its_method(chain: Anvil) -> None:
    with pytest.raises(AnvilError, match="eth_nonsense"):
        await chain.rpc("eth_nonsense")


async def test_it_mines_by_the_clock_when_told_to(chain: Anvil) -> None:
    before = await chain.height()
    await chain.mine_every(1)
    async with asyncio.timeout(20):
        while await chain.height() < before + 2:  # noqa: ASYNC110 - the node tells nobody
            await asyncio.sleep(0.1)
