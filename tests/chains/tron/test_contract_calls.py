"""What token contracts answer on Tron."""

from __future__ import annotations

import pytest

from chains.tron import contract_calls


@pytest.mark.parametrize(
    ("answer", "symbol"),
    [
        (f"{32:064x}{4:064x}" + b"USDT".hex().ljust(64, "0"), "USDT"),
        (f"{64:064x}{0:064x}{4:064x}" + b"USDT".hex().ljust(64, "0"), "USDT"),
        (f"{64:064x}{0:064x}{4:064x}" + b"USD".hex(), None),
        (f"{64:064x}{0:064x}{2**255:064x}", None),
        (f"{2**255:064x}{4:064x}", None),
    ],
)
async def test_a_symbol_is_read_wherever_the_contract_puts_it(answer: str, symbol: str | None) -> None:
    assert await contract_calls._symbol(bytes.fromhex(answer)) == symbol
