"""What a node makes up or changes is found out by the hashes, and what is proven can be checked by a client."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from chains.evm.proofs import headers, prover
from chains.evm.proofs.prover import Prover
from chains.evm.verification.receipts import read_receipt
from chains.rpc.endpoint import Unserved
from chains.rpc.endpoint_pool import EndpointPool
from chains.types import Head, Transfer, Verification, VerificationOutcome
from clients.python.amn_scanner_client import verify_proof
from config.catalog import Chain
from tests.chains.evm.proofs.chain import AMOUNT, CHAIN, HASH, PAYER, SHOP, TOKEN, Node, log, receipt, sealed, tx_hash

NUMBER = 4
CREDITED, NOT_YET = VerificationOutcome.CREDITED, VerificationOutcome.NOT_YET
CONFIG = Chain.model_validate(
    {
        "chainId": CHAIN,
        "name": "test",
        "proxyAddress": "0x" + "dd" * 20,
        "confirmationThreshold": 3,
        "proof": "receipts",
    }
)


class NoTelemetry:
    """Counts nothing."""

    def rpc_call(self, endpoint: str, method: str, seconds: float, error: str | None) -> None: ...


def a_node(*, others: int = 20, length: int = 10) -> Node:
    """Return a node with a payment in block 4, among others."""
    receipts = [receipt(NUMBER, index, log(index + 1), kind=index % 5) for index in range(others)]
    receipts[others // 2] = receipt(NUMBER, others // 2, log(7), log())
    return Node({NUMBER: receipts, NUMBER + 1: [receipt(NUMBER + 1, 0, log())]}, length=length)


def a_prover(*nodes: Node) -> Prover:
    """Return what proves by some nodes, each of which is an endpoint."""
    pool = EndpointPool([f"http://node{place}.test" for place in range(len(nodes))], telemetry=NoTelemetry())
    by_endpoint = dict(zip(pool.endpoints, nodes, strict=True))

    class Client:
        async def batch(self, endpoint: Any, calls: Any) -> Any:
            return await by_endpoint[endpoint].batch(endpoint, calls)

    return Prover(Client(), pool, CONFIG)  # type: ignore[arg-type]  # the one method that is used


def credited(transfer: Transfer) -> Verification:
    return Verification(transfer, CREDITED, transfer.amount)


async def proven(
    node: Node, *, prover: Prover | None = None, index: int = 10, head: Head | None = None
) -> Verification:
    said = credited(node.payment(NUMBER, index))
    (found,) = await (prover or a_prover(node)).prove([said], head or node.head)
    return found


def told(found: Verification) -> dict[str, Any]:
    """Return a proof as the API answers it."""
    proof = found.proof
    assert proof is not None
    return {
        "blockNumber": proof.block_number,
        "blockHash": proof.block_hash,
        "header": "0x" + proof.header.hex(),
        "transactionIndex": proof.transaction_index,
        "receipt": "0x" + proof.receipt.hex(),
        "nodes": ["0x" + node.hex() for node in proof.nodes],
        "logPosition": proof.log_position,
    }


async def test_what_is_proven_is_what_a_client_reads_in_the_proof() -> None:
    node = a_node()
    found = await proven(node)

    (shown,) = verify_proof({"chainId": CHAIN, "transfers": [told(found)]}, {NUMBER: node.blocks[NUMBER]["hash"]})

    assert (found.outcome, found.credited) == (CREDITED, AMOUNT)
    assert (shown.transaction_index, shown.log_position) == (10, 1)
    assert (shown.token, shown.sender, shown.recipient, shown.amount) == (TOKEN, PAYER, SHOP, AMOUNT)


async def test_a_block_takes_one_request_for_receipts_however_many_payments_it_holds() -> None:
    node = a_node()
    said = [credited(node.payment(NUMBER, index, index + 1)) for index in range(9)]

    found = await a_prover(node).prove(said, node.head)

    assert {each.outcome for each in found} == {CREDITED}
    assert [request for request in node.asked if "eth_getBlockReceipts" in request] == [
        ["eth_getBlockByNumber", "eth_getBlockReceipts"]
    ]


async def test_receipts_are_asked_for_one_by_one_where_a_block_of_them_is_not_served() -> None:
    node = a_node(others=120)
    node.lie = lambda method, answer: Unserved("no such method") if method == "eth_getBlockReceipts" else answer

    assert (await proven(node, index=60)).outcome is CREDITED
    assert max(map(len, node.asked)) == 50


def changed(**fields: Any) -> Callable[[list[Any]], list[Any]]:
    def change(receipts: list[Any]) -> list[Any]:
        return [each | fields if index == 10 else each for index, each in enumerate(receipts)]

    return change


INVENTED = log(5) | {"data": f"0x{AMOUNT * 2:064x}"}
LIES: dict[str, Callable[[list[Any]], list[Any]]] = {
    "a log is invented": changed(logs=[log(7), log(), INVENTED]),
    "an amount is changed": changed(logs=[log(7), log(AMOUNT + 1)]),
    "one log is withheld": changed(logs=[log()]),
    "all logs of the block are withheld": lambda receipts: [each | {"logs": []} for each in receipts],
    "a failed transaction is said to have succeeded": changed(status="0x0"),
    "a receipt is withheld": lambda receipts: receipts[:-1],
    "the receipts of another block": lambda told: [
        receipt(NUMBER, index, log(), blockHash=told[0]["blockHash"]) for index in range(20)
    ],
    "receipts in another order": lambda receipts: receipts[::-1],
    "no receipts": lambda _: [],
}


@pytest.mark.parametrize("name", LIES)
async def test_receipts_that_are_not_those_of_the_block_prove_nothing_and_their_endpoint_is_named(name: str) -> None:
    node = a_node()
    node.lie = lambda method, answer: LIES[name](answer) if method == "eth_getBlockReceipts" else answer
    prover = a_prover(node)

    found = await proven(node, prover=prover)

    assert found.outcome is NOT_YET
    assert (
        found.why
        == prover.problem
        == (f"block {NUMBER} is not proven: node0.test#1: the receipts it shows are not those of block {NUMBER}")
    )


async def test_who_shows_receipts_that_hashes_disprove_is_shown_as_lying_with_what_and_where() -> None:
    node = a_node()
    node.lie = lambda method, answer: answer[:-1] if method == "eth_getBlockReceipts" else answer
    prover = a_prover(node)
    await proven(node, prover=prover)

    report = prover._pool.report(prover._pool.endpoints[0])

    assert (report.state, report.last_error) == ("lying", f"the receipts it shows are not those of block {NUMBER}")


async def test_receipts_of_a_block_of_another_branch_prove_nothing_and_are_no_lie() -> None:
    node = a_node()
    other = [receipt(NUMBER, 10, log(), blockHash=HASH)]
    node.lie = lambda method, answer: other if method == "eth_getBlockReceipts" else answer
    prover = a_prover(node)

    found = await proven(node, prover=prover)

    assert found.outcome is NOT_YET
    assert "are of another block" in (found.why or "")
    assert prover._pool.report(prover._pool.endpoints[0]).state == "resting"


async def test_a_header_with_a_root_of_its_own_does_not_hash_to_its_block() -> None:
    node = a_node()
    invented = [receipt(NUMBER, 0, log())]
    root = sealed(NUMBER, HASH, invented)["receiptsRoot"]

    def lie(method: str, answer: Any) -> Any:
        if method == "eth_getBlockReceipts":
            return invented
        return answer | {"receiptsRoot": root} if int(answer["number"], 16) == NUMBER else answer

    node.lie = lie

    found = await proven(node, index=0)

    assert found.outcome is NOT_YET
    assert "node0.test#1: the header it shows does not hash to block" in (found.why or "")


async def test_a_block_that_the_head_does_not_come_from_is_not_proven() -> None:
    """A whole block is made up, with a header that fits: the headers above it do not lead to it."""
    node = a_node()
    honest = node.blocks[NUMBER]
    made_up = sealed(NUMBER, honest["parentHash"], [receipt(NUMBER, 10, log())])
    transfer = node.payment(NUMBER, 10)._replace(block_hash=made_up["hash"])

    (found,) = await a_prover(node).prove([credited(transfer)], node.head)

    assert found.outcome is NOT_YET
    assert f"is not block {NUMBER} of the chain that ends in the head" in (found.why or "")


async def test_headers_that_do_not_lead_to_the_head_are_found_out() -> None:
    node = a_node()
    fork = Node({NUMBER: [receipt(NUMBER, 0, log())]}, length=10)

    found = await proven(fork, index=0, head=node.head)

    assert found.outcome is NOT_YET
    assert "does not hash to block" in (found.why or "")


async def test_another_endpoint_proves_in_the_same_poll_what_the_first_one_cannot() -> None:
    liar, honest = a_node(), a_node()
    liar.lie = lambda method, answer: [] if method == "eth_getBlockReceipts" else answer
    prover = a_prover(liar, honest)

    assert (await proven(honest, prover=prover)).outcome is CREDITED
    assert prover.problem is None


@pytest.mark.parametrize(
    "outcome", [VerificationOutcome.REVERTED, VerificationOutcome.NO_TRANSFER_LOG, VerificationOutcome.GONE]
)
async def test_a_payment_that_was_denied_is_credited_when_its_block_shows_it(outcome: VerificationOutcome) -> None:
    node = a_node()
    said = Verification(node.payment(NUMBER, 10), outcome, 0)

    (found,) = await a_prover(node).prove([said], node.head)

    assert found.outcome is CREDITED
    assert found.proof is not None


async def test_a_payment_whose_block_the_head_does_not_come_from_is_gone() -> None:
    node = a_node()
    orphan = node.payment(NUMBER, 10)._replace(block_hash="0x" + "12" * 32)
    said = Verification(orphan, VerificationOutcome.GONE, 0)

    assert await a_prover(node).prove([said], node.head) == [said]
    assert not any("eth_getBlockReceipts" in request for request in node.asked)


async def test_what_could_not_be_judged_is_left_alone() -> None:
    node = a_node()
    said = Verification(node.payment(NUMBER, 10), NOT_YET, 0)

    assert await a_prover(node).prove([said], node.head) == [said]
    assert node.asked == []


async def test_a_payment_that_was_made_up_is_no_transfer_of_its_block() -> None:
    node = a_node()

    (found,) = await a_prover(node).prove([credited(node.payment(NUMBER, 10, AMOUNT * 3))], node.head)

    assert (found.outcome, found.proof) == (VerificationOutcome.NO_TRANSFER_LOG, None)


async def test_a_transaction_that_is_not_in_the_block_is_not_proven() -> None:
    node = a_node()
    stranger = node.payment(NUMBER, 10)._replace(tx_hash=tx_hash(99, 99))

    (found,) = await a_prover(node).prove([credited(stranger)], node.head)

    assert found.outcome is NOT_YET
    assert "holds no transaction" in (found.why or "")


async def test_headers_are_read_once_and_only_the_new_ones_later() -> None:
    node = a_node(length=120)
    prover = a_prover(node)
    await proven(node, prover=prover)
    first = sum(map(len, node.asked))
    node.asked.clear()
    await proven(node, prover=prover)
    again = sum(map(len, node.asked))
    parent = node.blocks[-1]["hash"]
    node.blocks.append(sealed(120, parent, []))
    node.asked.clear()
    await proven(node, prover=prover)

    assert (first, again, sum(map(len, node.asked))) == (115 + 2, 2, 1 + 2)


async def test_no_more_hashes_are_kept_than_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(headers, "MAX_KEPT", 30)
    node = a_node(length=120)
    prover = a_prover(node)

    assert [(await proven(node, prover=prover)).outcome for _ in range(2)] == [CREDITED, CREDITED]
    assert len(prover._headers._hashes) == 30


async def test_many_headers_are_read_in_several_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(headers, "MAX_HEADERS", 50)
    node = a_node(length=160)
    prover = a_prover(node)
    outcomes = []
    for _ in range(4):
        node.asked.clear()
        outcomes.append((await proven(node, prover=prover)).outcome)
        assert sum(map(len, node.asked)) <= 52

    assert outcomes == [NOT_YET, NOT_YET, NOT_YET, CREDITED]


async def test_after_a_reorganisation_the_headers_of_the_other_branch_are_read() -> None:
    node, other = a_node(length=60), a_node(length=60)
    prover = a_prover(node)
    await proven(node, prover=prover)
    for number in range(40, 60):
        other.blocks[number] = sealed(number, other.blocks[number - 1]["hash"], [receipt(number, 0)])
    node.blocks, node.receipts = other.blocks, other.receipts
    node.asked.clear()

    assert (await proven(node, prover=prover)).outcome is CREDITED
    assert len(node.asked) <= 3


async def test_a_receipt_is_read_once_however_many_transfers_in_it_are_asked_about(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two thousand units of dust in one transaction: read anew for each, they stopped the whole process."""
    logs = [log(amount + 1) for amount in range(600)]
    node = Node({NUMBER: [receipt(NUMBER, 0, *logs), receipt(NUMBER, 1, log())]})
    read: list[str] = []

    async def reading(raw: Any, *, tx_hash: str, proxy: str) -> Any:
        read.append(tx_hash)
        return await read_receipt(raw, tx_hash=tx_hash, proxy=proxy)

    monkeypatch.setattr(prover, "read_receipt", reading)
    dust = [credited(node.payment(NUMBER, 0, amount + 1)) for amount in range(600)]
    found = await a_prover(node).prove([*dust, credited(node.payment(NUMBER, 1))], node.head)

    assert read == [tx_hash(NUMBER, 0), tx_hash(NUMBER, 1)]
    assert [each.credited for each in found] == [*range(1, 601), AMOUNT]
    assert [each.proof.log_position for each in found if each.proof] == [*range(600), 0]
