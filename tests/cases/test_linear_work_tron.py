"""Work on one transaction of Tron grows with its events and no faster."""

from __future__ import annotations

from chains.tron.transfer_log import TransferLog
from chains.types import VerificationOutcome
from devnet.tron.ledger import USDT
from tests.chains.tron_world import SHOP, scan_all

MANY = 2_000
RECEIPT = "/walletsolidity/gettransactioninfobyid"


async def test_the_second_look_at_many_transfers_of_one_transaction_is_linear(tron, monkeypatch):
    """Two thousand dust transfers in one transaction once kept another buyer's payment waiting for seconds."""
    grid = await tron.grid()
    adapter = await tron.adapter(grid)
    after = tron.start()
    tron.ledger.transfers([(USDT, SHOP, 1)] * MANY)
    tron.ledger.settle()
    found, _ = await scan_all(adapter, after)
    head, key, made = await adapter.head(), TransferLog.key.fget, []
    monkeypatch.setattr(TransferLog, "key", property(lambda credit: made.append(1) or key(credit)))
    grid.calls.clear()
    seen = await adapter.verify(found, head=head)
    assert [each.outcome for each in seen] == [VerificationOutcome.CREDITED] * MANY
    assert grid.calls[RECEIPT] == 1
    assert len(made) == MANY
