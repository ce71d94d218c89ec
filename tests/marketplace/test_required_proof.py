"""Where proofs are required, nothing is credited on the scanner's word: the hashes of a node of our own decide."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import rlp
from aiohttp import web
from eth_hash.auto import keccak
from trie import HexaryTrie

from devnet.evm.anvil import PROXY
from devnet.fault_server import serving
from tests.clients.proof_vectors import as_hex, header, log, receipt, transfer, word
from tests.harness import USDC, USDT, FakeClock
from tests.marketplace.accepted_purchase import TEN, AcceptedPurchase, accept_purchase
from tests.marketplace.fake_scanner import REFERENCE, SENDER, FakeScanner, balance_changed, confirmed, tx_hash
from tests.marketplace.harness import ESCROW, environment, running
from tests.marketplace.test_gate import FUNDED, OPT_IN, list_of

NUMBER = 100
OTHER = "0x" + "5e" * 20
EVENT = keccak(b"TransferWithReferenceAndFee(address,address,uint256,bytes,uint256,address)")
DEPTH = 5


@dataclass
class OwnNode:
    """The marketplace's node: what it knows, and how it fails."""

    url: str = ""
    chain_id: int = 97
    head: int = NUMBER + 50
    hashes: dict[int, str] = field(default_factory=dict)
    down: bool = False
    says: Any = None  # in the place of every answer
    asked: list[str] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        call = await request.json()
        self.asked.append(call["method"])
        if self.down:
            return web.Response(status=503, text="away")
        result: Any = {"eth_chainId": hex(self.chain_id), "eth_blockNumber": hex(self.head)}.get(call["method"])
        if call["method"] == "eth_getBlockByNumber":
            number = int(call["params"][0], 16)
            known = self.hashes.get(number)
            result = None if known is None else {"number": hex(number), "hash": known}
        if self.says is not None:
            return web.json_response(self.says)
        return web.json_response({"jsonrpc": "2.0", "id": call["id"], "result": result})


def address(text: str) -> bytes:
    return bytes.fromhex(text[2:])


@dataclass
class Block:
    """One block with one transaction that pays, as its own hashes show it."""

    amount: int = TEN
    sender: str = SENDER
    token: str = USDT
    recipient: str = ESCROW
    reference: str = REFERENCE
    told: int | None = None  # the amount the proxy tells of; None: what was moved
    proxy: str = PROXY
    times: int = 1  # the same payment again in the same transaction

    def receipt(self) -> bytes:
        moved = log(
            self.amount,
            token=address(self.token),
            sender=word(address(self.sender)),
            recipient=word(address(self.recipient)),
        )
        told = self.amount if self.told is None else self.told
        data = word(address(self.token)) + word(address(self.recipient)) + told.to_bytes(32) + bytes(64)
        event = [address(self.proxy), [EVENT, keccak(bytes.fromhex(self.reference[2:]))], data]
        return receipt(*[moved, event] * self.times, kind=2)

    def sealed(self) -> tuple[bytes, list[bytes]]:
        """Return the header, and the nodes on the way to the receipt."""
        tree = HexaryTrie({})
        tree[rlp.encode(0)] = self.receipt()
        return header(tree.root_hash, number=NUMBER), [rlp.encode(node) for node in tree.get_proof(rlp.encode(0))]

    @property
    def hash(self) -> str:
        return as_hex(keccak(self.sealed()[0]))

    def proof(self, intent_id: str, *, position: int = 0) -> dict[str, Any]:
        sealed, nodes = self.sealed()
        shown = transfer(sealed, nodes, self.receipt(), number=NUMBER, position=position)
        return {"chainId": 97, "intentId": intent_id, "transfers": [shown]}


@dataclass
class Proving:
    """A purchase at a backend that requires proofs, and its node."""

    purchase: AcceptedPurchase
    scanner: FakeScanner
    node: OwnNode

    async def pay(self, told: Block | None = None, *, rail: str = "proxy") -> str:
        """Pay, with a proof of this block; the node holds the one that was meant to be."""
        await self.purchase.open(rail)
        self.prove(told or Block())
        _, answer = await self.purchase.hook(self.scanner.pay(self.purchase.payment_id))
        return str(answer["data"]["outcome"])

    def prove(self, block: Block, **how: Any) -> None:
        payment_id = self.purchase.payment_id
        self.node.hashes[NUMBER] = block.hash
        self.says({"proof": block.proof(payment_id, **how)})

    def says(self, body: dict[str, Any], status: int = 200) -> None:
        """Let the scanner answer this when it is asked for the proof."""
        path = f"/intents/{self.purchase.payment_id}/proof"
        self.scanner.lies[path] = lambda _: web.json_response(body, status=status)

    async def held(self) -> tuple[str | None, str | None]:
        payment = await self.purchase.payment()
        return payment["holdReason"], payment["evidence"].get("detail")

    async def sweep(self) -> None:
        await self.purchase.market.marketplace.sweep.once()


