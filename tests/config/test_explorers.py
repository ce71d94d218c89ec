"""Links into a chain's explorer."""

from __future__ import annotations

import pytest

from config.catalog import Chain, read_registries
from config.explorers import address_url, token_url, transaction_url
from tests.harness import ROOT

CHAINS, _ = read_registries(ROOT / "supported-chains.json", ROOT / "tokens.json")


@pytest.mark.parametrize(
    ("chain_id", "transaction", "address", "token"),
    [
        (1, "https://etherscan.io/tx/H", "https://etherscan.io/address/A", "https://etherscan.io/token/A"),
        (
            728126428,
            "https://tronscan.org/#/transaction/H",
            "https://tronscan.org/#/address/A",
            "https://tronscan.org/#/token20/A",
        ),
        (1100, "https://tonviewer.com/transaction/H", "https://tonviewer.com/A", "https://tonviewer.com/A"),
    ],
)
def test_each_family_has_its_own_paths(chain_id: int, transaction: str, address: str, token: str) -> None:
    chain = CHAINS[chain_id]

    assert (transaction_url(chain, "H"), address_url(chain, "A"), token_url(chain, "A")) == (
        transaction,
        address,
        token,
    )


def test_without_an_explorer_or_a_hash_there_is_no_link() -> None:
    bare: Chain = CHAINS[1].model_copy(update={"explorer": None})

    assert (transaction_url(bare, "H"), address_url(bare, "A"), token_url(bare, "A")) == (None, None, None)
    assert transaction_url(CHAINS[1], None) is None
