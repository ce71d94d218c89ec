"""JSON-RPC over HTTP: order, faults, and the border where foreign errors end."""

from __future__ import annotations

import asyncio

import aiohttp
import orjson
import pytest
from aiohttp import web
from eth_abi.abi import encode

from chains.errors import ChainError, ChainMisconfigured, ChainProtocolError, ChainUnavailable
from chains.evm.client import EvmClient
from chains.evm.rpc.client import RpcRefused
from chains.rpc.endpoint import Unserved
from chains.rpc.endpoint_limits import RETRY_LARGER_S
from chains.rpc.endpoint_pool import EndpointPool
from chains.rpc.http_client import CutOff, HttpClient, TimedOut, TooLarge
from chains.rpc.http_client import translate_transport as translate
from chains.types import TokenMeta
from tests.chains.evm_world import CHAIN_ID, TOKEN, World, hash_of

BLOCKS = [("eth_getBlockByNumber", (hex(number), False)) for number in (3, 1, 2)]


class Talk:
    """A client and its one endpoint."""

    def __init__(self, world: World, node, client):
        self.node = node
        self.client = client
        (self.endpoint,) = EndpointPool([node.url], telemetry=world.calls, clock=world.now).endpoints

    async def batch(self, calls=BLOCKS):
        return await self.client.batch(self.endpoint, calls)


@pytest.fixture
async def talk(world):
    async with aiohttp.ClientSession() as session:
        http = HttpClient(session, timeout_s=5, max_bytes=100_000)
        client = EvmClient(http, chain_id=CHAIN_ID)
        talk = Talk(world, await world.node(), client)
        talk.endpoint.checked = True
        yield talk


def plain(status=200, body=b"", **headers):
    return lambda _: web.Response(status=status, body=body, headers=headers)


async def test_answers_come_back_in_the_order_asked(talk):
    """The node answers a batch backwards, as it may."""
    answers = await talk.batch()
    assert [answer.get()["hash"] for answer in answers] == [hash_of(3), hash_of(1), hash_of(2)]
    assert len(talk.node.posts) == 1


async def test_one_call_failing_leaves_the_others_alone(talk):
    good, bad = await talk.batch([("eth_blockNumber", ()), ("eth_nonsense", ())])
    assert good.get() == hex(talk.node.head)
    with pytest.raises(Unserved, match="eth_nonsense"):
        bad.get()


async def test_an_endpoint_that_refuses_batches_is_asked_one_by_one_and_remembered(talk, world):
    talk.node.batches = False
    for _ in range(2):
        answers = await talk.batch()
        assert [answer.get()["hash"] for answer in answers] == [hash_of(3), hash_of(1), hash_of(2)]
    assert [type(post) for post in talk.node.posts] == [list] + [dict] * 6
    talk.node.batches = True
    world.now.seconds += RETRY_LARGER_S
    await talk.batch()
    assert list in [type(post) for post in talk.node.posts[7:]]


async def test_being_throttled_is_not_taken_for_a_refusal_of_batches(talk):
    talk.node.raw = plain(body=b'{"jsonrpc":"2.0","id":null,"error":{"code":429,"message":"slow down"}}')
    with pytest.raises(ChainUnavailable, match="slow down"):
        await talk.batch()
    assert len(talk.node.posts) == 1


async def test_an_endpoint_of_another_chain_is_never_asked_anything_else(talk):
    talk.endpoint.checked = False
    talk.node.chain_id = 1
    with pytest.raises(ChainMisconfigured, match=r"127\.0\.0\.1.*#1 serves chain 1, expected chain 97"):
        await talk.batch()
    assert [post["method"] for post in talk.node.posts] == ["eth_chainId"]
    assert not talk.endpoint.checked


