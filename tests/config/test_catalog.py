"""The registries that ship are right, and a wrong one is refused by its JSON path."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from addresses.evm import to_checksum
from addresses.keccak import keccak
from config.catalog import UNPROVABLE, Catalog, Chain, ChainType, Finality, Proof, load_catalog
from config.settings import load_settings
from kernel.errors import ConfigError
from tests.harness import ROOT

MIXED = "0x0DfbEe143b42B41eFC5A6F87bFD1fFC78c2f0aC9"
USDT = "0x55d398326f99059fF775485246999027B3197955"
KEY = "s3cr3t-key"


def entry(**more: Any) -> dict[str, Any]:
    """Return a chain of a registry that is accepted."""
    return {
        "chainId": 56,
        "name": "BNB Smart Chain",
        "verified": True,
        "proxyAddress": MIXED,
        "confirmationThreshold": 200,
        "rpcUrls": ["https://node.example"],
        "rpcEnv": "RPC_BSC",
    } | more


def token(**more: Any) -> dict[str, Any]:
    """Return a token of a registry that is accepted."""
    return {"chainId": 56, "address": USDT, "symbol": "USDT", "decimals": 18, "name": "Tether USD"} | more


def load(folder: Path, chains: Any = None, tokens: Any = None, **environ: str) -> Catalog:
    """Load registries given as values, or as text where the JSON itself is the point."""
    for name, given in {
        "supported-chains.json": [entry()] if chains is None else chains,
        "tokens.json": tokens,
    }.items():
        text = given if isinstance(given, str) else json.dumps([token()] if given is None else given)
        (folder / name).write_text(text)
    paths = {"CHAINS_JSON_PATH": folder / "supported-chains.json", "TOKENS_JSON_PATH": folder / "tokens.json"}
    return load_catalog(load_settings({name: str(path) for name, path in paths.items()} | environ))


def refusal(folder: Path, chains: Any = None, tokens: Any = None, **environ: str) -> str:
    """Return the sentence with which registries are refused."""
    with pytest.raises(ConfigError) as caught:
        load(folder, chains, tokens, **environ)
    message = str(caught.value)
    assert len(message.splitlines()) == 1, message
    return message


def shipped(**environ: str) -> Catalog:
    paths = {"CHAINS_JSON_PATH": ROOT / "supported-chains.json", "TOKENS_JSON_PATH": ROOT / "tokens.json"}
    return load_catalog(load_settings({name: str(path) for name, path in paths.items()} | environ))


BSC_PROXY = "0x0DfbEe143b42B41eFC5A6F87bFD1fFC78c2f0aC9"


@pytest.mark.parametrize(
    ("chain_id", "name", "family", "proxy", "threshold", "verified", "finality", "rpc_env"),
    [
        (56, "BNB Smart Chain", "evm", BSC_PROXY, 200, True, "both", "RPC_BSC"),
        (1, "Ethereum", "evm", "0x370DE27fdb7D1Ff1e1BaA7D11c5820a324Cf623C", 50, True, "both", "RPC_ETH"),
        (97, "BSC Testnet", "evm", BSC_PROXY, 5, True, "depth", "RPC_BSC_TESTNET"),
        (42161, "Arbitrum One", "evm", BSC_PROXY, 2400, False, "both", "RPC_ARB"),
        (137, "Polygon", "evm", BSC_PROXY, 300, False, "both", "RPC_POLYGON"),
        (8453, "Base", "evm", "0x1892196E80C4c17ea5100Da765Ab48c1fE2Fb814", 300, False, "both", "RPC_BASE"),
        (728126428, "Tron", "tron", "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t", 200, False, "finalized", "TRONGRID_URL"),
        (
            1100,
            "TON",
            "ton",
            "EQCxE6mUtQJKFnGfaROTKOt1lZbDiiX1kCixRv7Nw2Id_sDs",
            120,
            False,
            "finalized",
            "TONCENTER_URL",
        ),
    ],
)
def test_the_shipped_chains_are_those_of_the_specification(
    chain_id: int, name: str, family: str, proxy: str, threshold: int, verified: bool, finality: str, rpc_env: str
) -> None:
    chain = shipped().chains[chain_id]
    assert (chain.name, chain.chain_type, chain.proxy_address) == (name, family, proxy)
    assert (chain.confirmation_threshold, chain.verified, chain.testnet) == (threshold, verified, chain_id == 97)
    assert (chain.finality, chain.rpc_env) == (finality, rpc_env)
    assert chain.rpc_urls
    assert all(url.startswith("https://") for url in chain.rpc_urls)
    assert chain.explorer


def test_the_shipped_registry_has_no_other_chain_and_enables_the_verified_ones_in_its_order() -> None:
    catalog = shipped()
    assert list(catalog.chains) == [56, 1, 97, 42161, 137, 8453, 728126428, 1100]
    assert catalog.enabled == (56, 1, 97)


def test_no_shipped_endpoint_is_a_dataseed() -> None:
    """They answer every eth_getLogs with an error."""
    assert not [url for chain in shipped().chains.values() for url in chain.rpc_urls if "dataseed" in url]


def test_every_shipped_chain_has_usdt_and_usdc_with_the_decimals_of_the_specification() -> None:
    catalog = shipped()
    for chain_id in catalog.chains:
        tokens = catalog.tokens(chain_id)
        assert sorted(token.symbol for token in tokens) == ["USDC", "USDT"]
        assert {token.decimals for token in tokens} == {18 if chain_id in {56, 97} else 6}


@pytest.mark.parametrize(
    ("chain_id", "symbol", "address", "on_chain"),
    [
        (1, "USDT", "0xdAC17F958D2ee523a2206206994597C13D831ec7", None),
        (1, "USDC", "0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48", None),
        (56, "USDT", "0x55d398326f99059fF775485246999027B3197955", None),
        (56, "USDC", "0x8AC76a51cc950d9822D68b83fE1Ad97B32Cd580d", None),
        (97, "USDT", "0x109F54Dab34426D5477986b0460aE5dFBA65f022", None),
        (97, "USDC", "0x64544969ed7EBf5f083679233325356EbE738930", None),
        (137, "USDT", "0xc2132D05D31c914a87C6611C10748AEb04B58e8F", "USDT0"),
        (137, "USDC", "0x3c499c542cEF5E3811e1192ce70d8cC03d5c3359", None),
        (42161, "USDT", "0xFd086bC7CD5C481DCC9C85ebE478A1C0b69FCbb9", "USD₮0"),
        (42161, "USDC", "0xaf88d065e77c8cC2239327C5EDb3A432268e5831", None),
        (8453, "USDC", "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913", None),
        (8453, "USDT", "0xfde4C96c8593536E31F229EA8f37b2ADa2699bb2", None),
        (728126428, "USDT", "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t", None),
        (728126428, "USDC", "TEkxiTehnzSmSe2XqrBj4w32RUN966rdz8", None),
        (1100, "USDT", "EQCxE6mUtQJKFnGfaROTKOt1lZbDiiX1kCixRv7Nw2Id_sDs", "USD₮"),
        (1100, "USDC", "EQB-MPwrd1G6WKNkLz_VnV6WqBDd142KMQv-g1O-8QUA3728", "jUSDC"),
    ],
)
def test_the_shipped_tokens_are_the_known_contracts(
    chain_id: int, symbol: str, address: str, on_chain: str | None
) -> None:
    found = shipped().token_by_symbol(chain_id, symbol)
    assert found is not None
    assert (found.address, found.on_chain_symbol) == (address, on_chain)


def test_the_dollar_of_circle_on_ton_says_that_it_is_bridged() -> None:
    found = shipped().token_by_symbol(1100, "USDC")
    assert found is not None
    assert "bridged" in found.name


def test_every_shipped_evm_address_carries_its_checksum() -> None:
    catalog = shipped()
    evm = [chain for chain in catalog.chains.values() if chain.chain_type is ChainType.EVM]
    addresses = [chain.proxy_address for chain in evm]
    addresses += [token.address for chain in evm for token in catalog.tokens(chain.chain_id)]
    assert len(addresses) == 18
    assert [address for address in addresses if to_checksum(address) != address] == []


# The vectors of EIP-55 itself.
@pytest.mark.parametrize(
    "address",
    [
        "0x52908400098527886E0F7030069857D2E4169EE7",
        "0xde709f2102306220921060314715629080e2fb77",
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
        "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
        "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
        "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
    ],
)
def test_checksums_are_those_of_the_standard(address: str) -> None:
    assert to_checksum(address.lower()) == address
    assert to_checksum("0x" + address[2:].upper()) == address


def test_keccak_is_not_the_sha3_of_the_standard_library() -> None:
    assert keccak(b"").hex() == "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"


def test_config_imports_no_chain_library() -> None:
    """Importing web3 costs more than a second."""
    program = (
        "import config.catalog, addresses.keccak, config.settings, sys;"
        "print(sorted({'web3', 'tronpy', 'pytoniq', 'pytoniq_core', 'eth_account', 'aiohttp'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_an_entry_leaves_out_has_a_default(tmp_path: Path) -> None:
    chain = load(tmp_path, [entry()]).chains[56]
    assert (chain.chain_type, chain.finality) == (ChainType.EVM, Finality.DEPTH)
    assert (chain.testnet, chain.poll_interval_s, chain.max_log_range, chain.explorer) == (False, None, None, None)


def test_what_an_entry_says_is_kept(tmp_path: Path) -> None:
    said = entry(
        chainType="ton",
        proxyAddress="0:" + "0D" * 32,
        finality="both",
        pollIntervalSec=2.5,
        maxLogRange=10,
        testnet=True,
    )
    chain = load(tmp_path, [said], []).chains[56]
    assert (chain.chain_type, chain.finality) == (ChainType.TON, Finality.BOTH)
    assert (chain.testnet, chain.poll_interval_s, chain.max_log_range) == (True, 2.5, 10)


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"chainId": "56"}, "$[1].chainId"),
        ({"chainId": 0}, "$[1].chainId"),
        ({"chainId": True}, "$[1].chainId"),
        ({"name": ""}, "$[1].name"),
        ({"name": None}, "$[1].name"),
        ({"chainType": "solana"}, "$[1].chainType"),
        ({"verified": "yes"}, "$[1].verified"),
        ({"testnet": 1}, "$[1].testnet"),
        ({"proxyAddress": "0x12"}, "$[1].proxyAddress"),
        ({"proxyAddress": MIXED.replace("D", "d", 1)}, "$[1].proxyAddress"),
        ({"proxyAddress": ""}, "$[1].proxyAddress"),
        ({"confirmationThreshold": 0}, "$[1].confirmationThreshold"),
        ({"confirmationThreshold": 1.5}, "$[1].confirmationThreshold"),
        ({"rpcUrls": "https://node.example"}, "$[1].rpcUrls"),
        ({"rpcUrls": ["https://node.example", f"ws://{KEY}.example"]}, "$[1].rpcUrls[1]"),
        ({"rpcEnv": "MY_NODE"}, "$[1].rpcEnv"),
        ({"rpcEnv": "RPC_TIMEOUT_SEC"}, "$[1].rpcEnv"),
        ({"rpcEnv": "rpc_bsc"}, "$[1].rpcEnv"),
        ({"explorer": "bscscan.com"}, "$[1].explorer"),
        ({"finality": "soon"}, "$[1].finality"),
        ({"pollIntervalSec": 0}, "$[1].pollIntervalSec"),
        ({"pollIntervalSec": "15"}, "$[1].pollIntervalSec"),
        ({"maxLogRange": 0}, "$[1].maxLogRange"),
        ({"rpcQuorum": 0}, "$[1].rpcQuorum"),
        ({"proof": "yes"}, "$[1].proof"),
        ({"proxyAdress": MIXED}, "$[1].proxyAdress"),
        ({"chain_type": "ton"}, "$[1].chain_type"),
        ({"chainId": 56}, "$[1].chainId"),
    ],
)
def test_a_bad_chain_is_refused_by_its_path(tmp_path: Path, changes: dict[str, Any], path: str) -> None:
    message = refusal(tmp_path, [entry(), entry(chainId=1) | changes])
    assert message.startswith(f"supported-chains.json: {path}: ")
    assert KEY not in message


@pytest.mark.parametrize("chain_id", UNPROVABLE)
def test_a_chain_whose_receipts_cannot_be_encoded_is_refused_with_a_sentence(tmp_path: Path, chain_id: int) -> None:
    message = refusal(tmp_path, [entry(chainId=chain_id, proof="receipts")])

    assert message == (
        f"supported-chains.json: $[0].proof: receipts cannot be proven on chain {chain_id}: {UNPROVABLE[chain_id]}"
    )


TON = {"chainType": "ton", "proxyAddress": "EQCxE6mUtQJKFnGfaROTKOt1lZbDiiX1kCixRv7Nw2Id_sDs", "rpcEnv": None}


@pytest.mark.parametrize(
    ("family", "proof", "why"),
    [
        ({}, "liteserver", "only TON has liteservers that can prove"),
        (TON, "receipts", "only EVM chains have receipts that can be proven"),
    ],
)
def test_a_proof_of_another_family_is_refused(tmp_path: Path, family: dict[str, Any], proof: str, why: str) -> None:
    spoilt = {name: value for name, value in (entry(proof=proof) | family).items() if value is not None}
    assert refusal(tmp_path, [spoilt]).startswith(f"supported-chains.json: $[0].proof: {why}")


def test_ton_may_be_proven_by_a_liteserver() -> None:
    fields = {"chain_id": 1100, "name": "TON", "chain_type": "ton", "proxy_address": TON["proxyAddress"]}
    assert Chain(**fields, confirmation_threshold=1, proof="liteserver").proof is Proof.LITESERVER


@pytest.mark.parametrize("missing", ["chainId", "name", "proxyAddress", "confirmationThreshold"])
def test_a_chain_without_what_it_needs_is_refused(tmp_path: Path, missing: str) -> None:
    chain = entry()
    del chain[missing]
    assert refusal(tmp_path, [chain]).startswith(f"supported-chains.json: $[0].{missing}: ")


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"chainId": 5}, "$[1].chainId"),
        ({"address": "0x12"}, "$[1].address"),
        ({"address": USDT.replace("F", "f", 1)}, "$[1].address"),
        ({"address": USDT}, "$[1].address"),
        ({"address": USDT.lower()}, "$[1].address"),
        ({"symbol": ""}, "$[1].symbol"),
        ({"symbol": "usdt"}, "$[1].symbol"),
        ({"decimals": -1}, "$[1].decimals"),
        ({"decimals": 78}, "$[1].decimals"),
        ({"decimals": "6"}, "$[1].decimals"),
        ({"decimals": True}, "$[1].decimals"),
        ({"onChainSymbol": ""}, "$[1].onChainSymbol"),
        ({"on_chain_symbol": "X"}, "$[1].on_chain_symbol"),
        ({"logo": "x"}, "$[1].logo"),
    ],
)
def test_a_bad_token_is_refused_by_its_path(tmp_path: Path, changes: dict[str, Any], path: str) -> None:
    other = token(address="0x8AC76a51cc950d9822D68b83fE1Ad97B32Cd580d", symbol="USDC")
    assert refusal(tmp_path, tokens=[token(), other | changes]).startswith(f"tokens.json: {path}: ")


def test_the_bounds_of_decimals_are_accepted(tmp_path: Path) -> None:
    other = token(address="0x8AC76a51cc950d9822D68b83fE1Ad97B32Cd580d", symbol="USDC", decimals=77)
    assert len(load(tmp_path, tokens=[token(decimals=0), other]).tokens(56)) == 2


def test_the_same_token_on_two_chains_is_no_duplicate(tmp_path: Path) -> None:
    catalog = load(tmp_path, [entry(), entry(chainId=1)], [token(), token(chainId=1)])
    assert len(catalog.tokens(1)) == len(catalog.tokens(56)) == 1


@pytest.mark.parametrize("address", [MIXED.lower(), "0x" + MIXED[2:].upper()])
def test_an_address_in_one_letter_case_carries_no_checksum_to_check(tmp_path: Path, address: str) -> None:
    assert load(tmp_path, [entry(proxyAddress=address)]).chains[56].proxy_address == address


def test_addresses_of_other_families_are_not_held_to_eip_55(tmp_path: Path) -> None:
    tron = entry(chainType="tron", proxyAddress="TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t")
    assert load(tmp_path, [tron], []).chains[56].proxy_address.startswith("TR7")


def test_json_that_is_none_names_line_and_column(tmp_path: Path) -> None:
    message = refusal(tmp_path, '[\n  {"chainId": 56,}\n]')
    assert message.startswith("supported-chains.json: not valid JSON: ")
    assert "line 2 column 17" in message


@pytest.mark.parametrize("chains", ["{}", "null", '"x"', "[1]"])
def test_json_of_another_shape_is_refused(tmp_path: Path, chains: str) -> None:
    assert refusal(tmp_path, chains).startswith("supported-chains.json: $")


@pytest.mark.parametrize("name", ["CHAINS_JSON_PATH", "TOKENS_JSON_PATH"])
def test_a_missing_registry_is_named_with_its_path(tmp_path: Path, name: str) -> None:
    missing = tmp_path / "nowhere.json"
    with pytest.raises(ConfigError, match=r"nowhere\.json: cannot be read") as caught:
        shipped(**{name: str(missing)})
    assert str(missing) in str(caught.value)


def test_an_endpoint_of_the_environment_replaces_those_of_the_registry() -> None:
    catalog = shipped(RPC_BSC="https://a.example,https://b.example", TRONGRID_URL="https://tron.example")
    assert catalog.chains[56].rpc_urls == ("https://a.example", "https://b.example")
    assert catalog.chains[728126428].rpc_urls == ("https://tron.example",)
    assert catalog.chains[1].rpc_urls == shipped().chains[1].rpc_urls


def test_an_endpoint_named_twice_is_one_endpoint(tmp_path: Path) -> None:
    """A quorum of two has to be two."""
    a, b = "https://a.example", "https://b.example"
    assert shipped(RPC_BSC=f"{a},{b},{a}").chains[56].rpc_urls == (a, b)
    assert load(tmp_path, [entry(rpcUrls=[a, a])]).chains[56].rpc_urls == (a,)


def test_a_chain_without_rpc_env_keeps_its_endpoints(tmp_path: Path) -> None:
    catalog = load(tmp_path, [entry(rpcEnv=None)], RPC_BSC="https://a.example")
    assert catalog.chains[56].rpc_urls == ("https://node.example",)


def test_endpoints_are_not_in_the_repr_of_a_chain() -> None:
    assert KEY not in repr(shipped(RPC_BSC=f"https://node.example/{KEY}"))


def test_enabled_chains_of_the_environment_override_the_registry_in_their_order() -> None:
    catalog = shipped(SCANNER_ENABLED_CHAINS="137,56,137")
    assert catalog.enabled == (137, 56)
    assert catalog.is_enabled(137)
    assert not catalog.is_enabled(1)
    assert catalog.chain(1) is not None
    assert catalog.chain(5) is None


def test_an_unknown_enabled_chain_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^SCANNER_ENABLED_CHAINS: 5 is not in supported-chains.json$"):
        shipped(SCANNER_ENABLED_CHAINS="56,5")


def test_an_enabled_chain_without_endpoint_names_the_variable_that_would_give_one(tmp_path: Path) -> None:
    assert refusal(tmp_path, [entry(rpcUrls=[])]).startswith("RPC_BSC: ")
    assert load(tmp_path, [entry(rpcUrls=[])], RPC_BSC="https://a.example").enabled == (56,)
    assert load(tmp_path, [entry(rpcUrls=[], verified=False)]).enabled == ()


def test_symbols_are_found_in_any_letter_case_but_only_whole() -> None:
    catalog = shipped()
    found = catalog.token_by_symbol(56, "usdt")
    assert found is not None
    assert found.symbol == "USDT"
    assert catalog.token_by_symbol(56, "USD") is None
    assert catalog.token_by_symbol(5, "USDT") is None


def test_a_chain_is_frozen() -> None:
    chain: Chain = shipped().chains[56]
    with pytest.raises(ValueError, match="frozen"):
        chain.confirmation_threshold = 1
