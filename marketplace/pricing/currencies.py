"""The currencies of prices: what is a dollar by its name, what is one on chain, and what has to be converted."""

from __future__ import annotations

from typing import Final

STABLECOINS: Final = frozenset({"USDT", "USDC"})
AT_PAR: Final = STABLECOINS | {"USD"}  # one dollar each, as far as a price goes
CONVERTED: Final = frozenset({"EUR", "TRY", "IRR"})
PRICED: Final = STABLECOINS | CONVERTED  # what a source can say anything of
