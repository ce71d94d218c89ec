"""An alert fires on the first event: its counter is there before, at zero."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scanner.model import EventType, Reason
from scanner.upkeep.metrics import ERRORS, METHODS
from tests.harness import environment, running

KNOWN = [
    *(("rejects", {"chain": chain, "reason": reason}) for chain in ("97", "728126428", "1100") for reason in Reason),
    *((name, {"chain": "97"}) for name in ("poll_failures", "worker_restarts", "reorgs", "matches", "logs_read")),
    *(("webhook_attempts", {"outcome": outcome}) for outcome in ("delivered", "retried", "exhausted")),
    *(("webhook_acknowledged", {"type": event}) for event in EventType),
    *(("forgotten", {"kind": kind}) for kind in ("events", "attempts", "unmatched", "intents")),
    ("http_requests", {"method": "POST", "route": "/intents", "status": "500"}),
    ("http_requests", {"method": "GET", "route": "/intents/{intentId}", "status": "404"}),
    ("http_requests", {"method": "POST", "route": "/balance-watches", "status": "502"}),
    *(("http_requests", {"method": "any", "route": "unknown", "status": status}) for status in ("400", "414", "431")),
]


async def test_every_counter_is_there_from_the_start_at_zero(tmp_path: Path) -> None:
    env = environment(
        tmp_path,
        "http://127.0.0.1:9",
        POLL_INTERVAL_SEC="3600",
        TRONGRID_URL="http://127.0.0.1:9",
        TONCENTER_URL="http://127.0.0.1:9",
    )
    env["SCANNER_ENABLED_CHAINS"] = "97,728126428,1100"
    async with running(env) as daemon:
        value = daemon.daemon.metrics.registry.get_sample_value
        found = {(name, *labels.values()): value(f"amn_scanner_{name}_total", labels) for name, labels in KNOWN}
        text = await daemon.api.get("/metrics")

    allowed = {("poll_failures", "97")}  # the endpoint is not there: it may have failed by now
    assert {key: count for key, count in found.items() if count != 0 and key not in allowed} == {}
    # No endpoint is there: whatever else goes wrong with one has not happened.
    line = r'amn_scanner_rpc_errors_total\{chain="(\d+)",endpoint="[^"]+",error="(\w+)",method="([^"]+)"\} 0.0'
    assert set(re.findall(line, text)) >= {
        (chain, error, method)
        for chain, family in (("97", "evm"), ("728126428", "tron"), ("1100", "ton"))
        for error in set(ERRORS) - {"ChainUnavailable"}
        for method in METHODS[family]
    }


@pytest.mark.parametrize("path", ["/nothing", "/intents/x/y/z", "/" + "a" * 2000, "/%0A"])
async def test_a_stranger_chooses_no_label(tmp_path: Path, path: str) -> None:
    async with running(environment(tmp_path, "http://127.0.0.1:9", POLL_INTERVAL_SEC="3600")) as daemon:
        for method in ("GET", "PUT", "PURGE", "X" * 30):
            await daemon.api.call(method, path)
        text = await daemon.api.get("/metrics")

    routes = set(re.findall(r'amn_scanner_http_requests_total\{method="([^"]+)",route="unknown"', text))
    assert routes == {"any"}
    assert path not in text
