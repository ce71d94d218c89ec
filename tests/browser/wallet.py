"""A wallet that is injected into a page (EIP-1193, EIP-6963) and signs with a real key."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from eth_account import Account
from eth_account.signers.local import LocalAccount
from playwright.async_api import Page

from devnet.evm.anvil import CHAIN_ID, Anvil
from devnet.evm.local_node import AnvilError, call_data

NAME = "Test wallet"
ELSEWHERE = "0x1"  # the chain it is on at first
FORWARDED = frozenset({"eth_call", "eth_estimateGas", "eth_getTransactionReceipt", "eth_blockNumber"})
SCRIPT = """
(() => {
  const request = async (asked) => {
    const answer = await window.__wallet(asked.method, asked.params ?? []);
    if (answer.error) throw Object.assign(new Error(answer.error.message), { code: answer.error.code });
    return answer.result;
  };
  const provider = { request, isTest: true };
  const info = { uuid: "1", name: "Test wallet", icon: "https://elsewhere.example/icon.png", rdns: "example.test" };
  const announce = () => dispatchEvent(new CustomEvent("eip6963:announceProvider", {
    detail: Object.freeze({ info, provider }),
  }));
  if (%s) { addEventListener("eip6963:requestProvider", announce); announce(); } else { window.ethereum = provider; }
})();
"""


class WalletError(Exception):
    """What a wallet refuses with."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass
class Wallet:
    """One key on one chain; it is on another network at first and does not know this one."""

    chain: Anvil
    account: LocalAccount = field(default_factory=Account.create)
    chain_id: str = ELSEWHERE
    known: set[str] = field(default_factory=lambda: {ELSEWHERE})
    asked: list[str] = field(default_factory=list)
    added: list[dict[str, Any]] = field(default_factory=list)
    sent: list[dict[str, Any]] = field(default_factory=list)
    refuses: frozenset[str] = frozenset()

    @property
    def address(self) -> str:
        return str(self.account.address)

    async def own(self, token: str, amount: int) -> None:
        """Own tokens, and coin for gas; the proxy may take nothing yet."""
        await self.chain.rpc("anvil_setBalance", [self.address, hex(10**20)])
        await self.chain.send(token, call_data("mint(address,uint256)", self.address, amount))

    async def inject(self, page: Page, *, announced: bool = True) -> None:
        await page.expose_function("__wallet", self._request)
        await page.add_init_script(SCRIPT % ("true" if announced else "false"))

    async def _request(self, method: str, params: list[Any]) -> dict[str, Any]:
        self.asked.append(method)
        try:
            return {"result": await self._answer(method, params)}
        except WalletError as refused:
            return {"error": {"code": refused.code, "message": str(refused)}}
        except AnvilError as failed:
            return {"error": {"code": -32000, "message": str(failed)}}

    async def _answer(self, method: str, params: list[Any]) -> Any:
        if method in self.refuses:
            raise WalletError(4001, "User rejected the request.")
        match method:
            case "eth_requestAccounts":
                return [self.address]
            case "eth_chainId":
                return self.chain_id
            case "wallet_switchEthereumChain":
                if params[0]["chainId"] not in self.known:
                    raise WalletError(4902, "Unrecognized chain ID.")
                self.chain_id = params[0]["chainId"]
                return None
            case "wallet_addEthereumChain":
                self.added.append(params[0])
                self.known.add(params[0]["chainId"])
                return None
            case "eth_sendTransaction":
                return await self._send(params[0])
            case _ if method in FORWARDED:
                return await self.chain.rpc(method, params)
        raise WalletError(4200, f"{method} is not supported")

    async def _send(self, asked: dict[str, Any]) -> str:
        if int(self.chain_id, 16) != CHAIN_ID:
            raise WalletError(4901, "another chain")
        assert asked["from"] == self.address
        self.sent.append(asked)
        nonce = int(await self.chain.rpc("eth_getTransactionCount", [self.address, "latest"]), 16)
        signed = self.account.sign_transaction(
            {
                "to": asked["to"],
                "data": asked["data"],
                "value": int(asked["value"], 16),
                "gas": 500_000,
                "gasPrice": int(await self.chain.rpc("eth_gasPrice"), 16) * 2,
                "nonce": nonce,
                "chainId": CHAIN_ID,
            }
        )
        return str(await self.chain.rpc("eth_sendRawTransaction", ["0x" + signed.raw_transaction.hex()]))
