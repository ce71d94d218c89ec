"""Looks at one socket for new heads as an operator would: whether it announces this chain's blocks."""

from __future__ import annotations

from chains.errors import ChainError
from chains.evm.push.head_socket import HeadSocket, SocketLimits
from chains.findings import Finding, ok, warning
from chains.rpc.endpoint import Endpoint
from chains.rpc.http_client import HttpClient
from config.catalog import Chain
from config.settings import SOCKET_SUFFIX

PATIENCE_S = 30.0  # twice as long as the slowest chain needs for a block
WHAT = "new heads"


class _Announced(Exception):
    """A block was announced."""


async def socket_finding(http: HttpClient, chain: Chain, endpoint: Endpoint) -> Finding:
    """Wait for one announcement."""
    limits = SocketLimits(silent_s=PATIENCE_S)
    heard: list[int] = []

    def on_head(number: int) -> None:
        heard.append(number)
        raise _Announced

    try:
        await HeadSocket(http, endpoint.url, chain_id=chain.chain_id, limits=limits).follow(on_head)
    except _Announced:
        return ok(WHAT, f"block {heard[0]} announced")
    except ChainError as exc:
        said = endpoint.redact(str(exc))
        setting = f"{chain.rpc_env}{SOCKET_SUFFIX}"
        advice = (
            f"It announces no block ({said}), so payments are told at the next poll: correct it in {setting},"
            " or take it out."
        )
        return warning(WHAT, "none", advice)
