"""Headers and receipts are encoded as the libraries encode them, and as go-ethereum hashed them."""

from __future__ import annotations

import json
from typing import Any

import pytest
import rlp
from eth_hash.auto import keccak
from trie import HexaryTrie

from chains.errors import ChainProtocolError
from chains.evm.proofs.encoding import Unencodable, encoded_header, encoded_receipt
from chains.evm.proofs.receipt_tree import EMPTY_ROOT, receipt_tree
from tests.chains.evm.proofs.chain import HASH, by_library, log, receipt, sealed
from tests.harness import ROOT

# A block of the execution layer's public tests, of the types 2, 1 and 0, made by go-ethereum
# (github.com/ethereum/execution-apis at 02367765027ad61bc0cdbcb50f97ee8d4ba9f8de:
# tests/eth_getBlockByNumber/get-latest.io and tests/eth_getBlockReceipts/get-block-receipts-latest.io).
BLOOM = "0x" + "00" * 256
BLOCK = {
    "baseFeePerGas": "0x44103f2",
    "blobGasUsed": "0x0",
    "difficulty": "0x0",
    "excessBlobGas": "0x0",
    "extraData": "0x",
    "gasLimit": "0x23f3e20",
    "gasUsed": "0xf618",
    "hash": "0x8f64c4436f7213cfdf02cfb9f45d012f1774dfb329b8803de5e7479b11586902",
    "logsBloom": BLOOM,
    "miner": "0x0000000000000000000000000000000000000000",
    "mixHash": HASH,
    "nonce": "0x0000000000000000",
    "number": "0x14",
    "parentBeaconBlockRoot": "0x3cc9f65fc1f46927eb46fbf6d14bc94af078fe8ff982a984bdd117152cd1549f",
    "parentHash": "0x1963d4b2e19fb79daf720655b4af341c04a43b36da95f71f5e0943351c8728a3",
    "receiptsRoot": "0x4b7fefa97a453e0ee0cea1d51ca4ab3729f3a2a6a8388a5a3b13765eec3720b7",
    "sha3Uncles": "0x1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347",
    "stateRoot": "0x5ecd3199a7bbfd931736b92d5447d80610c6eaff932819eb3e2379d1d931f972",
    "timestamp": "0xc8",
    "totalDifficulty": "0x20000",
    "transactionsRoot": "0x629794cb0634ec45415a05e987695425dab3c44f90243ff3ecd5b58184534828",
    "withdrawalsRoot": "0xaf7e8178225d047b7373d37459e9cb4060b8875bd0286059d211df82ec5d84ee",
}
RECEIPTS = [
    {"cumulativeGasUsed": gas, "logs": [], "logsBloom": BLOOM, "status": "0x1", "type": kind}
    for gas, kind in (("0x5208", "0x2"), ("0xa410", "0x1"), ("0xf618", "0x0"))
]
# Of a receipt that the root of a real block covers (`tests/clients/proofs/real.json`): its parts.
REAL = json.loads((ROOT / "tests" / "clients" / "proofs" / "real.json").read_text())


async def test_a_block_of_go_ethereum_is_encoded_as_it_was_hashed() -> None:
    tree = await receipt_tree(list(map(encoded_receipt, RECEIPTS)), [])

    assert keccak(encoded_header(BLOCK, BLOCK["hash"])).hex() == BLOCK["hash"][2:]
    assert tree.root.hex() == BLOCK["receiptsRoot"][2:]


@pytest.mark.parametrize("real", REAL, ids=lambda real: real["name"])
def test_a_receipt_of_a_real_block_is_encoded_as_it_was_hashed(real: dict[str, Any]) -> None:
    status, gas, bloom, logs = rlp.decode(bytes.fromhex(real["receipt"][2:]))
    told = {
        "status": "0x" + status.hex(),
        "cumulativeGasUsed": hex(int.from_bytes(gas)),
        "logsBloom": "0x" + bloom.hex(),
        "logs": [
            {
                "address": "0x" + address.hex(),
                "topics": ["0x" + topic.hex() for topic in topics],
                "data": "0x" + data.hex(),
            }
            for address, topics, data in logs
        ],
    }

    assert encoded_receipt(told).hex() == real["receipt"][2:]


@pytest.mark.parametrize("kind", [0, 1, 2, 3, 4, 0x7E])
def test_receipts_of_every_type_are_encoded(kind: int) -> None:
    told = receipt(1, 0, log(), kind=kind)

    assert encoded_receipt(told) == by_library(told)


def test_a_deposit_holds_its_nonce_and_version_since_it_has_a_version() -> None:
    told = receipt(1, 0, log(), kind=0x7E, depositNonce="0x5")

    assert encoded_receipt(told) == by_library(receipt(1, 0, log(), kind=0x7E))
    told |= {"depositReceiptVersion": "0x1"}
    assert encoded_receipt(told) == by_library(told)
    assert rlp.decode(encoded_receipt(told)[1:])[4:] == [b"\x05", b"\x01"]


def test_a_receipt_from_before_there_was_a_status_holds_the_root() -> None:
    told = receipt(1, 0, kind=0) | {"status": None, "root": HASH}

    assert rlp.decode(encoded_receipt(told))[0] == bytes(32)


@pytest.mark.parametrize("name", ["parentHash", "number", "extraData", "baseFeePerGas", "receiptsRoot", "nonce"])
def test_a_header_that_is_changed_does_not_hash_to_its_block(name: str) -> None:
    block = sealed(7, HASH, [])
    changed = {"number": "0x8", "extraData": "0x01", "baseFeePerGas": "0x8", "nonce": "0x0000000000000001"}

    with pytest.raises(ChainProtocolError, match="does not hash to block"):
        encoded_header(block | {name: changed.get(name, "0x" + "11" * 32)}, block["hash"])


@pytest.mark.parametrize(
    "changed",
    [
        {"type": "0x5"},
        {"type": "0x7b"},
        {"logs": None},
        {"logs": ["log"]},
        {"logs": [{"address": "0x", "topics": None, "data": "0x"}]},
        {"logs": [log() | {"topics": ["0x12"]}]},
        {"logs": [log() | {"data": "0x123"}]},
        {"logsBloom": None},
        {"status": 1},
        {"status": "0x"},
        {"cumulativeGasUsed": "0x" + "1" * 65},
        {"cumulativeGasUsed": "0xgg"},
        {"status": None},
    ],
    ids=str,
)
def test_what_is_no_receipt_or_of_an_unknown_type_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(Unencodable):
        encoded_receipt(receipt(1, 0, log()) | changed)


@pytest.mark.parametrize("count", [1, 2, 3, 15, 16, 17, 127, 128, 129, 130, 256, 257, 300])
async def test_the_tree_is_the_one_that_the_library_builds(count: int) -> None:
    receipts = [keccak(index.to_bytes(4)) * 10 for index in range(count)]
    library = HexaryTrie({})
    for index, each in enumerate(receipts):
        library[rlp.encode(index)] = each

    shown = {0, count // 2, count - 1}
    tree = await receipt_tree(receipts, shown)

    assert tree.root == library.root_hash
    assert tree.nodes == {index: [rlp.encode(node) for node in library.get_proof(rlp.encode(index))] for index in shown}


async def test_a_block_without_receipts_has_the_root_of_no_tree() -> None:
    assert (await receipt_tree([], [])).root == EMPTY_ROOT == HexaryTrie({}).root_hash
