"""A socket for new heads wakes the poll, and costs nothing but speed whatever it does."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from aiohttp import web

from chains.evm.push.head_push import HeadPush, Pace
from chains.evm.push.head_socket import SocketLimits
from chains.rpc.http_client import open_http
from chains.rpc.websocket import MAX_FRAME_BYTES
from chains.types import SocketEvent, SocketReport, SocketState
from devnet.evm.head_server import SUBSCRIPTION, HeadServer, SocketFault, head_server

CHAIN = 97
GAP_S = 0.05
PACE = Pace(gap_s=GAP_S, longest_gap_s=0.4, tries=3, fruitless=5, trusted_after_s=0.2)
LIMITS = SocketLimits(silent_s=60, messages=200, window_s=10)
SILENT = LIMITS._replace(silent_s=0.3)
PATIENCE_S = 10.0


@dataclass
class Poller:
    """Reads the head whenever it is woken, as a worker does; `head` None: the endpoints show nothing new."""

    push: HeadPush
    head: int | None = 10
    waited_for: bool = True
    wakes: list[float] = field(default_factory=list)
    counted: Counter[SocketEvent] = field(default_factory=Counter)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def wake(self) -> bool:
        self.wakes.append(asyncio.get_running_loop().time())
        if self.head is not None and self.waited_for:
            self.push.note_read(self.head)
        self.changed.set()
        return self.waited_for

    def count(self, _: str, event: SocketEvent) -> None:
        self.counted[event] += 1
        self.changed.set()

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not holds():
                self.changed.clear()
                await self.changed.wait()

    @property
    def report(self) -> SocketReport:
        return self.push.report()[0]


@asynccontextmanager
async def polling(*urls: str, pace: Pace = PACE, limits: SocketLimits = LIMITS) -> AsyncIterator[Poller]:
    async with open_http(timeout_s=2) as http:
        push = HeadPush(http, urls, chain_id=CHAIN, pace=pace, limits=limits)
        push.note_read(10)
        poller = Poller(push)
        task = asyncio.create_task(push.run(poller.wake, poller.count))
        try:
            yield poller
        finally:
            task.cancel()
            await asyncio.wait([task])


@asynccontextmanager
async def serving(handle: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/{path:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield "ws://{}:{}/".format(*runner.addresses[0])
    finally:
        await runner.cleanup()


@pytest.fixture
async def server() -> AsyncIterator[HeadServer]:
    async with head_server(CHAIN) as found:
        yield found


async def subscribed(server: HeadServer) -> None:
    async with asyncio.timeout(PATIENCE_S):
        await server.subscribed.wait()


async def test_a_new_block_wakes_the_poll_at_once(server: HeadServer) -> None:
    async with polling(server.url) as poller:
        await subscribed(server)
        poller.head, before = 11, asyncio.get_running_loop().time()
        await server.announce(11)
        await poller.until(lambda: len(poller.wakes) == 1)
        assert poller.wakes[0] - before < 1
        assert (poller.report.state, poller.report.head) == (SocketState.CONNECTED, 11)
        assert poller.counted[SocketEvent.WAKE] == 1


async def test_what_was_read_already_repeats_or_is_old_wakes_nobody(server: HeadServer) -> None:
    async with polling(server.url) as poller:
        await subscribed(server)
        for number in (10, 9, 0, 10, 10):
            await server.announce(number)
        await poller.until(lambda: poller.counted[SocketEvent.HEAD] == 5)
        assert poller.wakes == []
        poller.head = 11
        server.fault = SocketFault.REPEATS
        await server.announce(11)
        await poller.until(lambda: poller.counted[SocketEvent.HEAD] == 10)
        await asyncio.sleep(3 * GAP_S)
        assert len(poller.wakes) == 1


async def test_a_block_that_the_endpoints_show_a_moment_later_is_asked_for_again(server: HeadServer) -> None:
    async with polling(server.url) as poller:
        await subscribed(server)
        await server.announce(11)  # the endpoints are still at 10
        await poller.until(lambda: len(poller.wakes) == 1)
        poller.head = 11
        await poller.until(lambda: poller.push._read == 11)
        woken = len(poller.wakes)
        await asyncio.sleep(6 * GAP_S)
        assert 1 < woken == len(poller.wakes) <= PACE.tries


async def test_a_chain_on_which_nobody_waits_is_not_polled_for_an_announcement_and_no_socket_is_blamed(
    server: HeadServer,
) -> None:
    async with polling(server.url) as poller:
        await subscribed(server)
        poller.waited_for = False
        for number in range(11, 11 + 3 * PACE.fruitless):
            await server.announce(number)
            await poller.until(lambda number=number: poller.report.head == number)
            await asyncio.sleep(GAP_S / 4)
        assert 0 < len(poller.wakes) < 3 * PACE.fruitless  # asked whether anybody waits, at its pace
        assert (poller.counted[SocketEvent.WAKE], poller.counted[SocketEvent.FAILURE]) == (0, 0)
        assert poller.report.state is SocketState.CONNECTED
        poller.waited_for, poller.head = True, 11 + 3 * PACE.fruitless
        await server.announce(poller.head)
        await poller.until(lambda: poller.counted[SocketEvent.WAKE] == 1)


async def test_a_socket_that_lies_wakes_a_bounded_number_of_polls_and_is_closed(server: HeadServer) -> None:
    async with polling(server.url, limits=LIMITS._replace(messages=100_000)) as poller:
        await subscribed(server)
        number = 10
        while poller.report.state is not SocketState.FAILING:
            number += 1
            await server.announce(number)
            await asyncio.sleep(0.02)
        gaps = [later - earlier for earlier, later in zip(poller.wakes, poller.wakes[1:], strict=False)]
        assert len(poller.wakes) == PACE.fruitless
        # The less it brings, the less it is believed.
        assert all(gap >= 0.99 * min(PACE.longest_gap_s, GAP_S * 2**turn) for turn, gap in enumerate(gaps))
        assert poller.report.last_error == "announces blocks that no endpoint shows"


async def test_an_impossible_number_ends_the_connection(server: HeadServer) -> None:
    async with polling(server.url) as poller:
        await subscribed(server)
        await server.announce(10 + PACE.most_ahead + 1)
        await poller.until(lambda: poller.counted[SocketEvent.FAILURE] == 1)
        assert poller.wakes == []
        assert poller.report.last_error == f"announces block {11 + PACE.most_ahead}, and the endpoints are at 10"


async def test_a_lying_socket_does_not_drown_an_honest_one(server: HeadServer) -> None:
    async with head_server(CHAIN) as liar, polling(liar.url, server.url) as poller:
        await subscribed(server)
        await subscribed(liar)
        await liar.announce(10_000)
        await poller.until(lambda: len(poller.wakes) == 1)
        poller.head = 11
        await server.announce(11)
        await poller.until(lambda: poller.push.report()[1].head == 11 and len(poller.wakes) == 2)


async def test_a_silent_socket_is_opened_anew(server: HeadServer) -> None:
    async with polling(server.url, limits=SILENT) as poller:
        await subscribed(server)
        await poller.until(lambda: poller.counted[SocketEvent.FAILURE] == 1)
        assert poller.report.state is SocketState.FAILING
        assert poller.report.last_error == "announced no block for 0 s"
        poller.head = 11
        server.subscribed.clear()
        await subscribed(server)
        await server.announce(11)
        await poller.until(lambda: len(poller.wakes) == 1)
        assert server.connections >= 2


async def test_a_socket_that_only_chats_is_silent(server: HeadServer) -> None:
    async def chat(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        for result in (hex(CHAIN), SUBSCRIPTION):
            call = json.loads((await socket.receive()).data)
            await socket.send_json({"id": call["id"], "result": result})
        while not socket.closed:
            await socket.ping()
            await socket.send_json({"id": 77, "result": None})
            await asyncio.sleep(0.02)
        return socket

    async with serving(chat) as url, polling(url, limits=SILENT) as poller:
        await poller.until(lambda: poller.counted[SocketEvent.FAILURE] == 1)
        assert poller.report.last_error == "announced no block for 0 s"


async def test_a_socket_that_dies_is_opened_again_after_a_while_that_grows(server: HeadServer) -> None:
    server.fault = SocketFault.DIES
    async with polling(server.url, pace=PACE._replace(trusted_after_s=60)) as poller:
        times = []
        for number in (11, 12):
            server.subscribed.clear()
            await subscribed(server)
            times.append(asyncio.get_running_loop().time())
            poller.head = number
            await server.announce(number)
            await poller.until(lambda: len(poller.wakes) == len(times))
        await poller.until(lambda: poller.counted[SocketEvent.FAILURE] == 2)
        assert times[1] - times[0] >= 1
        assert poller.push._sockets[0].endpoint.failures == 2  # the next pause is twice as long


async def test_a_socket_of_another_chain_is_left_alone(server: HeadServer) -> None:
    server.fault = SocketFault.OTHER_CHAIN
    async with polling(server.url) as poller:
        await poller.until(lambda: poller.counted[SocketEvent.FAILURE] == 1)
        assert poller.report.last_error == "serves chain 1000007, expected chain 97"
        await asyncio.sleep(1.2)  # longer than the first pause of what only failed
        assert server.connections == 1
    assert not server.subscribed.is_set()


async def test_a_flood_ends_the_connection_after_so_many_messages(server: HeadServer) -> None:
    server.fault = SocketFault.FLOODS
    async with polling(server.url) as poller:
        await subscribed(server)
        poller.head = 11
        await server.announce(11)
        await poller.until(lambda: poller.counted[SocketEvent.FAILURE] == 1)
        assert poller.report.last_error == "sent more than 200 messages in 10 s"
        assert poller.counted[SocketEvent.HEAD] <= LIMITS.messages
        assert len(poller.wakes) == 1


@pytest.mark.parametrize(
    "message",
    ["[", "[]", "7", "{" * 100_000, '{"method":"eth_subscription","params":{"subscription":"x"}}', '{"method":5}'],
)
async def test_nonsense_ends_the_connection(server: HeadServer, message: str) -> None:
    async with polling(server.url) as poller:
        await subscribed(server)
        for socket in server._sockets:
            await socket.send_str(message)
        await poller.until(lambda: poller.counted[SocketEvent.FAILURE] == 1)
        assert poller.wakes == []
        assert (poller.report.last_error or "").startswith("sent what announces no block")


async def test_a_message_that_is_too_large_is_not_read(server: HeadServer) -> None:
    async with polling(server.url) as poller:
        await subscribed(server)
        for socket in server._sockets:
            await socket.send_str(" " * (MAX_FRAME_BYTES + 1))
        await poller.until(lambda: poller.counted[SocketEvent.FAILURE] == 1)
        assert poller.report.last_error == f"a message is larger than {MAX_FRAME_BYTES} bytes"


async def test_a_redirect_is_not_followed(server: HeadServer) -> None:
    async def elsewhere(_: web.Request) -> web.StreamResponse:
        raise web.HTTPFound(server.url.replace("ws:", "http:"))

    async with serving(elsewhere) as url, polling(url) as poller:
        await poller.until(lambda: poller.counted[SocketEvent.FAILURE] == 1)
        assert (poller.report.last_error or "").startswith("it redirects elsewhere")
    assert server.connections == 0


async def test_a_refusal_is_told_without_the_key_in_the_url() -> None:
    async def refuse(_: web.Request) -> web.StreamResponse:
        raise web.HTTPForbidden(text="no")

    async with serving(refuse) as url, polling(f"{url}v3/a-secret-key-of-ours") as poller:
        await poller.until(lambda: poller.counted[SocketEvent.FAILURE] == 1)
        assert poller.report.last_error == "HTTP 403: check the URL and its key"
        assert "a-secret-key-of-ours" not in repr(poller.push.report())


async def test_one_that_never_answers_is_given_up() -> None:
    async def say_nothing(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for _ in socket:
            pass
        return socket

    async with serving(say_nothing) as url, polling(url) as poller:
        await poller.until(lambda: poller.counted[SocketEvent.FAILURE] == 1)
        assert poller.report.last_error in {"no answer in time", "silent for 2 s"}
