"""Settings of hosted providers: what belongs together, and what is in the registry."""

from __future__ import annotations

from pathlib import Path

import pytest

from marketplace.errors import ConfigError
from marketplace.payments.hosted.request_network import destination_id
from marketplace.settings import load_settings
from tests.marketplace.harness import environment, running
from tests.marketplace.hosted_purchase import API_KEY, HOOK_KEY, KEY

SHKEEPER = {"SHKEEPER_URL": "https://s.test", "SHKEEPER_API_KEY": KEY, "SHKEEPER_CRYPTOS": '{"97": {"USDT": "X"}}'}
REQUEST = {
    "REQUEST_NETWORK_API_KEY": API_KEY,
    "REQUEST_NETWORK_WEBHOOK_SECRET": HOOK_KEY,
    "REQUEST_NETWORK_CHAINS": "97",
}


@pytest.mark.parametrize(
    ("named", "settings"),
    [
        *(("SHKEEPER_URL", {**SHKEEPER, name: ""}) for name in SHKEEPER),
        *(("REQUEST_NETWORK_API_KEY", {**REQUEST, name: ""}) for name in REQUEST),
        ("SHKEEPER_URL", {**SHKEEPER, "MARKETPLACE_REQUIRE_PROOF": "true"}),
        ("REQUEST_NETWORK_URL", {**REQUEST, "MARKETPLACE_REQUIRE_PROOF": "true"}),
        ("SHKEEPER_CRYPTOS", {**SHKEEPER, "SHKEEPER_CRYPTOS": "BNB-USDT"}),
        ("SHKEEPER_CRYPTOS", {**SHKEEPER, "SHKEEPER_CRYPTOS": '{"97": {"USDT": "../admin"}}'}),
        ("SHKEEPER_API_KEY", {**SHKEEPER, "SHKEEPER_API_KEY": "short"}),
        ("SHKEEPER_URL", {**SHKEEPER, "SHKEEPER_URL": "http://s.test", "APP_ENV": "production"}),
        ("REQUEST_NETWORK_URL", {**REQUEST, "REQUEST_NETWORK_URL": "http://r.test", "APP_ENV": "production"}),
        ("REQUEST_NETWORK_CHAINS", {**REQUEST, "REQUEST_NETWORK_CHAINS": "bsc"}),
    ],
)
def test_settings_that_do_not_belong_together_are_refused(tmp_path: Path, named: str, settings: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=f"^{named}: ") as refused:
        load_settings(environment(tmp_path, **settings))
    assert KEY not in str(refused.value)


@pytest.mark.parametrize(
    ("named", "settings"),
    [
        ("SHKEEPER_CRYPTOS", {**SHKEEPER, "SHKEEPER_CRYPTOS": '{"999": {"USDT": "X"}}'}),
        ("SHKEEPER_CRYPTOS", {**SHKEEPER, "SHKEEPER_CRYPTOS": '{"97": {"DOGE": "X"}}'}),
        ("REQUEST_NETWORK_CHAINS", {**REQUEST, "REQUEST_NETWORK_CHAINS": "728126428"}),
        ("REQUEST_NETWORK_CHAINS", {**REQUEST, "REQUEST_NETWORK_CHAINS": "999"}),
    ],
)
async def test_what_the_registry_does_not_have_is_refused_at_start(
    tmp_path: Path, named: str, settings: dict[str, str]
) -> None:
    with pytest.raises(ConfigError, match=f"^{named}: "):
        async with running(environment(tmp_path, **settings)):
            pass


def test_a_destination_is_written_as_request_network_documents_it() -> None:
    """The example is that of its documentation of webhooks."""
    found = destination_id(
        8453, "0x742d35cc6634c0532925a3b844bc454e4438f44e", "0x833589fcd6edb6e08f4c7c32d4f71b54bda02913"
    )
    assert found == (
        "0x742d35Cc6634C0532925a3b844Bc454e4438f44e@eip155:8453#B4FD67BB:0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913"
    )