@asynccontextmanager
async def proving(
    folder: Path,
    scanner: FakeScanner,
    clock: FakeClock,
    node: OwnNode | None = None,
    *,
    offer: dict[str, Any] | None = None,
    **env: str,
) -> AsyncIterator[Proving]:
    node = node or OwnNode()
    app = web.Application()
    app.router.add_post("/", node.answer)
    async with serving(app) as url:
        node.url = f"{url}/"
        env = {"MARKETPLACE_REQUIRE_PROOF": "true", "RPC_BSC_TESTNET": node.url, **env}
        async with running(environment(folder, scanner.url, **env), clock=clock) as market:
            if market.marketplace.screener is not None:
                await market.marketplace.screener.refresh()
            yield Proving(await accept_purchase(market, scanner, clock, **(offer or {})), scanner, node)


@pytest.fixture
async def shop(tmp_path: Path, fake_scanner: FakeScanner, clock: FakeClock) -> AsyncIterator[Proving]:
    async with proving(tmp_path, fake_scanner, clock) as found:
        yield found


async def test_what_its_block_proves_is_credited(shop: Proving) -> None:
    assert await shop.pay() == "funded"
    assert shop.purchase.entries() == FUNDED


async def test_a_payment_to_an_address_of_its_own_is_proven_as_well(shop: Proving) -> None:
    payment = (await shop.purchase.open("direct"))["payment"]
    shop.prove(Block(recipient=payment["destination"], proxy=OTHER))
    _, answer = await shop.purchase.hook(shop.scanner.pay(shop.purchase.payment_id))
    assert answer["data"]["outcome"] == "funded"


async def test_nobody_is_asked_where_proofs_are_not_required(
    tmp_path: Path, fake_scanner: FakeScanner, clock: FakeClock
) -> None:
    async with proving(tmp_path, fake_scanner, clock, MARKETPLACE_REQUIRE_PROOF="false") as shop:
        await shop.purchase.fund()
        assert shop.node.asked == []
        assert not [path for _, path in fake_scanner.calls if path.endswith("/proof")]


LIES: dict[str, tuple[Block, str]] = {
    "less than was told": (Block(amount=TEN - 1), f"it proves {TEN - 1} of {TEN} base units"),
    "another token": (Block(token=USDC), f"it proves a transfer of another token, {USDC.lower()}"),
    "to somebody else": (Block(recipient=OTHER), f"it proves a transfer to another address, {OTHER}"),
    "from somebody else": (Block(sender=OTHER), f"it does not prove {TEN} of 0x"),
    "another payment's reference": (
        Block(reference="0x8899aabbccddeeff"),
        "the proxy's event with the payment's reference is not beside a transfer",
    ),
    "the proxy told of less": (Block(told=1), "the proxy's event with the payment's reference is not beside"),
    "another contract's event": (Block(proxy=OTHER), "the proxy's event with the payment's reference is not beside"),
}


@pytest.mark.parametrize("lie", LIES)
async def test_a_proof_of_another_story_is_held(shop: Proving, lie: str) -> None:
    block, why = LIES[lie]
    assert await shop.pay(block) == "held"
    reason, detail = await shop.held()
    assert (reason, (detail or "")[: len(why)]) == ("proof_invalid", why)
    await shop.sweep()
    assert shop.purchase.entries() == []


async def test_a_block_that_our_own_node_does_not_have_proves_nothing(shop: Proving) -> None:
    """The scanner and its endpoints may have made a whole chain of blocks up."""
    await shop.purchase.open()
    shop.prove(Block())
    shop.node.hashes[NUMBER] = Block(amount=1).hash
    _, answer = await shop.purchase.hook(shop.scanner.pay(shop.purchase.payment_id))
    assert answer["data"]["outcome"] == "held"
    assert await shop.held() == ("proof_invalid", "the block has another hash than the one given for it")

    shop.node.hashes[NUMBER] = Block().hash  # it followed another branch for a while
    await shop.sweep()
    assert shop.purchase.entries() == FUNDED


NO_PROOF = {"error": "transfers are not proven", "code": "no_proof"}


