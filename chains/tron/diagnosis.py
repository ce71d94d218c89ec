"""Looks at the second nodes of Tron as an operator would: whether they answer, agree with the first, and keep up."""

from __future__ import annotations

from collections.abc import Sequence

from chains.errors import ChainError
from chains.rpc.endpoint import Endpoint, label_of
from chains.rpc.http_client import HttpClient
from chains.second_diagnosis import SecondLook
from chains.tron.adapter import base_of
from chains.tron.decode import Block
from chains.tron.rpc.client import TronClient
from chains.tron.rpc.http_service import TronService
from config.catalog import Chain


async def second_looks(http: HttpClient, chain: Chain, urls: Sequence[str], api_key: str | None) -> list[SecondLook]:
    """Compare each of them with the first endpoint that answers, by the newest block that both hold."""
    first = TronClient(TronService(http, api_key=api_key), chain_id=chain.chain_id)
    others = TronClient(TronService(http), chain_id=chain.chain_id)  # the key belongs to the first service
    ahead = await _newest_of(first, [_endpoint(url, place) for place, url in enumerate(chain.rpc_urls)])
    return [await _look(first, others, ahead, _endpoint(url, place)) for place, url in enumerate(urls)]


def _endpoint(url: str, place: int) -> Endpoint:
    return Endpoint(base_of(url), label_of(url, place + 1))


async def _newest_of(client: TronClient, endpoints: Sequence[Endpoint]) -> tuple[Endpoint, Block] | None:
    for endpoint in endpoints:
        try:
            return endpoint, await client.newest(endpoint)
        except ChainError:
            continue  # what is wrong with it is found where it is looked at itself
    return None


async def _look(
    first: TronClient, others: TronClient, ahead: tuple[Endpoint, Block] | None, second: Endpoint
) -> SecondLook:
    label = f"{second.label} second"
    try:
        newest = await others.newest(second)
    except ChainError as exc:
        return SecondLook(label, wrong=second.redact(str(exc)))
    if ahead is None:
        return SecondLook(label, f"answers, block {newest.number}; the first source does not")
    endpoint, head = ahead
    number = min(newest.number, head.number)
    try:
        one, other = await first.block(endpoint, number), await others.block(second, number)
    except ChainError as exc:
        return SecondLook(label, wrong=f"block {number} cannot be compared: {second.redact(str(exc))}")
    if one.id != other.id:
        return SecondLook(label, wrong=f"its block {number} is another one than the first source's")
    behind_s = max(0, (head.time_ms - newest.time_ms) // 1000)
    return SecondLook(label, f"agrees on block {number}, {behind_s} s behind", behind_s=behind_s)