async def test_the_chain_is_checked_once(talk):
    talk.endpoint.checked = False
    await talk.batch()
    await talk.batch()
    assert len(talk.node.calls("eth_chainId")) == 1


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (plain(body=b""), ChainProtocolError),
        (plain(body=b"<html>hello</html>"), ChainProtocolError),
        (plain(body=b'[{"jsonrpc":"2.0","id":0,"resu'), ChainProtocolError),
        (plain(body=b"[]"), ChainProtocolError),
        (plain(body=b"5"), ChainProtocolError),
        (plain(body=b"null"), ChainProtocolError),
        (plain(body=b'{"Error":"lack of computing resources"}'), ChainProtocolError),
        (plain(body=b'[{"id":0,"result":1},{"id":1,"result":1},{"id":1,"result":1}]'), ChainProtocolError),
        (plain(body=b'[{"id":0,"result":1},{"id":1,"result":1},{"id":7,"result":1}]'), ChainProtocolError),
        (plain(body=b'[{"id":0,"result":1},{"id":1,"result":1},7]'), ChainProtocolError),
        (plain(body=b'[{"id":0,"result":1},{"id":1,"result":1},{"id":[],"result":1}]'), ChainProtocolError),
        (plain(418), ChainProtocolError),
        (plain(500), ChainUnavailable),
        (plain(502, b"<html>"), ChainUnavailable),
        (plain(429), ChainUnavailable),
        (plain(503), ChainUnavailable),
        (plain(413), TooLarge),
        (plain(401), ChainMisconfigured),
        (plain(403, b'{"error":"bad key"}'), ChainMisconfigured),
        (plain(404), ChainMisconfigured),
        (plain(302, Location="http://127.0.0.1:9/"), ChainMisconfigured),
        (plain(body=b" " * 100_001), TooLarge),
    ],
)
async def test_every_wrong_answer_is_named_by_what_to_do_about_it(talk, reply, error):
    talk.node.raw = reply
    with pytest.raises(error) as refused:
        await talk.batch()
    assert "secretkey1234" not in str(refused.value)


async def test_what_one_call_of_a_batch_lacks_is_told_of_that_call_alone(talk):
    talk.node.raw = plain(body=b'[{"id":0,"result":1},{"id":1,"result":1},{"id":2}]')
    first, second, third = await talk.batch()
    assert (first.get(), second.get()) == (1, 1)
    assert isinstance(third.error, ChainProtocolError)


@pytest.mark.parametrize(
    ("header", "low", "high"),
    [("7", 7, 7), ("Fri, 01 Jan 2100 00:00:00 GMT", 1e8, 1e11), ("Fri, 01 Jan 2010 00:00:00 GMT", 0, 0)],
)
async def test_retry_after_is_read_as_seconds_or_as_a_date(talk, header, low, high):
    talk.node.raw = plain(429, **{"Retry-After": header})
    with pytest.raises(ChainUnavailable) as refused:
        await talk.batch()
    assert low <= refused.value.retry_after <= high


async def test_an_unreadable_retry_after_is_as_good_as_none(talk):
    talk.node.raw = plain(503, **{"Retry-After": "soon"})
    with pytest.raises(ChainUnavailable) as refused:
        await talk.batch()
    assert refused.value.retry_after is None


async def test_an_http_error_that_explains_itself_in_json_is_an_answer(talk):
    talk.node.raw = plain(413, b'{"jsonrpc":"2.0","id":0,"error":{"code":-32614,"message":"limited to a 5 range"}}')
    (answer,) = await talk.batch(BLOCKS[:1])
    assert isinstance(answer.error, RpcRefused)
    assert answer.error.advice.suggested == 5


async def test_a_hanging_endpoint_is_given_up(world):
    node = await world.node(hang=asyncio.Event())
    async with aiohttp.ClientSession() as session:
        client = EvmClient(HttpClient(session, timeout_s=0.05), chain_id=CHAIN_ID)
        with pytest.raises(TimedOut):
            await Talk(world, node, client).batch()
    node.hang.set()


