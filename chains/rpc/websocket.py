"""WebSockets of the one HTTP client: bounded frames and waits, no redirects, every error in our own words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from chains.errors import ChainError, ChainProtocolError, ChainUnavailable
from chains.rpc.http_client import (
    TRANSPORT_ERRORS,
    CutOff,
    Forbidden,
    HttpClient,
    TimedOut,
    TooLarge,
    retry_after,
    translate_transport,
)

MAX_FRAME_BYTES = 256 * 1024  # a header has 2 KB
HEARTBEAT_S = 20.0
CLOSING_S = 2.0

_REFUSALS = {401, 402, 403, 404}


class WebSocket:
    """One connection that stands; what it brings is text."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket

    async def send(self, text: str) -> None:
        """
        Send a text.

        Raises:
            CutOff: the connection is gone.
        """
        try:
            await self._socket.send_str(text)
        except TRANSPORT_ERRORS as exc:
            raise translate_transport(exc) from None

    async def receive(self, timeout_s: float) -> str:
        """
        Return the next text.

        Raises:
            TimedOut: none in time, however many pings came.
            TooLarge: more than we read.
            CutOff: the connection is gone.
            ChainProtocolError: what came is no text.
        """
        try:
            async with asyncio.timeout(timeout_s):
                message = await self._socket.receive()
        except TimeoutError:
            raise TimedOut(f"silent for {timeout_s:.0f} s") from None
        except TRANSPORT_ERRORS as exc:
            raise translate_transport(exc) from None
        if message.type is aiohttp.WSMsgType.TEXT:
            return str(message.data)
        raise _reason(message)


def _reason(message: aiohttp.WSMessage) -> ChainError:
    if message.type is aiohttp.WSMsgType.BINARY:
        return ChainProtocolError("sent what is no text")
    error = message.data
    if isinstance(error, aiohttp.WebSocketError):
        if error.code == aiohttp.WSCloseCode.MESSAGE_TOO_BIG:
            return TooLarge(f"a message is larger than {MAX_FRAME_BYTES} bytes")
        return ChainProtocolError(f"broke the rules of WebSockets (code {int(error.code)})")
    return CutOff("the connection was closed")


@asynccontextmanager
async def open_websocket(http: HttpClient, url: str, *, timeout_s: float) -> AsyncIterator[WebSocket]:
    """
    Connect to a URL within a time, and close the connection at the end.

    Raises:
        ChainMisconfigured: we may not, or the URL or its certificate is wrong.
        ChainUnavailable: no connection.
        ChainProtocolError: it is no WebSocket.
    """
    try:
        async with asyncio.timeout(timeout_s):
            socket = await http.session.ws_connect(
                url,
                timeout=aiohttp.ClientWSTimeout(ws_close=CLOSING_S),
                heartbeat=HEARTBEAT_S,
                max_msg_size=MAX_FRAME_BYTES,
                compress=0,
            )
    except aiohttp.WSServerHandshakeError as exc:
        if exc.status in _REFUSALS:
            raise Forbidden(f"HTTP {exc.status}: check the URL and its key") from None
        wait = retry_after(exc.headers or {}, now=http.now())
        raise ChainUnavailable(f"HTTP {exc.status}, and no WebSocket", retry_after=wait) from None
    except TRANSPORT_ERRORS as exc:
        raise translate_transport(exc) from None  # the library's own text may quote the URL
    try:
        yield WebSocket(socket)
    finally:
        await socket.close()
