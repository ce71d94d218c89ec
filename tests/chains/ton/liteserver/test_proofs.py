"""With `proof`, nothing is confirmed that validators did not sign, whoever shows it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from chains.errors import ChainMisconfigured, ChainProtocolError, ChainUnavailable
from chains.ton.adapter import TonAdapter
from chains.ton.liteserver import proofs, proven_chain, tl
from chains.ton.liteserver.proofs import ProofFailed, UnreadableProof, follow, follow_shard, holds
from chains.ton.liteserver.proven_chain import ProvenChain
from chains.ton.liteserver.tl import Forward, ShardBlock, ShardLink, Signature, parse_block_proof, parse_shard_proof
from chains.types import EndpointState, Transfer, Verification, VerificationOutcome
from config.catalog import Proof
from config.liteservers import BlockId
from devnet.ton.blocks import Block, Held, SignedChain, Validators, key_block, master_block, shard_block
from devnet.ton.cells import Known
from devnet.ton.liteserver import BLOCK_LIES
from tests.chains.ton_world import OWNER, TonWorld, seen

CREDITED, NOT_YET = VerificationOutcome.CREDITED, VerificationOutcome.NOT_YET
OTHER_HASH = "Provided invalid hash"
FOUND_OUT = {
    "the block holds another transaction": OTHER_HASH,
    "the block holds nothing of the account": OTHER_HASH,
    "cells are shared without end": "shared too often",
    "the masterchain names another block": "not named by the one that should name it",
    "a block follows another one": OTHER_HASH,
    "the way ends early": "not named by the masterchain",
    "no way is shown": "not named by the masterchain",
    "no step is shown": "nothing leads from a proven block",
    "validators are made up": OTHER_HASH,
    "a step begins elsewhere": "begins at another block",
    "half of them signed": "Block <TL BlockIdExt",
    "one of them signed as often as it takes": "counted twice",
    "a signature is none": "invalid signature",
    "strangers signed": "cannot find node_id_short",
    "a step ends at another block": OTHER_HASH,
}


@pytest.fixture
async def ton() -> AsyncIterator[TonWorld]:
    async with AsyncExitStack() as stack:
        yield TonWorld(stack)


async def paid(ton: TonWorld, adapter: TonAdapter) -> Transfer:
    ton.ledger.pay(OWNER, 1_000_000)
    ton.ledger.advance()
    return (await seen(adapter, OWNER))[-1]


async def verified(adapter: TonAdapter, transfer: Transfer) -> Verification:
    (found,) = await adapter.verify([transfer], head=await adapter.head())
    return found


async def test_what_validators_signed_is_confirmed(ton: TonWorld) -> None:
    server = await ton.liteserver()
    adapter = await ton.adapter(await ton.center(), second=[server], proof=Proof.LITESERVER)

    found = await verified(adapter, await paid(ton, adapter))

    assert (found.outcome, found.why) == (CREDITED, None)
    assert server.calls["getOneTransaction"] == 2
    assert server.calls["getShardBlockProof"] == 2
    assert server.calls["getBlockProof"] == 2
    assert adapter.condition().problems == ()


@pytest.mark.long
@pytest.mark.parametrize("lie", BLOCK_LIES)
async def test_what_is_not_proven_is_not_confirmed_and_who_shows_it_is_named(ton: TonWorld, lie: str) -> None:
    first, other = await ton.liteserver(), await ton.liteserver()
    alone = await ton.adapter(await ton.center(), second=[first], proof=Proof.LITESERVER)
    both = await ton.adapter(await ton.center(), second=[first, other], proof=Proof.LITESERVER)
    transfer = await paid(ton, both)
    first.lie = lie

    found = await verified(alone, transfer)

    assert found.outcome is NOT_YET
    assert f"{first.label}#1 second" in (found.why or "")
    assert FOUND_OUT[lie] in (found.why or "")
    assert found.why in alone.condition().problems
    _, liar = alone.condition().endpoints
    assert liar.state is EndpointState.LYING
    assert (await verified(both, transfer)).outcome is CREDITED


async def test_proofs_need_liteservers(ton: TonWorld) -> None:
    with pytest.raises(ChainMisconfigured, match="proof needs TON_LITESERVERS"):
        await ton.adapter(await ton.center(), proof=Proof.LITESERVER)


# --- each step by itself --------------------------------------------------------------------------


def named(block: Block) -> ShardBlock:
    return ShardBlock(block.workchain, -(1 << 63), BlockId(block.seqno, block.root_hash, block.file_hash))


def step(start: Block, end: Block, by: Validators) -> Forward:
    signatures = tuple(Signature(*each) for each in by.signatures(end))
    return Forward(named(start), named(end), start.proof, end.proof, signatures)


@pytest.fixture(scope="module")
def chain() -> SignedChain:
    return SignedChain()


def test_a_step_leads_to_what_the_validators_of_a_key_block_signed(chain: SignedChain) -> None:
    assert follow(named(chain.init), step(chain.init, chain.key, chain.first)) == (named(chain.key), True)
    end = master_block(30, [])
    assert follow(named(chain.key), step(chain.key, end, chain.second)) == (named(end), False)


def test_a_block_is_signed_by_two_thirds_of_the_weight(chain: SignedChain) -> None:
    end = master_block(30, [])
    good = step(chain.key, end, chain.second)

    assert follow(named(chain.key), good._replace(signatures=good.signatures[:3]))  # of four
    with pytest.raises(ProofFailed):
        follow(named(chain.key), good._replace(signatures=good.signatures[:2]))


def test_a_step_is_refused_where_any_of_it_is_not_what_it_says(chain: SignedChain) -> None:
    end = master_block(30, [])
    good = step(chain.key, end, chain.second)
    elsewhere = good.end._replace(workchain=0)
    later = good.end._replace(block=replace(good.end.block, seqno=31))
    for bad, why in (
        (good._replace(start=named(chain.init)), "begins at another block"),
        (good._replace(end=elsewhere), "out of the masterchain"),
        (good._replace(end=later), "ends at another block"),
        (good._replace(config_proof=chain.init.proof), OTHER_HASH),
        (good._replace(end_proof=chain.init.proof), OTHER_HASH),
        (good._replace(signatures=good.signatures[:1] * 4), "counted twice"),
        (good._replace(end=good.end._replace(block=replace(good.end.block, file_hash=bytes(32)))), "invalid signature"),
    ):
        with pytest.raises(ProofFailed, match=why):
            follow(named(chain.key), bad)
    with pytest.raises(ProofFailed, match="names no validators"):
        follow(named(end), step(end, master_block(31, []), chain.second))
    shard = shard_block(30, None)
    signed = step(chain.key, shard, chain.second)
    with pytest.raises(ProofFailed, match="ends at another block"):
        follow(named(chain.key), signed._replace(end=signed.end._replace(workchain=-1)))


def test_a_block_of_a_shard_is_named_by_the_masterchain_or_by_a_later_one() -> None:
    block = shard_block(5, None)
    after = shard_block(6, None, block)
    master = master_block(30, [after])

    follow_shard(named(master), [ShardLink(named(after), master.proof)], named(after))
    follow_shard(
        named(master), [ShardLink(named(after), master.proof), ShardLink(named(block), after.proof)], named(block)
    )
    follow_shard(named(master), [], named(master))
    elsewhere = named(after)._replace(workchain=1)
    for links in (
        [],
        [ShardLink(named(after), master.proof)],
        [ShardLink(named(block), master.proof)],
        [ShardLink(elsewhere, master.proof), ShardLink(named(block), after.proof)],
        [ShardLink(named(after), master.proof), ShardLink(named(block)._replace(workchain=1), after.proof)],
        [ShardLink(named(after), master.proof), ShardLink(named(shard_block(7, None)), after.proof)],
    ):
        with pytest.raises((ProofFailed, UnreadableProof)):
            follow_shard(named(master), links, named(block))
    with pytest.raises(ProofFailed, match="not named"):  # a block of the masterchain that is said to be of another
        follow_shard(named(master), [], named(master)._replace(workchain=0))


def test_a_block_holds_a_transaction_of_an_account_at_a_time() -> None:
    known = Known(b"\x11" * 32, 4)
    block = shard_block(5, Held(OWNER, 77, known))
    right = (block.proof, named(block), OWNER, 77, known.hash.hex())

    holds(*right)
    with pytest.raises(ProofFailed, match="does not hold"):
        holds(*right[:4], "22" * 32)
    with pytest.raises(ProofFailed, match="another workchain"):
        holds(block.proof, named(block), OWNER.replace("0:", "-1:", 1), 77, known.hash.hex())
    for account, lt in ((OWNER, 78), ("0:" + "22" * 32, 77)):
        with pytest.raises(UnreadableProof):
            holds(block.proof, named(block), account, lt, known.hash.hex())


def test_no_bytes_prove_anything() -> None:
    block = shard_block(5, Held(OWNER, 77, Known(b"\x11" * 32, 4)))
    whole = block.proof
    for spoilt in (b"", b"\x00" * 50, whole[:-1], whole[: len(whole) // 2], whole + whole):
        with pytest.raises((ProofFailed, UnreadableProof)):
            holds(spoilt, named(block), OWNER, 77, "33" * 32)
    for place in range(0, len(whole), 3):
        changed = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
        with pytest.raises((ProofFailed, UnreadableProof)):
            holds(changed, named(block), OWNER, 77, "33" * 32)


@pytest.mark.parametrize("parse", [parse_block_proof, parse_shard_proof])
@pytest.mark.parametrize(
    "raw", [b"", b"\x00" * 200, tl.BLOCK_PROOF, tl.BLOCK_PROOF + b"\xff" * 400, tl.SHARD_PROOF * 60]
)
def test_what_is_no_answer_about_blocks_is_no_answer(parse, raw: bytes) -> None:
    with pytest.raises(ValueError):
        parse(raw)


def test_a_list_longer_than_any_real_one_is_not_read() -> None:
    many = (tl.MAX_LINKS + 1).to_bytes(4, "little")
    with pytest.raises(ValueError, match="a list of 65 elements"):
        parse_shard_proof(tl.SHARD_PROOF + bytes(80) + many + bytes(10_000))
    with pytest.raises(ValueError, match="a list of 65 elements"):
        parse_block_proof(tl.BLOCK_PROOF + bytes(164) + many + bytes(10_000))


# --- the chain as far as it was proven ------------------------------------------------------------


class Shown:
    """Key blocks in a row, each signed by those the one before names, one step an answer."""

    def __init__(self, count: int) -> None:
        self.by = [Validators() for _ in range(count)]
        self.blocks = [key_block(10 * (number + 1), by) for number, by in enumerate(self.by)]
        self.asked: list[int] = []

    async def steps(self, start: ShardBlock, end: ShardBlock) -> list[Forward]:
        self.asked.append(start.block.seqno)
        place = next(n for n, block in enumerate(self.blocks) if named(block) == start)
        last = next(b for b in [*self.blocks, *getattr(self, "more", [])] if named(b) == end)
        following = (
            self.blocks[place + 1]
            if place + 1 < len(self.blocks) and self.blocks[place + 1].seqno <= last.seqno
            else last
        )
        return [step(self.blocks[place], following, self.by[place])]


async def test_what_was_proven_on_the_way_is_where_the_next_go_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proven_chain, "MAX_QUESTIONS", 2)
    shown = Shown(5)
    chain = ProvenChain(named(shown.blocks[0]).block)

    with pytest.raises(ChainUnavailable, match="proven up to block 30 by now"):
        await chain.reach(named(shown.blocks[-1]), shown.steps)
    await chain.reach(named(shown.blocks[-1]), shown.steps)
    await chain.reach(named(shown.blocks[2]), shown.steps)

    assert shown.asked == [10, 20, 30, 40]


async def test_a_block_before_the_trusted_one_cannot_be_proven() -> None:
    shown = Shown(1)
    chain = ProvenChain(named(shown.blocks[0]).block)

    with pytest.raises(ChainProtocolError, match="before init_block"):
        await chain.reach(named(master_block(9, [])), shown.steps)


async def test_key_blocks_and_others_are_remembered_up_to_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proven_chain, "MAX_KEYS", 2)
    monkeypatch.setattr(proven_chain, "MAX_BLOCKS", 1)
    shown = Shown(4)
    shown.more = [master_block(41, []), master_block(42, [])]  # type: ignore[attr-defined]
    chain = ProvenChain(named(shown.blocks[0]).block)
    for block in shown.more:  # type: ignore[attr-defined]
        await chain.reach(named(block), shown.steps)

    assert [key.block.seqno for key in chain._keys] == [30, 40]
    assert [block.block.seqno for block in chain._proven] == [42]


def test_the_bound_on_shared_cells_counts_each_as_often_as_it_is_referred_to() -> None:
    block = shard_block(5, None)
    assert proofs._unfolded(proofs.Cell.one_from_boc(block.proof)) < 50
