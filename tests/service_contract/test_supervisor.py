"""Whoever starts a service as `Type=notify` is told when it answers, and a service whom nobody asks says nothing."""

from __future__ import annotations

import asyncio
import signal
import socket
from pathlib import Path

import pytest

from kernel.supervisor import READY, tell_supervisor
from tests.processes import start
from tests.service_contract.services import BOTH, ServiceUnderTest


@pytest.mark.process
@BOTH
async def test_a_supervisor_is_told_once_the_service_listens(service: ServiceUnderTest, tmp_path: Path) -> None:
    address = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(str(address))
        supervisor.setblocking(False)
        env = service.environment(tmp_path) | {"NOTIFY_SOCKET": str(address)}
        started = await start(service.name, env=env)
        try:
            async with asyncio.timeout(60):
                told = await asyncio.get_running_loop().sock_recv(supervisor, 100)
        finally:
            started.send_signal(signal.SIGTERM)
            said, _ = await started.communicate()

    assert told == READY.encode()
    assert b"listening on" in said


def test_an_abstract_address_is_understood() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind("\0amn-test-of-notify")
        tell_supervisor(READY, {"NOTIFY_SOCKET": "@amn-test-of-notify"})

        assert supervisor.recv(100) == READY.encode()


def test_nobody_to_tell_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    tell_supervisor(READY, {})
    assert caplog.messages == []

    tell_supervisor(READY, {"NOTIFY_SOCKET": "/nowhere/at/all"})
    assert caplog.messages == ["the supervisor at NOTIFY_SOCKET was not told READY=1: No such file or directory"]
