"""compose.yaml and its example of settings start the services as they are."""

from __future__ import annotations

import re
import stat
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from config.settings import load_settings
from deploy import make_env
from kernel.errors import ConfigError
from marketplace.settings import load_settings as load_marketplace_settings
from tests.deploy.files import ASSIGNED, DEPLOY, example, is_setting, parsed
from tests.harness import Api, listening
from tests.processes import start

COMPOSE = parsed("compose.yaml")
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "amn-pay-scanner"}
FOR_COMPOSE = {"COMPOSE_PROFILES", "POSTGRES_PASSWORD", "PUBLIC_HOST", "GRAFANA_ADMIN_PASSWORD"}


def test_its_services_are_those_the_documentation_names() -> None:
    by_profile = {profile: {n for n, s in SERVICES.items() if profile in s.get("profiles", [])} for profile in PROFILES}

    assert by_profile == PROFILES
    assert {n for n, s in SERVICES.items() if "profiles" not in s} == {"marketplace", "prometheus", "grafana", "caddy"}


PROFILES = {"single": {"scanner"}, "cluster": {"postgres", "scanner-a", "scanner-b"}}


def test_every_variable_is_one_that_is_read() -> None:
    named = {name for service in OURS.values() for name in service["environment"]}
    listed = {name for name, _ in ASSIGNED.findall((DEPLOY / ".env.example").read_text())}
    inserted = set(re.findall(r"\$\{(\w+)", (DEPLOY / "compose.yaml").read_text()))

    assert {name for name in named if not is_setting(name)} == set()
    assert {name for name in listed if not is_setting(name)} == FOR_COMPOSE
    assert inserted <= listed
    assert COMPOSE["secrets"]["scanner_api_key"]["environment"] in listed


def test_only_the_proxy_is_reached_from_outside() -> None:
    published = {name: service.get("ports", []) for name, service in SERVICES.items() if name != "caddy"}

    assert [port for ports in published.values() for port in ports if not port.startswith("127.0.0.1:")] == []
    assert SERVICES["caddy"]["ports"] == ["80:80", "443:443"]


def test_services_are_confined_and_what_they_keep_is_on_a_volume() -> None:
    for name, service in OURS.items():
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"]), name
        assert service["security_opt"] == ["no-new-privileges:true"], name
    mounted = {v.split(":")[0] for s in SERVICES.values() for v in s.get("volumes", []) if not v.startswith(".")}
    files = {v.split(":")[0] for s in SERVICES.values() for v in s.get("volumes", []) if v.startswith(".")}

    assert mounted == set(COMPOSE["volumes"])
    assert [file for file in files if not (DEPLOY / file).exists()] == []
    assert [s["image"] for s in SERVICES.values() if s not in OURS.values() and ":" not in s["image"]] == []


def test_the_settings_of_each_scanner_are_accepted() -> None:
    for name, service in OURS.items():
        given = example() | environment_of(service)
        if service["command"] == ["amn-scanner"]:
            settings = load_settings(given)
            assert (settings.store.url is not None) == ("cluster" in service["profiles"]), name
        else:
            assert load_marketplace_settings(given).http.host == "0.0.0.0"  # noqa: S104 - inside a container


def environment_of(service: dict[str, Any]) -> dict[str, str]:
    """Return a service's own variables, with what compose puts in from the example."""
    return {
        name: re.sub(r"\$\{(\w+)[^}]*\}", lambda found: example()[found[1]], str(value))
        for name, value in service["environment"].items()
    }


@pytest.mark.process
async def test_the_example_starts_both_services_as_it_stands(tmp_path: Path) -> None:
    """Its key opens the API, and the marketplace finds the scanner. No public endpoint is asked: one is named here."""
    (tmp_path / ".env").write_text((DEPLOY / ".env.example").read_text())
    async with aiohttp.ClientSession() as session:
        watching = await start("scanner", env={"PORT": "0", "RPC_BSC_TESTNET": "http://127.0.0.1:9"}, folder=tmp_path)
        async with listening(watching, session) as scanner:
            assert (await scanner.api.call("GET", "/intents"))[0] == 401
            opened = Api(scanner.api.url, session, example()["SCANNER_API_KEY"])
            assert (await opened.call("GET", "/intents"))[0] == 200
            env = {"MARKETPLACE_PORT": "0", "AMN_SCANNER_URL": scanner.api.url}
            selling = await start("marketplace", env=env, folder=tmp_path)
            async with listening(selling, session, described=False) as marketplace:
                _, health = await marketplace.api.call("GET", "/api/health")
                assert health["data"]["checks"]["scanner"]["status"] != "down", health


def test_make_env_draws_every_secret_and_both_services_take_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / ".env.example").write_text((DEPLOY / ".env.example").read_text())
    monkeypatch.setattr(make_env, "HERE", tmp_path)

    assert make_env.main() == 0
    written = (tmp_path / ".env").read_text()
    drawn = dict(line.split("=", 1) for line in written.splitlines() if line and not line.startswith("#"))

    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600
    assert "example-" not in written
    assert drawn.keys() == example().keys()
    assert drawn["SCANNER_API_KEY"] == drawn["AMN_SCANNER_API_KEY"]
    changed = {name for name in drawn if drawn[name] != example()[name]}
    assert changed == {name for name, value in example().items() if value.startswith(("example-", "ZXhhbXBsZS"))}
    assert len({drawn[name] for name in changed}) == len(changed) - 1
    for load in (load_settings, load_marketplace_settings):
        load(drawn | {"APP_ENV": "production"})
        with pytest.raises(ConfigError, match="is the example's"):
            load(example() | {"APP_ENV": "production"})
    assert make_env.main() == 1
    assert (tmp_path / ".env").read_text() == written
    assert "is there already" in capsys.readouterr().err
