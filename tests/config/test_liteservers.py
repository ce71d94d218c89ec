"""A global config of TON is read as TON's own tools write it, and refused with a sentence when it is none."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import orjson
import pytest

from config.liteservers import MAINNET_ZERO_STATE, MAX_FILE_BYTES, MAX_SERVERS, TESTNET_ZERO_STATE, BlockId
from config.settings import load_settings
from kernel.errors import ConfigError

KEY = base64.b64encode(b"\x07" * 32).decode()
HASH = base64.b64encode(b"\x09" * 32).decode()
SERVER = {"ip": -2018135749, "port": 53312, "provided": "somebody", "id": {"@type": "pub.ed25519", "key": KEY}}
CONFIG: dict[str, Any] = {
    "@type": "config.global",
    "dht": {"@type": "dht.config.global", "k": 6},
    "liteservers": [SERVER],
    "validator": {
        "@type": "validator.config.global",
        "zero_state": {
            "workchain": -1,
            "shard": -(2**63),
            "seqno": 0,
            "root_hash": MAINNET_ZERO_STATE,
            "file_hash": HASH,
        },
        "init_block": {"workchain": -1, "shard": -(2**63), "seqno": 46894135, "root_hash": HASH, "file_hash": KEY},
        "hardforks": [],
    },
}


def refusal(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_settings({"TON_LITESERVERS": str(path)})
    return str(caught.value)


def written(folder: Path, content: Any) -> Path:
    path = folder / "global.config.json"
    path.write_bytes(content if isinstance(content, bytes) else orjson.dumps(content))
    return path


def test_a_global_config_names_liteservers_their_network_and_a_block_to_begin_at(tmp_path: Path) -> None:
    found = load_settings({"TON_LITESERVERS": str(written(tmp_path, CONFIG))}).ton_liteservers

    assert found is not None
    (server,) = found.servers
    assert (server.host, server.port, server.key) == ("135.181.177.59", 53312, b"\x07" * 32)
    assert found.serves(testnet=False)
    assert not found.serves(testnet=True)
    assert found.init_block == BlockId(46894135, b"\x09" * 32, b"\x07" * 32)


def test_a_config_of_the_test_network_without_a_block_to_begin_at_is_read(tmp_path: Path) -> None:
    validator = {"zero_state": {"root_hash": TESTNET_ZERO_STATE}}
    found = load_settings(
        {"TON_LITESERVERS": str(written(tmp_path, CONFIG | {"validator": validator}))}
    ).ton_liteservers

    assert found is not None
    assert found.serves(testnet=True)
    assert found.init_block is None


def test_no_more_liteservers_are_asked_than_the_first_eight(tmp_path: Path) -> None:
    listed = [SERVER | {"port": port} for port in range(1, 20)]
    found = load_settings({"TON_LITESERVERS": str(written(tmp_path, CONFIG | {"liteservers": listed}))}).ton_liteservers

    assert found is not None
    assert [server.port for server in found.servers] == list(range(1, MAX_SERVERS + 1))


@pytest.mark.parametrize(
    "spoilt",
    [
        b"",
        b"[]",
        b"{",
        CONFIG | {"liteservers": []},
        CONFIG | {"liteservers": [SERVER] * 257},
        CONFIG | {"liteservers": [SERVER | {"ip": "1.2.3.4"}]},
        CONFIG | {"liteservers": [SERVER | {"ip": 2**32}]},
        CONFIG | {"liteservers": [SERVER | {"port": 0}]},
        CONFIG | {"liteservers": [SERVER | {"id": {"@type": "pub.aes", "key": KEY}}]},
        CONFIG | {"liteservers": [SERVER | {"id": {"@type": "pub.ed25519", "key": "AAAA"}}]},
        CONFIG | {"validator": {}},
        CONFIG | {"validator": {"zero_state": {"root_hash": 5}}},
        b" " * (MAX_FILE_BYTES + 1),
    ],
)
def test_what_is_no_global_config_is_refused(tmp_path: Path, spoilt: Any) -> None:
    assert refusal(written(tmp_path, spoilt)).startswith("TON_LITESERVERS: must name a global config of ")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "nowhere.json")
    assert "Is a directory" in refusal(tmp_path)