@pytest.mark.parametrize(
    ("break_it", "why"),
    [
        (lambda shop: shop.says(NO_PROOF, 409), "the scanner has none: "),
        (lambda shop: shop.says({"error": "no such intent", "code": "not_found"}, 404), "the scanner has none: "),
    ],
)
async def test_a_payment_without_a_proof_waits_for_a_person(
    shop: Proving, break_it: Callable[[Proving], None], why: str
) -> None:
    await shop.purchase.open()
    break_it(shop)
    _, answer = await shop.purchase.hook(shop.scanner.pay(shop.purchase.payment_id))
    reason, detail = await shop.held()
    assert (answer["data"]["outcome"], reason, (detail or "")[: len(why)]) == ("held", "proof_missing", why)
    shop.prove(Block())
    await shop.sweep()
    assert shop.purchase.entries() == []
    admins = await shop.purchase.market.admin.ok("GET", "/api/admin/payments/awaiting-confirmation")
    assert [payment["holdReason"] for payment in admins["payments"]] == ["proof_missing"]


UNSURE: dict[str, tuple[Callable[[Proving], None], str]] = {
    "the node is away": (lambda shop: setattr(shop.node, "down", True), "our own node cannot be asked"),
    "the node serves another chain": (
        lambda shop: setattr(shop.node, "chain_id", 56),
        "our own node serves chain 56, not chain 97",
    ),
    "the node is behind": (lambda shop: setattr(shop.node, "head", NUMBER + 3), "our own node knows 4 of 5"),
    "the node has no such block yet": (lambda shop: shop.node.hashes.clear(), "our own node knows"),
    "the node refuses": (
        lambda shop: setattr(shop.node, "says", {"error": {"code": -32000, "message": "no"}}),
        "our own node does not answer eth_chainId",
    ),
    "the node babbles": (lambda shop: setattr(shop.node, "says", [1, 2]), "our own node does not answer"),
    "the node floods": (lambda shop: setattr(shop.node, "says", {"result": "0" * 5_000_000}), "our own node cannot"),
    "the scanner is away": (lambda shop: shop.says({"error": "away"}, 503), "the scanner cannot be asked"),
}


@pytest.mark.parametrize("doubt", UNSURE)
async def test_what_cannot_be_told_now_is_held_and_credited_once_it_can(shop: Proving, doubt: str) -> None:
    break_it, why = UNSURE[doubt]
    await shop.purchase.open()
    shop.prove(Block())
    break_it(shop)
    _, answer = await shop.purchase.hook(shop.scanner.pay(shop.purchase.payment_id))
    reason, detail = await shop.held()
    assert (answer["data"]["outcome"], reason, (detail or "")[: len(why)]) == ("held", "proof_missing", why)
    await shop.sweep()
    assert shop.purchase.entries() == []

    shop.node.down, shop.node.chain_id, shop.node.head, shop.node.says = False, 97, NUMBER + 4, None
    shop.prove(Block())
    await shop.sweep()
    assert shop.purchase.entries() == FUNDED


async def test_without_a_node_of_our_own_nothing_is_proven(
    tmp_path: Path, fake_scanner: FakeScanner, clock: FakeClock
) -> None:
    """The endpoints of the registry may be the scanner's."""
    async with proving(tmp_path, fake_scanner, clock, RPC_BSC_TESTNET="") as shop:
        assert await shop.pay() == "held"
        assert await shop.held() == (
            "proof_missing",
            "RPC_BSC_TESTNET is not set: there is no node of our own to ask",
        )


async def test_a_balance_has_no_proof(shop: Proving) -> None:
    payment = (await shop.purchase.open("direct_balance", mode="watch"))["payment"]
    shop.scanner.balances[payment["destination"]] = TEN
    _, answer = await shop.purchase.hook(balance_changed(payment, TEN))
    assert answer["data"]["outcome"] == "held"
    assert await shop.held() == ("proof_missing", "a balance that is watched has no proof")


async def test_one_log_pays_once_whatever_its_transaction_is_called(shop: Proving) -> None:
    """The hash of a transaction is a label: a broken scanner gave the same transfer another one for another payment."""
    assert await shop.pay() == "funded"
    first = shop.purchase
    shop.purchase = await accept_purchase(first.market, shop.scanner, first.clock)
    assert await shop.pay() == "held"
    assert (await shop.held())[0] == "transfer_credited_elsewhere"
    assert (first.entries(), shop.purchase.entries()) == (FUNDED, [])
    with shop.purchase.market.opened() as store:
        assert store.execute("SELECT payment_id FROM proven_transfers").fetchall() == [(first.payment_id,)]


