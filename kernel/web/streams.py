"""Answers that are sent piece by piece."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping

from aiohttp import web

from kernel.errors import StoreError

log = logging.getLogger(__name__)


async def send(request: web.Request, headers: Mapping[str, str], parts: AsyncIterator[bytes]) -> web.StreamResponse:
    """Send what comes, until its end or that of whoever reads it."""
    response = web.StreamResponse(headers=headers)
    try:
        await response.prepare(request)  # whoever asked may be gone by now: that is no failure of ours
        async for part in parts:
            await response.write(part)
    except ConnectionError:
        log.debug("[api] a listener is gone")
    except StoreError as exc:
        log.warning("[api] an answer was broken off: %s", exc)
        _break_off(request)
    except Exception:
        log.exception("[api] an answer was broken off")
        _break_off(request)
    return response


def _break_off(request: web.Request) -> None:
    """Cut the connection: the end of an answer must not look like the end of what was asked for."""
    if request.transport is not None:
        request.transport.abort()
