"""What the operator says is understood, or refused in one line without secrets."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

import pytest

from config.settings import MAX_SOCKETS, REFUSE_OPEN, VARIABLES, Settings, load_settings
from kernel.errors import ConfigError
from tests.harness import ROOT

SECRET = "s3cr3t-value"


def refusal(environ: dict[str, str], env_file: Path | None = None) -> str:
    """Return the sentence with which an environment is refused."""
    with pytest.raises(ConfigError) as caught:
        load_settings(environ, env_file=env_file)
    message = str(caught.value)
    assert len(message.splitlines()) == 1, message
    return message


@pytest.fixture
def env_file(tmp_path: Path) -> Path:
    return tmp_path / ".env"


def test_an_empty_environment_gives_the_documented_defaults() -> None:
    settings = load_settings({})
    assert (settings.http.host, settings.http.port) == ("127.0.0.1", 8080)
    assert settings.http.api_keys == ()
    assert not settings.http.production
    assert settings.store.path == Path("./scanner.db")
    scan = settings.scan
    assert (scan.poll_interval_s, scan.intent_ttl_h, scan.late_watch_h, scan.rpc_timeout_s) == (15, 24, 168, 10)
    assert settings.webhooks.retry_delays_s == (5, 30, 120, 600, 3600)
    assert (settings.webhooks.retry_hours, settings.webhooks.timeout_s) == (6, 15)
    assert settings.webhooks.allowed_hosts == frozenset()
    assert (settings.balances.tick_s, settings.balances.batch_size) == (60, 50)
    assert (settings.log.level, settings.log.format) == ("info", "console")
    assert (settings.chains_path, settings.tokens_path) == (Path("./supported-chains.json"), Path("./tokens.json"))
    assert settings.enabled_chains is None
    assert settings.rpc_urls == {}
    assert (settings.tron_api_key, settings.ton_api_key) == (None, None)
    assert (settings.tron_rps, settings.ton_rps) == (None, None)


def test_every_value_reaches_its_group() -> None:
    settings = load_settings(
        {
            "PORT": "0",
            "HOST": "0.0.0.0",  # noqa: S104 - what a container says
            "DB_PATH": "/data/scanner.db",
            "SCANNER_API_KEY": SECRET,
            "APP_ENV": "production",
            "POLL_INTERVAL_SEC": "0.5",
            "INTENT_TTL_HOURS": "0",
            "LATE_WATCH_HOURS": "1",
            "RPC_TIMEOUT_SEC": "2.5",
            "WEBHOOK_RETRY_DELAYS_SEC": "1, 2,3.5",
            "WEBHOOK_RETRY_HOURS": "0",
            "WEBHOOK_TIMEOUT_SEC": "3",
            "BALANCE_WATCH_TICK_SEC": "7",
            "BALANCE_WATCH_BATCH_SIZE": "9",
            "SCANNER_ENABLED_CHAINS": "56, 1",
            "SCANNER_CALLBACK_ALLOWED_HOSTS": "Shop.Example, backend,::1",
            "TRONGRID_API_KEY": "tron-key",
            "TONCENTER_API_KEY": "ton-key",
            "TRONGRID_RPS": "20",
            "TONCENTER_RPS": "0.5",
            "LOG_LEVEL": "DEBUG",
            "LOG_FORMAT": "json",
        }
    )
    assert (settings.http.port, settings.http.production, settings.webhooks.production) == (0, True, True)
    assert len(settings.http.api_keys) == 1
    assert settings.http.api_keys[0].get_secret_value() == SECRET
    assert settings.scan.poll_interval_s == 0.5
    assert settings.scan.intent_ttl_h == 0
    assert settings.webhooks.retry_delays_s == (1, 2, 3.5)
    assert settings.webhooks.retry_hours == 0
    assert settings.webhooks.allowed_hosts == {"shop.example", "backend", "::1"}
    assert (settings.balances.tick_s, settings.balances.batch_size) == (7, 9)
    assert settings.enabled_chains == (56, 1)
    assert (settings.tron_rps, settings.ton_rps) == (20, 0.5)
    assert (settings.log.level, settings.log.format) == ("debug", "json")


@pytest.mark.parametrize("app_env", ["development", "test", "staging"])
def test_environments_other_than_production_start_without_a_key(app_env: str) -> None:
    assert load_settings({"APP_ENV": app_env}).http.api_keys == ()


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("PORT", "-1", "greater than or equal to 0"),
        ("PORT", "65536", "less than or equal to 65535"),
        ("PORT", "http", "integer"),
        ("APP_ENV", "Production", "development"),
        ("APP_ENV", "prod", "development"),
        ("SCANNER_REQUIRE_AUTH", "maybe", "boolean"),
        ("POLL_INTERVAL_SEC", "0", "greater than 0"),
        ("POLL_INTERVAL_SEC", "-1", "greater than 0"),
        ("POLL_INTERVAL_SEC", "nan", "finite"),
        ("POLL_INTERVAL_SEC", "inf", "finite"),
        ("POLL_INTERVAL_SEC", "15s", "number"),
        ("RPC_TIMEOUT_SEC", "0", "greater than 0"),
        ("INTENT_TTL_HOURS", "-0.1", "greater than or equal to 0"),
        ("INTENT_TTL_HOURS", "nan", "finite"),
        ("INTENT_TTL_HOURS", "1e300", "less than or equal to"),
        ("LATE_WATCH_HOURS", "-inf", "finite"),
        ("WEBHOOK_RETRY_HOURS", "-6", "greater than or equal to 0"),
        ("WEBHOOK_RETRY_DELAYS_SEC", "5,,30", "number"),
        ("WEBHOOK_RETRY_DELAYS_SEC", "5,-30", "greater than or equal to 0"),
        ("WEBHOOK_RETRY_DELAYS_SEC", "5,nan", "finite"),
        ("WEBHOOK_TIMEOUT_SEC", "0", "greater than 0"),
        ("BALANCE_WATCH_TICK_SEC", "0", "greater than 0"),
        ("BALANCE_WATCH_BATCH_SIZE", "0", "greater than or equal to 1"),
        ("BALANCE_WATCH_BATCH_SIZE", "2.5", "integer"),
        ("SCANNER_ENABLED_CHAINS", "56,bsc", "integer"),
        ("SCANNER_ENABLED_CHAINS", ",", "at least one"),
        ("SCANNER_CALLBACK_ALLOWED_HOSTS", " , ", "at least one"),
        ("SCANNER_CALLBACK_ALLOWED_HOSTS", "shop.example/hook", "host names"),
        ("SCANNER_CALLBACK_ALLOWED_HOSTS", "shop.example:8080", "host names"),
        ("SCANNER_CALLBACK_ALLOWED_HOSTS", "*.shop.example", "host names"),
        ("TRONGRID_RPS", "0", "greater than 0"),
        ("TONCENTER_RPS", "-1", "greater than 0"),
        ("LOG_LEVEL", "loud", "debug"),
        ("LOG_FORMAT", "xml", "console"),
    ],
)
def test_a_bad_value_is_refused_and_named(name: str, value: str, why: str) -> None:
    message = refusal({name: value})
    assert message.startswith(f"{name}: ")
    assert why in message


def test_an_echoed_value_is_shortened_and_stays_on_one_line() -> None:
    message = refusal({"LOG_LEVEL": "two\nlines" + "x" * 500})
    assert r"two\nlines" in message
    assert len(message) < 200


@pytest.mark.parametrize("name", ["SCANNER_API_KEY", "TRONGRID_API_KEY", "TONCENTER_API_KEY"])
@pytest.mark.parametrize("value", [f"{SECRET} b", f"{SECRET}\n", f"{SECRET}é", f"{SECRET}\x00"])
def test_a_key_that_no_header_can_carry_is_refused_and_never_shown(name: str, value: str) -> None:
    message = refusal({name: value})
    assert message == f"{name}: must be printable ASCII without spaces"


@pytest.mark.parametrize("name", ["RPC_BSC", "RPC_ANY_NAME", "TRONGRID_URL", "TONCENTER_URL"])
@pytest.mark.parametrize(
    "value",
    [
        f"wss://node.example/{SECRET}",
        f"node.example/{SECRET}",
        f"https://node.example:99999/{SECRET}",
        f"https://node.example:0/{SECRET}",
        f"https:///{SECRET}",
        f"https://[::1/{SECRET}",
        f"https://node.example/{SECRET} x",
        f"https://node.example/\x00{SECRET}",
        f"https://good.example,ftp://{SECRET}.example",
    ],
)
def test_a_bad_endpoint_is_refused_and_never_shown(name: str, value: str) -> None:
    message = refusal({name: value})
    assert message == f"{name}: must be http(s) URLs separated by commas"


@pytest.mark.parametrize("name", ["PORT", "SCANNER_CALLBACK_ALLOWED_HOSTS", "LOG_LEVEL", "SCANNER_ENABLED_CHAINS"])
def test_a_url_in_the_wrong_variable_is_not_shown(name: str) -> None:
    """URLs carry passwords and keys, whichever variable they were pasted into."""
    assert SECRET not in refusal({name: f"https://user:{SECRET}@node.example"})


def test_endpoints_are_kept_by_the_name_they_came_under() -> None:
    settings = load_settings(
        {
            "RPC_BSC": " https://one.example/key , http://127.0.0.1:8545 ",
            "RPC_MY_NODE": "https://mine.example",
            "TRONGRID_URL": "https://tron.example",
            "TONCENTER_URL": "https://ton.example/api/v3",
            "RPC_TIMEOUT_SEC": "3",
            "RPC_ETH": "",
        }
    )
    assert settings.rpc_urls == {
        "RPC_BSC": ("https://one.example/key", "http://127.0.0.1:8545"),
        "RPC_MY_NODE": ("https://mine.example",),
        "TRONGRID_URL": ("https://tron.example",),
        "TONCENTER_URL": ("https://ton.example/api/v3",),
    }


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("SCANNER_API_KYE", " (did you mean SCANNER_API_KEY?)"),
        ("SCANNER_ALLOWED_HOSTS", " (did you mean SCANNER_CALLBACK_ALLOWED_HOSTS?)"),
        ("SCANNER_ENABLED_CHAIN", " (did you mean SCANNER_ENABLED_CHAINS?)"),
        ("SCANNER_ZZZ", ""),
    ],
)
def test_an_unknown_scanner_name_is_refused_with_a_hint(name: str, hint: str) -> None:
    assert refusal({name: SECRET}) == f"{name}: unknown setting{hint}"


def test_an_unknown_scanner_name_in_the_file_is_refused_too(env_file: Path) -> None:
    env_file.write_text(f"SCANNER_API_KYE={SECRET}\n")
    assert refusal({}, env_file) == "SCANNER_API_KYE: unknown setting (did you mean SCANNER_API_KEY?)"


def test_names_of_other_programs_are_none_of_our_business() -> None:
    assert load_settings({"PATH": "/bin", "POLL_INTERVAL": "x"}) == load_settings({})


@pytest.mark.parametrize(
    "environ",
    [
        {"APP_ENV": "production"},
        {"SCANNER_REQUIRE_AUTH": "true"},
        {"SCANNER_REQUIRE_AUTH": "1", "APP_ENV": "development"},
        {"APP_ENV": "production", "SCANNER_API_KEY": ""},
        {"APP_ENV": "production", "SCANNER_API_KEY": "   "},
        {"APP_ENV": "production", "SCANNER_REQUIRE_AUTH": "false"},
        {"SCANNER_REQUIRE_AUTH": "true", "APP_ENV": "test"},
    ],
)
def test_an_open_door_is_refused_where_a_key_is_required(environ: dict[str, str]) -> None:
    assert refusal(environ) == REFUSE_OPEN


def test_the_refusal_reads_as_operators_grep_for_it() -> None:
    wanted = "[scanner] SCANNER_API_KEY must be set in production — refusing to start unauthenticated"
    assert wanted == REFUSE_OPEN


DATABASE = {
    "DATABASE_URL": f"postgresql://u:{SECRET}@db/scanner",
    "SCANNER_SECRET_KEY": "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=",
}


def test_a_database_takes_the_place_of_the_file() -> None:
    found = load_settings(DATABASE).store
    assert found.url == DATABASE["DATABASE_URL"]
    assert load_settings({**DATABASE, "DATABASE_URL": "postgres://u@db/scanner"}).store.url == "postgres://u@db/scanner"
    assert load_settings({}).store.url is None
    assert SECRET not in repr(load_settings(DATABASE))


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({**DATABASE, "DB_PATH": "./scanner.db"}, "DB_PATH"),
        ({"DATABASE_URL": DATABASE["DATABASE_URL"]}, "SCANNER_SECRET_KEY"),
        ({**DATABASE, "DATABASE_URL": f"mysql://u:{SECRET}@db/scanner"}, "DATABASE_URL"),
        ({**DATABASE, "SCANNER_LEASE_SEC": "3.9"}, "SCANNER_LEASE_SEC"),
        ({**DATABASE, "SCANNER_LEASE_SEC": "20.1"}, "SCANNER_LEASE_SEC"),
        ({**DATABASE, "SCANNER_NODE_ID": "a b"}, "SCANNER_NODE_ID"),
        ({**DATABASE, "SCANNER_NODE_ID": "a" * 101}, "SCANNER_NODE_ID"),
        ({**DATABASE, "SCANNER_NODE_ID": "a\n"}, "SCANNER_NODE_ID"),
    ],
)
def test_what_does_not_go_with_a_database_is_named_without_its_url(given: dict[str, str], named: str) -> None:
    message = refusal(given)
    assert message.startswith(f"{named}: ")
    assert SECRET not in message


def test_an_empty_path_beside_a_database_is_no_path() -> None:
    assert load_settings({**DATABASE, "DB_PATH": ""}).store.url == DATABASE["DATABASE_URL"]


def test_each_process_has_a_name_of_its_own() -> None:
    assert load_settings({}).store.node_id == f"{socket.gethostname()}:{os.getpid()}"
    assert load_settings({"SCANNER_NODE_ID": "a-name"}).store.node_id == "a-name"


def test_an_empty_value_counts_as_unset() -> None:
    empty = dict.fromkeys(VARIABLES, "")
    assert load_settings(empty) == load_settings({})


def test_the_environment_goes_before_the_file(env_file: Path) -> None:
    env_file.write_text("PORT=1111\nHOST=file.example\n# a comment\nexport LOG_LEVEL='warning'\n")
    settings = load_settings({"PORT": "2222"}, env_file=env_file)
    assert (settings.http.port, settings.http.host, settings.log.level) == (2222, "file.example", "warning")


def test_an_empty_variable_does_not_hide_the_key_in_the_file(env_file: Path) -> None:
    """A composed `SCANNER_API_KEY=` must not open a door that the file locks."""
    env_file.write_text(f"SCANNER_API_KEY={SECRET}\n")
    assert load_settings({"SCANNER_API_KEY": ""}, env_file=env_file).http.api_keys != ()


def test_the_file_may_begin_with_a_byte_order_mark(env_file: Path) -> None:
    env_file.write_text(f"SCANNER_API_KEY={SECRET}\n", encoding="utf-8-sig")
    assert load_settings({}, env_file=env_file).http.api_keys != ()


def test_values_of_the_file_are_taken_as_written(env_file: Path) -> None:
    """A key may hold a dollar sign."""
    env_file.write_text("SCANNER_API_KEY=a${HOME}b\n")
    (key,) = load_settings({}, env_file=env_file).http.api_keys
    assert key is not None
    assert key.get_secret_value() == "a${HOME}b"


def test_a_missing_file_is_no_error(env_file: Path) -> None:
    assert load_settings({}, env_file=env_file) == load_settings({})


def test_a_line_of_the_file_that_cannot_be_understood_is_refused(env_file: Path) -> None:
    """Left out, it would be a key that is silently not required."""
    env_file.write_text(f'PORT=1\nSCANNER_API_KEY "{SECRET}"\n')
    message = refusal({}, env_file)
    assert f"{env_file}: line 2" in message
    assert SECRET not in message


def test_a_file_that_is_no_text_is_refused(env_file: Path) -> None:
    env_file.write_bytes(b"PORT=1\n\xff\xfe\n")
    assert refusal({}, env_file).startswith(f"{env_file}: cannot be read")


def secretive() -> Settings:
    return load_settings(
        {
            "SCANNER_API_KEY": f"{SECRET}1",
            "TRONGRID_API_KEY": f"{SECRET}2",
            "TONCENTER_API_KEY": f"{SECRET}3",
            "RPC_BSC": f"https://node.example/{SECRET}4",
            "TRONGRID_URL": f"https://tron.example/{SECRET}5",
        }
    )


def test_no_secret_is_in_a_repr() -> None:
    settings = secretive()
    assert settings.rpc_urls["RPC_BSC"] == (f"https://node.example/{SECRET}4",)
    assert SECRET not in f"{settings!r} {settings} {settings.http!r}"


def test_the_documentation_lists_every_setting_with_its_default() -> None:
    rows = re.findall(r"^\| (`[A-Z].*?) \| (.*?) \|", (ROOT / "docs" / "settings.md").read_text(), re.MULTILINE)
    documented = {name: default for names, default in rows for name in re.findall(r"`([A-Z_]+)`", names)}
    assert set(VARIABLES) <= set(documented)
    defaults = {name: text.strip("`") for name, text in documented.items() if text.startswith("`")}
    assert load_settings(defaults) == load_settings({})
    assert {name for name in documented if name not in VARIABLES and not name.startswith("RPC_")} == set()


def test_a_public_url_is_kept_without_a_slash_at_its_end() -> None:
    assert load_settings({}).http.public_url is None
    assert load_settings({"SCANNER_PUBLIC_URL": "https://pay.example/"}).http.public_url == "https://pay.example"
    assert load_settings({"SCANNER_PUBLIC_URL": "http://[::1]:8080/a/"}).http.public_url == "http://[::1]:8080/a"


@pytest.mark.parametrize(
    "value",
    [
        "pay.example",
        "ftp://pay.example",
        "https://",
        "https://user:s3cr3t-value@pay.example",
        "https://pay.example?a=1",
        "https://pay.example#a",
        "https://pay.example/ a",
        "https://pay.example/" + "a" * 500,
    ],
)
def test_a_public_url_that_buyers_cannot_open_is_refused(value: str) -> None:
    said = refusal({"SCANNER_PUBLIC_URL": value})

    assert said.startswith("SCANNER_PUBLIC_URL: ")
    assert SECRET not in said


def test_who_may_frame_the_payment_page_is_a_list_of_sources() -> None:
    def told(value: str) -> str:
        return load_settings({"SCANNER_CHECKOUT_FRAME_ANCESTORS": value}).http.frame_ancestors

    assert load_settings({}).http.frame_ancestors == "'none'"
    assert told("'none'") == "'none'"
    assert told("'self', https://shop.example, https://*.shop.example:8443") == (
        "'self' https://shop.example https://*.shop.example:8443"
    )


@pytest.mark.parametrize(
    "value",
    ["none", "*", "https:", "https://*", "shop.example", "'none' https://a.example", "https://a.example; script-src *"],
)
def test_a_source_that_would_open_the_page_to_everybody_is_refused(value: str) -> None:
    assert refusal({"SCANNER_CHECKOUT_FRAME_ANCESTORS": value}).startswith("SCANNER_CHECKOUT_FRAME_ANCESTORS: ")


def test_the_sockets_of_a_chain_are_named_after_its_endpoints() -> None:
    settings = load_settings({"RPC_BSC_WS": "wss://a.example/key, ws://b.example,wss://a.example/key"})
    assert settings.sockets == {"RPC_BSC": ("wss://a.example/key", "ws://b.example")}
    assert settings.rpc_urls == {}
    assert "a.example" not in repr(settings)


@pytest.mark.parametrize("value", [",", "https://a.example", "wss://", "wss://a b", "ws://a.example:0"])
def test_what_is_no_socket_is_refused_without_showing_it(value: str) -> None:
    assert refusal({"RPC_BSC_WS": value}) == "RPC_BSC_WS: must be ws(s) URLs separated by commas"


def test_a_chain_has_a_bounded_number_of_sockets() -> None:
    urls = ",".join(f"wss://{number}.example" for number in range(MAX_SOCKETS + 1))
    assert refusal({"RPC_BSC_WS": urls}) == "RPC_BSC_WS: must name at most 8"


def test_second_nodes_of_tron_are_urls_that_are_never_shown() -> None:
    settings = load_settings({"TRON_SOLIDITY_URLS": "https://a.example/key, http://b.example"})
    assert settings.tron_solidity_urls == ("https://a.example/key", "http://b.example")
    assert "a.example" not in repr(settings)
    assert refusal({"TRON_SOLIDITY_URLS": "a.example/key"}).startswith("TRON_SOLIDITY_URLS: must be http(s) URLs")
    assert "key" not in refusal({"TRON_SOLIDITY_URLS": "wss://a.example/key"})
    assert refusal({"TRON_SOLIDITY_URLS": ","}).startswith("TRON_SOLIDITY_URLS: must name at least one")
