"""Whether it was the contract that failed a call, or the node: only the node may be left alone for it."""

from __future__ import annotations

import re

from chains.errors import ChainError
from chains.evm.rpc.client import RpcRefused

# How nodes say that it was the contract. A contract chooses the words after them: "rate limit exceeded" is its own.
_HALTED = re.compile(
    r"revert|opcode|out of gas|gas required|gas (?:limit )?exceed|vm (?:execution|exception)|invalid jump|bad jump|"
    r"execution (?:aborted|error|failed)|stack|overflow|write protection|return data|out of bounds|invalid code"
)
_REVERTED = "(code 3)"


def contract_failed(error: ChainError | None) -> bool:
    """Say whether a refused call is the contract's doing, whatever words it chose."""
    if not isinstance(error, RpcRefused):
        return False
    said = str(error)
    return said.endswith(_REVERTED) or _HALTED.search(said.lower()) is not None
