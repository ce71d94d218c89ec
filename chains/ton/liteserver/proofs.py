"""What hashes and signatures show of a transaction, from a key block that is trusted down to it (pure)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from pytoniq_core.boc.cell import Cell
from pytoniq_core.proof.check_proof import ProofError, check_block_signatures, check_proof, compute_validator_set
from pytoniq_core.tl.block import BlockIdExt
from pytoniq_core.tlb.block import Block
from pytoniq_core.tlb.config import ConfigParam28, ConfigParam34

from chains.ton.jettons.cells import is_small
from chains.ton.liteserver.tl import Forward, ShardBlock, ShardLink

MASTERCHAIN = -1
MAX_UNFOLDED = 100_000  # cells, each as often as it is referred to: that often the library looks at it


class ProofFailed(Exception):
    """What was shown does not prove what it was shown for."""


class UnreadableProof(Exception):
    """What was shown is not what the library reads; that need not be a lie."""


class Proven(NamedTuple):
    """A block of the masterchain that validators signed."""

    block: ShardBlock
    is_key: bool


def follow(trusted: ShardBlock, step: Forward) -> Proven:
    """
    Return the block that the validators of a trusted key block signed.

    The library takes the validators from any block the answer shows, and counts one signature as often as it is
    shown: whoever answers could name itself the only validator. So both are looked at here.
    """
    if step.start != trusted:
        raise ProofFailed("a step begins at another block than the last one proven")
    if step.end.workchain != MASTERCHAIN:
        raise ProofFailed("a step leads out of the masterchain")
    config = _read(_block, step.config_proof, trusted.block.root_hash).extra.custom.config
    if config is None:
        raise ProofFailed("a step begins at a block that names no validators")
    if len({signature.node for signature in step.signatures}) != len(step.signatures):
        raise ProofFailed("a validator is counted twice")
    _read(_check_signatures, config.config, step)
    end = _read(_block, step.end_proof, step.end.block.root_hash)
    if end.info is None or end.info.not_master or end.info.seqno != step.end.block.seqno:
        raise ProofFailed("a step ends at another block than it says")
    return Proven(step.end, bool(end.info.key_block))


def follow_shard(master: ShardBlock, links: Iterable[ShardLink], wanted: ShardBlock) -> None:
    """Check that a proven block of the masterchain names a block, or one that comes after it in its chain."""
    proof_of, workchain = master.block.root_hash, MASTERCHAIN
    for link in links:
        block = _read(_block, link.proof, proof_of)
        names = _named if proof_of == master.block.root_hash else _before
        if link.end.block.root_hash not in _read(names, block, link.end.workchain):
            raise ProofFailed("a block is not named by the one that should name it")
        proof_of, workchain = link.end.block.root_hash, link.end.workchain
    # An account has a namesake on the masterchain, and a transaction does not say on which of them it was.
    if (proof_of, workchain) != (wanted.block.root_hash, wanted.workchain):
        raise ProofFailed("the block is not named by the masterchain")


def holds(proof: bytes, block: ShardBlock, account: str, lt: int, tx_hash: str) -> None:
    """Check that a block holds a transaction of an account."""
    workchain, _, digits = account.partition(":")
    if block.workchain != int(workchain):
        raise ProofFailed("the block is one of another workchain")
    shown = _read(_block, proof, block.block.root_hash)
    if _read(_transaction, shown, int(digits, 16), lt) != tx_hash:
        raise ProofFailed("the block does not hold the transaction")


def _block(proof: bytes, root_hash: bytes) -> Any:
    """Read a block of which some parts were left out; all that is left hashes to what is known."""
    if not is_small(proof):
        raise UnreadableProof("a proof that is no bag of cells, or of too many")
    cell: Any = Cell.one_from_boc(proof)
    if _unfolded(cell) > MAX_UNFOLDED:
        raise ProofFailed("a proof of cells that are shared too often")
    check_proof(cell, root_hash)
    return Block.deserialize(cell[0].begin_parse())


def _unfolded(root: Cell) -> int:
    """Return how many cells a bag has when each is counted as often as it is referred to."""
    sizes: dict[int, int] = {}
    waiting = [root]
    while waiting:
        cell = waiting[-1]
        rest = [ref for ref in cell.refs if id(ref) not in sizes]
        if rest:
            waiting += rest
        else:
            sizes[id(cell)] = 1 + sum(sizes[id(ref)] for ref in cell.refs)
            waiting.pop()
    return sizes[id(root)]


def _check_signatures(config: Any, step: Forward) -> None:
    end = step.end.block
    named = BlockIdExt(MASTERCHAIN, step.end.shard, end.seqno, end.root_hash, end.file_hash)
    validators = ConfigParam34.deserialize(config[34]).cur_validators
    nodes = compute_validator_set(ConfigParam28.deserialize(config[28]), named, validators)
    if not nodes:
        raise ProofFailed("a block without validators")
    signatures = [{"node_id_short": each.node.hex(), "signature": each.signature} for each in step.signatures]
    check_block_signatures(nodes=nodes, signatures=signatures, blk=named)


def _named(block: Any, workchain: int) -> set[bytes]:
    shards = block.extra.custom.shard_hashes.get(workchain)
    return {shard.root_hash for shard in shards.list if shard is not None} if shards is not None else set()


def _before(block: Any, workchain: int) -> set[bytes]:
    if block.info.shard.workchain_id != workchain:
        return set()
    before = block.info.prev_ref
    return {before.prev.root_hash} if not block.info.after_merge else {before.prev1.root_hash, before.prev2.root_hash}


def _transaction(block: Any, account: int, lt: int) -> str:
    found: Any = block.extra.account_blocks[0][account].transactions[0][lt]
    cell = found if isinstance(found, Cell) else found.cell
    return bytes(cell.get_hash(0)).hex()


def _read(read: Any, *given: Any) -> Any:
    """Return what the library reads, or say that it cannot: it raises whatever its steps raise."""
    try:
        return read(*given)
    except (ProofFailed, UnreadableProof):
        raise
    except ProofError as exc:
        raise ProofFailed(str(exc)) from exc
    except Exception as exc:
        raise UnreadableProof(f"a proof that cannot be read ({type(exc).__name__})") from exc