async def test_two_payments_in_one_transaction_are_two_logs(shop: Proving) -> None:
    block = Block(times=2)
    assert await shop.pay(block) == "funded"
    first = shop.purchase
    shop.purchase = await accept_purchase(first.market, shop.scanner, first.clock)
    await shop.purchase.open()
    shop.prove(block, position=2)
    _, answer = await shop.purchase.hook(shop.scanner.pay(shop.purchase.payment_id))
    assert answer["data"]["outcome"] == "funded"


def dust_beside(shop: Proving, amount: int, count: int, *, sender: str = OTHER) -> dict[str, Any]:
    """Let a stranger have sent dust in blocks of its own, which no proof tells of, before the payment; confirm it."""
    payment_id = shop.purchase.payment_id
    shop.scanner.pay(payment_id)
    intent = shop.scanner.intents[payment_id]
    paid = intent["transfers"][0] | {"blockHash": Block(recipient=intent["destination"], proxy=OTHER).hash}
    dust = [
        paid | {"txHash": tx_hash(), "sender": sender, "amount": str(amount), "blockHash": "0x" + f"{place:064x}"}
        for place in range(count)
    ]
    rows = [*dust, paid]
    shop.scanner.all_transfers[payment_id] = rows
    received = str(sum(int(each["amount"]) for each in rows))
    intent |= {"transfers": rows[-20:], "amountReceived": received}
    return {**confirmed(intent), "transferCount": len(rows)}


async def test_dust_that_no_proof_tells_of_freezes_nobody_and_waits_for_a_person(shop: Proving) -> None:
    """Strangers choose in how many blocks dust lies: more than one proof can tell once held the payment for ever."""
    payment = (await shop.purchase.open("direct"))["payment"]
    shop.prove(Block(recipient=payment["destination"], proxy=OTHER))

    _, answer = await shop.purchase.hook(dust_beside(shop, 3, 300))

    assert (answer["data"]["outcome"], shop.purchase.entries()) == ("funded", FUNDED)
    assert await shop.purchase.recoveries() == [("proof_missing", "900")]
    assert await shop.purchase.findings() == []
    with shop.purchase.market.opened() as store:
        assert len(store.execute("SELECT payment_id FROM proven_transfers").fetchall()) == 1


async def test_what_is_proven_has_to_reach_the_price_by_itself(shop: Proving) -> None:
    payment = (await shop.purchase.open("direct"))["payment"]
    shop.prove(Block(amount=TEN - 1, recipient=payment["destination"], proxy=OTHER))

    _, answer = await shop.purchase.hook(dust_beside(shop, 3, 300))

    assert (answer["data"]["outcome"], shop.purchase.entries()) == ("held", [])
    assert await shop.held() == ("proof_invalid", f"it proves {TEN - 1} of {TEN + 900} base units")


async def test_a_proven_transfer_that_was_not_told_is_another_story(shop: Proving) -> None:
    payment = (await shop.purchase.open("direct"))["payment"]
    shop.prove(Block(amount=TEN + 1, recipient=payment["destination"], proxy=OTHER))

    _, answer = await shop.purchase.hook(dust_beside(shop, 3, 300))

    assert (answer["data"]["outcome"], shop.purchase.entries()) == ("held", [])
    assert (await shop.held())[0] == "proof_invalid"


@pytest.mark.parametrize(
    ("listed", "outcome", "recoveries"),
    [(OTHER, "funded", [("aml_sanctions", "900")]), (SENDER, "held", [])],
)
async def test_what_is_proven_of_senders_that_are_not_accepted_credits_nothing(
    tmp_path: Path, fake_scanner: FakeScanner, clock: FakeClock, listed: str, outcome: str, recoveries: list[Any]
) -> None:
    """The proof covers the price alone: neither unproven money of clear senders nor a listed one's makes it up."""
    env = {"OFAC_SDN_PATH": list_of(tmp_path, listed)}
    async with proving(tmp_path, fake_scanner, clock, offer=OPT_IN, **env) as shop:
        payment = (await shop.purchase.open("direct"))["payment"]
        shop.prove(Block(recipient=payment["destination"], proxy=OTHER))
        amount = 3 if listed == OTHER else TEN
        _, answer = await shop.purchase.hook(dust_beside(shop, amount, 300 if listed == OTHER else 1))

        assert answer["data"]["outcome"] == outcome
        assert await shop.purchase.recoveries() == recoveries
        assert shop.purchase.entries() == (FUNDED if outcome == "funded" else [])
        if outcome == "held":
            assert await shop.held() == ("proof_missing", f"0 of {TEN} base units are proven")