async def test_an_answer_that_breaks_off_is_unavailable(talk):
    async def broken(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n[1,2")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(broken, "127.0.0.1", 0)
    async with server:
        talk.endpoint.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with pytest.raises(ChainUnavailable, match="broke off"):
            await talk.batch()


async def test_nobody_listening_is_unavailable(talk):
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    talk.endpoint.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/secretkey1234"
    server.close()
    await server.wait_closed()
    with pytest.raises(ChainUnavailable, match="cannot connect") as refused:
        await talk.batch()
    assert "secretkey1234" not in str(refused.value)


# --- contract calls ------------------------------------------------------------------------------

DECIMALS, SYMBOL = "0x313ce567", "0x95d89b41"


def contract(**answers):
    """Answer eth_call by selector."""

    def call(params):
        answer = answers[{DECIMALS: "decimals", SYMBOL: "symbol"}[params[0]["data"]]]
        if isinstance(answer, Exception):
            raise answer
        return answer

    return call


def abi(kind, value):
    return "0x" + encode([kind], [value]).hex()


REVERTED = LookupError(3, "execution reverted")
WORDS_32_AND_HUGE = "0x" + f"{32:064x}{2**200:064x}"
ELSEWHERE = "0x" + f"{64:064x}{0:064x}{4:064x}" + b"USDT".hex().ljust(64, "0")  # where no known token puts it
NOT_UTF8 = "0x" + f"{32:064x}{2:064x}" + "80ff".ljust(64, "0")
USDT_6 = TokenMeta("USDT", 6)


@pytest.mark.parametrize(
    ("decimals", "symbol", "expected"),
    [
        (abi("uint8", 18), abi("string", "USDT"), TokenMeta("USDT", 18)),
        (abi("uint8", 6), abi("bytes32", b"MKR"), TokenMeta("MKR", 6)),
        (abi("uint8", 6), abi("string", "x" * 64), TokenMeta("x" * 64, 6)),
        (abi("uint8", 6), abi("string", "x" * 65), TokenMeta(None, 6)),
        (abi("uint8", 6), abi("string", "x" * 9_000), TokenMeta(None, 6)),
        (abi("uint8", 6), abi("string", "A\x00B\nC"), TokenMeta(None, 6)),
        (abi("uint8", 6), abi("string", "US\u202eDT"), TokenMeta(None, 6)),
        (abi("uint8", 6), abi("string", " USDT\0"), USDT_6),
        (abi("uint8", 6), WORDS_32_AND_HUGE, TokenMeta(None, 6)),
        (abi("uint8", 6), "0x" + f"{2**255:064x}{4:064x}", TokenMeta(None, 6)),
        (abi("uint8", 6), NOT_UTF8, TokenMeta(None, 6)),
        (abi("uint8", 6), ELSEWHERE, USDT_6),
        (abi("uint8", 6), ELSEWHERE[: 2 + 2 * (3 * 32 + 3)], TokenMeta(None, 6)),
        (abi("uint8", 6), "0x" + f"{64:064x}{0:064x}{2**255:064x}", TokenMeta(None, 6)),
        (abi("uint8", 6), "0x" + "ff" * 32, TokenMeta(None, 6)),
        (abi("uint8", 6), "0x" + "ff" * 96, TokenMeta(None, 6)),
        (abi("uint8", 6), REVERTED, TokenMeta(None, 6)),
        (abi("uint8", 6), abi("string", ""), TokenMeta(None, 6)),
        (abi("uint8", 6), "0x1", TokenMeta(None, 6)),
        (REVERTED, abi("string", "USDT"), TokenMeta("USDT", None)),
        (LookupError(-32000, "invalid opcode: INVALID"), abi("string", "USDT"), TokenMeta("USDT", None)),
        (LookupError(-32000, "out of gas"), abi("string", "USDT"), TokenMeta("USDT", None)),
        (LookupError(-32000, "execution aborted (timeout = 5s)"), abi("string", "USDT"), TokenMeta("USDT", None)),
        (abi("uint256", 78), abi("string", "USDT"), TokenMeta("USDT", None)),
        (abi("uint256", 2**255), abi("string", "USDT"), TokenMeta("USDT", None)),
        ("0x01", abi("string", "USDT"), TokenMeta("USDT", None)),
        (REVERTED, REVERTED, None),
        ("0x", "0x", None),
    ],
)
async def test_a_token_says_what_it_is_or_nothing(talk, decimals, symbol, expected):
    talk.node.replies["eth_call"] = contract(decimals=decimals, symbol=symbol)
    assert await talk.client.token(talk.endpoint, TOKEN) == expected


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (LookupError(-32603, "internal error"), ChainError),
        (LookupError(429, "too many requests"), ChainUnavailable),
        (None, Unserved),
        (5, Unserved),
        ("0xzz", Unserved),
    ],
)
async def test_a_failing_node_is_not_taken_for_a_silent_token(talk, reply, error):
    talk.node.replies["eth_call"] = reply
    with pytest.raises(error):
        await talk.client.token(talk.endpoint, TOKEN)


# --- the border ----------------------------------------------------------------------------------


def _family(kind):
    return {kind}.union(*(_family(child) for child in kind.__subclasses__()))


def _instance(kind):
    """Make an exception without knowing its constructor."""
    return kind.__new__(kind)


@pytest.mark.parametrize("kind", sorted(_family(aiohttp.ClientError), key=lambda kind: kind.__name__))
def test_no_error_of_aiohttp_passes_the_border(kind):
    assert isinstance(translate(_instance(kind)), ChainError)


@pytest.mark.parametrize(
    ("foreign", "ours"),
    [
        (orjson.JSONDecodeError("x", "y", 0), ChainProtocolError),
        (TimeoutError(), TimedOut),
        (aiohttp.ServerTimeoutError(), TimedOut),
        (aiohttp.InvalidURL("http://x/secret"), ChainMisconfigured),
        (aiohttp.ServerDisconnectedError(), CutOff),
        (ConnectionResetError(), CutOff),
    ],
)
def test_foreign_errors_are_named_by_what_to_do_about_them(foreign, ours):
    translated = translate(foreign)
    assert type(translated) is ours
    assert "secret" not in str(translated)
