"""A deal that is paid through a hosted provider: the provider's stand-in, and the chain as the scanner sees it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson

from devnet.hosted.request_network import RequestNetworkServer
from devnet.hosted.shkeeper import ShkeeperServer
from tests.marketplace.accepted_purchase import AcceptedPurchase
from tests.marketplace.fake_scanner import SENDER, tx_hash

KEY = "a-key-of-shkeeper"
API_KEY = "a-key-of-request-network"
HOOK_KEY = "a webhook secret of request network"
SHKEEPER_HOOK = "/api/payment/shkeeper/webhook"
REQUEST_NETWORK_HOOK = "/api/payment/request-network/webhook"
ONE = 10**18


def of_shkeeper(server: ShkeeperServer) -> dict[str, str]:
    """Return the settings that name a SHKeeper."""
    cryptos = orjson.dumps({"97": {"USDT": "BNB-USDT", "USDC": "BNB-USDC"}}).decode()
    return {"SHKEEPER_URL": server.url, "SHKEEPER_API_KEY": KEY, "SHKEEPER_CRYPTOS": cryptos}


def of_request_network(server: RequestNetworkServer) -> dict[str, str]:
    """Return the settings that name an account of Request Network."""
    return {
        "REQUEST_NETWORK_URL": server.url,
        "REQUEST_NETWORK_API_KEY": API_KEY,
        "REQUEST_NETWORK_WEBHOOK_SECRET": HOOK_KEY,
        "REQUEST_NETWORK_CHAINS": "97",
    }


@dataclass(slots=True)
class HostedPurchase:
    """A purchase, and the two stand-ins."""

    purchase: AcceptedPurchase
    shkeeper: ShkeeperServer
    request_network: RequestNetworkServer
    provider: str
    known: dict[tuple[str, str], str] = field(default_factory=dict)  # what of a payment stays, by its id and name

    async def open(self, **fields: Any) -> dict[str, Any]:
        return await self.purchase.open("direct", provider=self.provider, **fields)

    @property
    def payment_id(self) -> str:
        return self.purchase.payment_id

    def column(self, name: str) -> Any:
        """Return what lies in the store of the payment: access tokens end sooner than payments."""
        with self.purchase.market.opened() as store:
            sql = f"SELECT {name} FROM payments WHERE id = ?"  # noqa: S608 - columns of ours
            (row,) = store.execute(sql, [self.payment_id]).fetchall()
        return row[0]

    def address(self) -> str:
        """Return where it is paid."""
        return self._lasting("destination")

    def _lasting(self, name: str) -> str:
        """
        Return what of a payment does not change any more once it is known.

        Asked for before each of 360 transfers it stopped this loop for seven seconds, and the backend in it: whoever
        began a transaction was told that the store does not answer.
        """
        key = (self.payment_id, name)
        found = self.known.get(key) or self.column(name)
        if found is not None:
            self.known[key] = found
        return str(found)

    def told_admins(self) -> list[str]:
        """Return what admins were told of the payment."""
        with self.purchase.market.opened() as store:
            sql = (
                "SELECT n.type FROM notifications n JOIN users u ON u.id = n.user_id"
                " WHERE u.role = 'admin' AND n.related_id = ? ORDER BY n.seq"
            )
            return [kind for (kind,) in store.execute(sql, [self.payment_id]).fetchall()]

    def recoveries(self) -> list[tuple[str, str | None]]:
        """Return what waits for a person."""
        with self.purchase.market.opened() as store:
            sql = "SELECT reason, amount_base FROM recoveries WHERE payment_id = ?"
            return [(reason, amount) for reason, amount in store.execute(sql, [self.payment_id]).fetchall()]

    def on_chain(self, amount: int, *, token: str | None = None, to: str | None = None, **more: Any) -> str:
        """Let money come on the chain; return the transaction."""
        moved = {
            "chainId": 97,
            "tokenAddress": token or self._lasting("token_address"),
            "from": more.pop("sender", SENDER),
            "to": to or self.address(),
            "amountBaseUnits": str(amount),
        }
        return self.purchase.scanner.carries_out(moved, **more)

    def told(self, tx: str, amount: str, **more: Any) -> dict[str, Any]:
        """Let the provider see a transaction; return what it tells."""
        if self.provider == "shkeeper":
            return self.shkeeper.pay(self.payment_id, amount, tx, **more)
        name = self.request_network.of(self.payment_id)["requestId"]
        return self.request_network.pay(name, amount, tx, **more)

    async def send(self, body: dict[str, Any], **headers: str | None) -> tuple[int, Any]:
        """Deliver a webhook as the provider does."""
        session = self.purchase.buyer.session
        if self.provider == "shkeeper":
            return await self.shkeeper.send(session, body, now=self.purchase.clock.now_ms() // 1000, **headers)
        url = self.purchase.buyer.url + REQUEST_NETWORK_HOOK
        return await self.request_network.send(session, url, body, **headers)

    async def pay(self, amount: int = 10 * ONE, **more: Any) -> tuple[int, Any]:
        """Pay on the chain, and tell."""
        tx = self.on_chain(amount, **more)
        return await self.send(self.told(tx, _decimal(amount)))

    async def sweep(self) -> None:
        await self.purchase.market.marketplace.sweep.once()

    def state(self) -> tuple[str, str | None, str | None]:
        """Return status, escrow and why it is held."""
        return self.column("status"), self.column("escrow_state"), self.column("hold_reason")


def _decimal(amount: int) -> str:
    whole, rest = divmod(amount, ONE)
    return f"{whole}.{rest:018d}".rstrip("0").rstrip(".")


def nowhere() -> str:
    """Return a transaction that is on no chain."""
    return tx_hash()
