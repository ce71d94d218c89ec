"""Names of settings: none of ours is silently ignored, none of others stops the start; files are read whole."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from kernel.errors import ConfigError
from tests.service_contract.services import BOTH, MARKETPLACE, SCANNER, ServiceUnderTest

UNKNOWN = ["SECRET_KEYS", "TRUSTED_HOP", "API_KEI", "DB", "XPUBB", "PORTS", "SERVICES_HOST"]
LINKS = {
    "PORT_8080_TCP": "tcp://10.0.0.7:8080",
    "PORT_8080_TCP_ADDR": "10.0.0.7",
    "SERVICE_HOST": "10.0.0.7",
    "SERVICE_PORT_HTTP": "8080",
    "PORT": "tcp://10.0.0.7:8080",
}


@BOTH
@pytest.mark.parametrize("rest", UNKNOWN)
@pytest.mark.parametrize("where", ["environment", "file"])
def test_an_unknown_name_of_ours_stops_the_start(
    service: ServiceUnderTest, tmp_path: Path, rest: str, where: str
) -> None:
    name = service.prefix + rest
    env = service.environment(tmp_path)
    (tmp_path / ".env").write_text(f"{name}=x\n" if where == "file" else "")
    with pytest.raises(ConfigError, match=f"^{name}: unknown setting"):
        service.load_settings(env | ({name: "x"} if where == "environment" else {}), env_file=tmp_path / ".env")


@BOTH
@pytest.mark.parametrize("where", ["environment", "file"])
def test_names_container_platforms_set_for_a_service_are_ignored(
    service: ServiceUnderTest, tmp_path: Path, where: str
) -> None:
    links = {service.prefix + rest: value for rest, value in LINKS.items()}
    env = {name: value for name, value in service.environment(tmp_path).items() if name not in links}
    (tmp_path / ".env").write_text("".join(f"{n}={v}\n" for n, v in links.items()) if where == "file" else "")
    settings = service.load_settings(env | (links if where == "environment" else {}), env_file=tmp_path / ".env")
    assert settings.http.port in {0, 5001}


@pytest.mark.parametrize("name", ["SCANNER_URL", "SCANNER_CALLBACK_SECRET", "SCANNER_PORT"])
@pytest.mark.parametrize("where", ["environment", "file"])
def test_names_of_other_backends_are_ignored(tmp_path: Path, name: str, where: str) -> None:
    (tmp_path / ".env").write_text(f"{name}=8080\n" if where == "file" else "")
    env = SCANNER.environment(tmp_path) | ({name: "8080"} if where == "environment" else {})
    assert SCANNER.load_settings(env, env_file=tmp_path / ".env").http.port == 0


def test_a_port_that_is_a_number_is_a_setting_all_the_same(tmp_path: Path) -> None:
    env = MARKETPLACE.environment(tmp_path) | {"MARKETPLACE_PORT": "8080"}
    assert MARKETPLACE.load_settings(env).http.port == 8080


@BOTH
@pytest.mark.parametrize("line", ["just words", "= value", "'open", "A B=c", "ALONE", "export ALONE"])
def test_a_line_of_the_file_that_cannot_be_read_is_named(service: ServiceUnderTest, tmp_path: Path, line: str) -> None:
    (tmp_path / ".env").write_text(f"LOG_LEVEL=info\n{line}\n")
    with pytest.raises(ConfigError, match="line 2: is not NAME=value"):
        service.load_settings(service.environment(tmp_path), env_file=tmp_path / ".env")


@BOTH
def test_a_file_that_is_no_text_is_named(service: ServiceUnderTest, tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"A=\xff\n")
    with pytest.raises(ConfigError, match="cannot be read"):
        service.load_settings(service.environment(tmp_path), env_file=tmp_path / ".env")


@BOTH
def test_an_empty_variable_does_not_hide_the_files_value(service: ServiceUnderTest, tmp_path: Path) -> None:
    name = f"{service.prefix}TRUSTED_HOPS"
    (tmp_path / ".env").write_text(f"{name}=2\n")
    env = service.environment(tmp_path) | {name: ""}
    assert service.load_settings(env, env_file=tmp_path / ".env").http.trusted_hops == 2


@BOTH
@pytest.mark.parametrize("hops", ["-1", "9", "x", "1.5"])
def test_trusted_hops_are_a_small_integer(service: ServiceUnderTest, tmp_path: Path, hops: str) -> None:
    name = f"{service.prefix}TRUSTED_HOPS"
    with pytest.raises(ConfigError, match=f"^{name}: "):
        service.load_settings(service.environment(tmp_path) | {name: hops})


@BOTH
@pytest.mark.parametrize("name", ["SECRET_KEY", "SECRET_KEY_FORMER"])
def test_a_key_that_is_none_is_refused_without_being_shown(
    service: ServiceUnderTest, tmp_path: Path, name: str
) -> None:
    with pytest.raises(ConfigError, match=f"^{service.prefix}{name}") as refused:
        service.load_settings(service.environment(tmp_path) | {service.prefix + name: "c29tZXRoaW5n"})
    assert "c29tZXRoaW5n" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [("EMAIL", "you"), ("EMAIL", "a" * 245 + "@b.example"), ("PASSWORD", "7 chars"), ("PASSWORD", "p" * 257)],
)
def test_a_first_admin_who_could_not_sign_in_is_refused(tmp_path: Path, name: str, value: str) -> None:
    setting = f"MARKETPLACE_ADMIN_{name}"
    with pytest.raises(ConfigError, match=f"^{setting}: ") as refused:
        MARKETPLACE.load_settings(MARKETPLACE.environment(tmp_path) | {setting: value})
    assert name == "EMAIL" or value not in str(refused.value)


EXAMPLES = {
    "scanner": ("SCANNER_API_KEY", "SCANNER_API_KEY_NEXT", "SCANNER_SECRET_KEY", "SCANNER_SECRET_KEY_FORMER"),
    "marketplace": (
        "AMN_SCANNER_API_KEY",
        "AMN_SCANNER_WEBHOOK_SECRET",
        "MARKETPLACE_JWT_SECRET",
        "MARKETPLACE_ADMIN_PASSWORD",
        "MARKETPLACE_SECRET_KEY",
    ),
}
EXAMPLE_KEY = base64.b64encode(b"example-example-example-example!").decode()


@BOTH
@pytest.mark.parametrize("environment", ["test", "staging", "production"])
def test_the_values_everybody_knows_are_refused_outside_development(
    service: ServiceUnderTest, tmp_path: Path, environment: str
) -> None:
    env = service.environment(tmp_path) | ({"SCANNER_API_KEY": "a-key-of-our-own"} if service is SCANNER else {})
    for name in EXAMPLES[service.name]:
        value = EXAMPLE_KEY if name.endswith(("SECRET_KEY", "FORMER")) else "example-of-a-secret-that-is-long-enough"
        service.load_settings(env | {name: value, "APP_ENV": "development"})
        with pytest.raises(ConfigError, match=f"^{name}: is the example's") as refused:
            service.load_settings(env | {name: value, "APP_ENV": environment})
        assert value not in str(refused.value)
