"""
The ERC20FeeProxy contract: its event, its function, and the calldata that pays through it.

Source: Request Network, packages/smart-contracts/src/contracts/ERC20FeeProxy.sol
"""

from __future__ import annotations

from eth_abi.abi import encode

from config.checksum import keccak

EVENT = "TransferWithReferenceAndFee(address,address,uint256,bytes,uint256,address)"
FUNCTION = "transferFromWithReferenceAndFee(address,address,uint256,bytes,uint256,address)"
ERC20_TRANSFER = "Transfer(address,address,uint256)"

EVENT_TOPIC = f"0x{keccak(EVENT.encode()).hex()}"
TRANSFER_TOPIC = f"0x{keccak(ERC20_TRANSFER.encode()).hex()}"
SELECTOR = keccak(FUNCTION.encode())[:4]


def calldata(*, token: str, destination: str, amount: int, reference: str, fee_amount: int, fee_address: str) -> str:
    """Return the call that pays one intent; `reference` is 0x + 16 hex, amounts are base units."""
    arguments = encode(
        ["address", "address", "uint256", "bytes", "uint256", "address"],
        [token, destination, amount, bytes.fromhex(reference[2:]), fee_amount, fee_address],
    )
    return f"0x{(SELECTOR + arguments).hex()}"
