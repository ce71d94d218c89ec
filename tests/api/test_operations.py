"""Who may ask, in which shape failures are reported, and what operators can read."""

from __future__ import annotations

import asyncio
import re
import shutil
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from api.middlewares import is_console
from api.openapi import build
from protocol.routes import PAGES
from scanner.upkeep.metrics import Metrics
from tests.api.conftest import KEY
from tests.harness import Api, Running, environment, running
from tests.service_contract.raw import asked, final, get


def routes(daemon: Running) -> set[tuple[str, str]]:
    pages = {(route.method, route.path) for route in PAGES}
    found = set()
    for route in daemon.daemon.app.router.routes():
        assert route.resource is not None
        call = (route.method, route.resource.canonical)
        # Pages, and what they are made of, are no calls: tests/api show who sees them.
        if route.method != "HEAD" and call not in pages and not is_console(call[1]):
            found.add(call)
    return found


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer ", "Bearer wrong", f"bearer{KEY}", KEY, f"Basic {KEY}", f"Bearer {KEY} ", "Bearer é"],
)
async def test_every_route_but_health_asks_for_the_key(daemon: Running, header: str | None) -> None:
    stranger = Api(daemon.api.url, daemon.api._session)
    headers = {} if header is None else {"Authorization": header}
    for method, path in routes(daemon):
        status, answer = await stranger.call(method, re.sub(r"{\w+}", "a", path), headers=headers)
        if path == "/health":
            assert (status, answer) == (200, {"status": "ok"})
        elif path.startswith("/pay/"):  # its token is all that is asked for
            assert status == 404
        elif header != f"Bearer {KEY} ":  # white space around a header's value is not part of it
            assert (status, answer["code"]) == (401, "unauthorized")


@pytest.mark.parametrize(
    ("target", "extra", "status"),
    [
        ("/intents", "Origin: http://localhost:3000", 200),
        ("/intents", "Origin: http://[::1]", 200),
        ("/intents", "Origin: https://evil.example", 403),
        ("/intents", "Origin: http://127.0.0.1.evil.example", 403),
        ("/intents", "Origin: null", 403),
        ("/intents", "Origin: ", 403),
        ("http://127.0.0.1:1/intents", "X: a", 200),
        ("http://[::1]/intents", "X: a", 200),
        ("http://evil.example/intents", "X: a", 403),
        ("http://127.0.0.1@evil.example/intents", "X: a", 403),
    ],
)
async def test_without_a_key_no_page_and_no_name_of_elsewhere_reaches_this_machine(
    tmp_path: Path, target: str, extra: str, status: int
) -> None:
    async with running(environment(tmp_path, "http://127.0.0.1:9", POLL_INTERVAL_SEC="3600")) as daemon:
        answer = final(await asked(daemon.api.url, get(target.encode(), extra.encode() + b"\r\n")))

    assert answer.status == status
    assert status == 200 or answer.json["code"] == "forbidden_host"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nope", 404, "not_found"),
        ("PUT", "/intents", 405, "method_not_allowed"),
        ("POST", "/health", 405, "method_not_allowed"),
        ("GET", "/intents/", 404, "not_found"),
    ],
)
async def test_failures_have_one_shape(daemon: Running, method: str, path: str, status: int, code: str) -> None:
    found, answer = await daemon.api.call(method, path)

    assert (found, answer["code"]) == (status, code)
    assert set(answer) <= {"error", "code", "details"}


async def test_readiness_names_the_chain_that_was_not_polled(daemon: Running) -> None:
    status, answer = await daemon.api.call("GET", "/ready")

    assert status == 503
    assert "chain 97 has not been polled yet" in answer["reasons"][0]


async def test_the_status_shows_a_failing_chain(daemon: Running) -> None:
    async with asyncio.timeout(10):
        while (chain := await daemon.api.chain())["state"] != "failing":  # noqa: ASYNC110 - seen over HTTP
            await asyncio.sleep(0.02)

    assert {
        "chainId",
        "name",
        "chainType",
        "lastScannedBlock",
        "chainHead",
        "lag",
        "lagSeconds",
        "pendingIntents",
        "activeBalanceWatches",
        "lastError",
        "lastSuccessAt",
        "endpoint",
        "undeliveredWebhooks",
        "oldestUndeliveredAgeSeconds",
        "tokens",
    } <= set(chain)
    assert chain["lastError"]


async def test_one_process_alone_leads_every_chain(daemon: Running) -> None:
    status = await daemon.api.get("/scanner/status")

    (node,) = status["nodes"]
    assert (node["nodeId"], node["leads"]) == ("node-1", [chain["chainId"] for chain in status["chains"]])
    assert {chain["leader"] for chain in status["chains"]} == {"node-1"}


async def test_metrics_are_readable_and_complete(daemon: Running) -> None:
    text = await daemon.api.get("/metrics")

    names = {family.name for family in text_string_to_metric_families(text)}
    declared = {family.name for family in Metrics().registry.collect()}
    assert declared <= names


async def test_promtool_has_nothing_to_say(daemon: Running) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    process = await asyncio.create_subprocess_exec(
        promtool,
        "check",
        "metrics",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate((await daemon.api.get("/metrics")).encode())

    assert (process.returncode, said) == (0, b"")


async def test_the_description_is_of_the_routes_there_are(daemon: Running) -> None:
    described = {(method.upper(), path) for path, methods in build()["paths"].items() for method in methods}

    assert described == routes(daemon)
    assert await daemon.api.get("/openapi.json") == build()
    assert "<h1>" in await daemon.api.get("/docs")


async def test_retrying_without_failures_retries_nothing(daemon: Running) -> None:
    assert await daemon.api.call("POST", "/admin/webhooks/retry") == (200, {"retried": 0})
