"""The doctor finds nothing where nothing is wrong, and says what to change where something is."""

from __future__ import annotations

import asyncio
import io
import json
import re
import sqlite3
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from chains import findings
from chains.evm.push import diagnosis
from chains.findings import NO_ANSWER, Finding, Verdict
from chains.rpc.endpoint_pool import EndpointPool
from devnet.evm.anvil import Anvil
from devnet.evm.faulty_rpc import FaultyRpc
from devnet.evm.head_server import head_server
from devnet.receiver import Receiver
from devnet.ton.liteserver import Liteserver
from devnet.ton.toncenter import TonCenter
from devnet.tron.ledger import TronLedger
from devnet.tron.trongrid import TronGrid
from kernel.store.postgresql import PostgresDatabase
from scanner.__main__ import main
from scanner.commands.doctor import report
from scanner.commands.doctor.chain import Located, Unmeasured
from scanner.commands.doctor.run import HERE, examine, network_findings
from tests.harness import ROOT, SECRET, USDT, empty_store, environment
from tests.repo.pages import page, rows

OK, WARNING, PROBLEM, SKIPPED = Verdict.OK, Verdict.WARNING, Verdict.PROBLEM, Verdict.SKIPPED
NOWHERE = "http://127.0.0.1:9"


def env_of(folder: Path, *urls: str, **more: str) -> dict[str, str]:
    return environment(folder, ",".join(urls), SCANNER_API_KEY="a-key-for-tests", RPC_TIMEOUT_SEC="2", **more)


async def found_of(env: dict[str, str], **how: Any) -> dict[str, dict[str, Finding]]:
    """Return the findings by what they are about, and by their names."""
    return sorted_by_place(await examine(env, None, **how))


def sorted_by_place(located: list[Located]) -> dict[str, dict[str, Finding]]:
    found: dict[str, dict[str, Finding]] = {}
    for where, finding in located:
        found.setdefault(where.removeprefix("BSC Testnet ").rpartition("#")[2], {})[finding.what] = finding
    return found


def changed_registry(folder: Path, chain_id: int = 97, **changed: Any) -> str:
    chains = json.loads((ROOT / "supported-chains.json").read_text())
    listed = [chain | changed if chain["chainId"] == chain_id else chain for chain in chains]
    (folder / "chains.json").write_text(json.dumps(listed))
    return str(folder / "chains.json")


def changed_tokens(folder: Path, **changed: Any) -> str:
    tokens = json.loads((ROOT / "tokens.json").read_text())
    listed = [token | changed if token["address"] == USDT else token for token in tokens]
    (folder / "tokens.json").write_text(json.dumps(listed))
    return str(folder / "tokens.json")


@pytest.mark.anvil
async def test_on_a_healthy_chain_nothing_is_wrong(tmp_path: Path, chain: Anvil, hooks: Receiver) -> None:
    await chain.transfer(USDT, chain.accounts[2], 1)

    located = await examine(env_of(tmp_path, chain.url), None, callback=hooks.url(), secret=SECRET)
    found = sorted_by_place(located)

    report.show(located, Console(file=(printed := io.StringIO()), width=160))
    assert f"`{printed.getvalue().splitlines()[-1]}`" in page("docs/operations.md")
    assert {(w, n): f for w, of in found.items() for n, f in of.items() if f.verdict is not OK} == {}
    assert {*found["1"]} == {
        "chain id",
        "latency",
        "head",
        "finalized",
        "logs of the proxy",
        "logs of any token",
        "blocks a query",
        "calls a batch",
        "receipts",
    }
    assert {"settings", "API key", "store", "space", "sealing key", "callback", "clock", "registries"} <= {*found[HERE]}
    assert {"contracts", "token USDT", "token USDC"} <= {*found["BSC Testnet"]}
    assert hooks.deliveries[0].verified(SECRET)
    assert hooks.deliveries[0].json["test"] is True
    assert not (tmp_path / "scanner.db").exists()


# An endpoint that does this, as the operators' page says it, and how it is made to.
BROKEN: dict[str, Callable[[FaultyRpc], Any]] = {
    "serves another chain": lambda rpc: setattr(rpc, "chain_id", 56),
    "refuses its key": lambda rpc: rpc.fail(status=401),
    "does not answer": lambda rpc: rpc.fail(hang=True),
    "is a web page": lambda rpc: rpc.fail(body=b"<html>welcome</html>"),
    "does not know its newest block": lambda rpc: rpc.fail("eth_getBlockByNumber", result=None),
    "does not know the finalized block": lambda rpc: setattr(rpc, "knows_finalized", False),
    "serves no logs": lambda rpc: rpc.fail("eth_getLogs", error=(-32601, "method not found")),
    "serves logs with an address alone": lambda rpc: setattr(rpc, "needs_address", True),
    "serves logs of few blocks": lambda rpc: setattr(rpc, "max_range", 5),
    "takes no batches": lambda rpc: setattr(rpc, "batches", False),
    "has no receipts": lambda rpc: setattr(rpc, "without_receipt", lambda _: True),
    "is slow": lambda rpc: rpc.fail("eth_getBlockByNumber", times=1, delay_s=0.3),
}
SAID = {row[0]: row[1:] for row in rows("docs/operations.md", "an endpoint that")}


@pytest.mark.anvil
async def test_of_a_broken_endpoint_it_says_what_is_wrong_and_of_the_good_one_beside_it_nothing(
    tmp_path: Path, chain: Anvil, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says what the operators' page says it does, word by word; `…` there is what differs from time to time."""
    monkeypatch.setattr(findings, "SLOW_S", 0.25)
    await chain.transfer(USDT, chain.accounts[2], 1)
    registry = changed_registry(tmp_path, finality="both")
    assert len(BROKEN) >= 10
    assert [*BROKEN] == [*SAID]

    async with FaultyRpc(chain.url) as broken:
        env = env_of(tmp_path, broken.url, chain.url, CHAINS_JSON_PATH=registry)
        for name, damage in BROKEN.items():
            what, verdict, sentence = (cell.strip("`") for cell in SAID[name])
            damage(broken)
            found = await found_of(env)
            assert (name, found["1"][what].verdict.value) == (name, verdict), found["1"][what]
            assert re.fullmatch(re.escape(sentence).replace("…", ".+"), found["1"][what].advice), found["1"][what]
            assert {n: f for n, f in found["2"].items() if f.verdict is not OK} == {}, name
            broken.heal()


@pytest.mark.anvil
async def test_an_endpoint_that_fell_behind_and_a_clock_that_is_wrong_are_told_apart(
    tmp_path: Path, chain: Anvil
) -> None:
    async with FaultyRpc(chain.url) as behind:
        behind.stale_at = int(await chain.rpc("eth_blockNumber"), 16)
        await chain.rpc("evm_increaseTime", [600])
        await chain.mine(2)
        env = env_of(tmp_path, behind.url, chain.url)

        later = await found_of(env, wall=lambda: time.time() + 600)
        now = await found_of(env)
        much_later = await found_of(env, wall=lambda: time.time() + 6000)

    assert (later["1"]["head"].verdict, later["2"]["head"].verdict, later[HERE]["clock"].verdict) == (PROBLEM, OK, OK)
    assert "s old: it has fallen behind, the network stands still" in later["1"]["head"].advice
    assert now[HERE]["clock"].verdict is PROBLEM
    assert "this machine's clock is behind. Set it (NTP)." in now[HERE]["clock"].advice
    assert much_later[HERE]["clock"].verdict is WARNING
    assert "set this machine's clock (NTP) if it is ahead." in much_later[HERE]["clock"].advice


@pytest.mark.anvil
async def test_wrong_contracts_of_the_registry_are_named(tmp_path: Path, chain: Anvil) -> None:
    nobody = "0x70e36f6BF80a52b3B46b3aF8e106CC0ed743E8e4"
    registry = changed_registry(tmp_path, proxyAddress=nobody)

    decimals = await found_of(env_of(tmp_path, chain.url, TOKENS_JSON_PATH=changed_tokens(tmp_path, decimals=6)))
    symbol = await found_of(env_of(tmp_path, chain.url, TOKENS_JSON_PATH=changed_tokens(tmp_path, symbol="USDX")))
    absent = await found_of(env_of(tmp_path, chain.url, TOKENS_JSON_PATH=changed_tokens(tmp_path, address=nobody)))
    proxy = await found_of(env_of(tmp_path, chain.url, CHAINS_JSON_PATH=registry))

    of = "BSC Testnet"
    assert decimals[of]["token USDT"].verdict is PROBLEM
    assert "the chain says USDT with 18 decimals, the registry USDT with 6." in decimals[of]["token USDT"].advice
    assert symbol[of]["token USDX"].verdict is WARNING
    assert symbol[of]["token USDX"].advice.endswith("Set onChainSymbol in tokens.json.")
    assert "the contract cannot be read." in absent[of]["token USDT"].advice
    assert proxy[of]["contracts"].verdict is PROBLEM
    assert proxy[of]["contracts"].advice.endswith("cannot be seen. Correct the registry, or the endpoint.")


async def test_an_endpoint_is_called_what_the_status_calls_it(tmp_path: Path) -> None:
    urls = (f"{NOWHERE}/a", f"{NOWHERE}/b")
    found = await examine(env_of(tmp_path, *urls), None)

    called = {where.removeprefix("BSC Testnet ") for where, _ in found if "#" in where}
    assert called == {endpoint.label for endpoint in EndpointPool(urls, telemetry=Unmeasured()).endpoints}


async def test_without_any_endpoint_what_depends_on_it_is_left_out(tmp_path: Path) -> None:
    found = await found_of(env_of(tmp_path, f"{NOWHERE}/a-key-in-a-path"))

    assert [*found["1"]] == ["chain id"]
    assert found["1"]["chain id"].verdict is PROBLEM
    assert "a-key" not in str(found)
    assert found["BSC Testnet"]["contracts"].verdict is SKIPPED
    assert found[HERE]["clock"].verdict is SKIPPED


async def test_where_no_endpoint_answers_it_says_to_look_at_this_machine_first(tmp_path: Path) -> None:
    found = await found_of(env_of(tmp_path, f"{NOWHERE}/a", f"{NOWHERE}/b"))

    assert found[HERE]["network"].verdict is PROBLEM
    assert found[HERE]["network"].advice.startswith("No endpoint answers: look first whether this machine reaches them")


SILENT = Finding("chain id", PROBLEM, NO_ANSWER)


@pytest.mark.parametrize(
    "found",
    [
        [SILENT],
        [SILENT, SILENT, Finding("latency", OK, "0.01 s")],
        [SILENT, SILENT, Finding("chain id", PROBLEM, "another chain")],
        [SILENT, Finding("contracts", SKIPPED, "no endpoint can be asked")],
        [],
    ],
)
def test_one_endpoint_that_fails_by_itself_is_not_called_a_broken_network(found: list[Finding]) -> None:
    assert network_findings(found) == []


@pytest.mark.parametrize(
    ("changed", "what", "sentence"),
    [
        ({"PORT": "x"}, "settings", "PORT: "),
        ({"SCANNER_ENABLED_CHAINS": "4242"}, "registries", "SCANNER_ENABLED_CHAINS: 4242 is not in"),
        ({"CHAINS_JSON_PATH": "/nowhere.json"}, "registries", "/nowhere.json: cannot be read"),
        ({"DB_PATH": "/nowhere/at/all.db"}, "store", "DB_PATH: folder /nowhere/at does not exist"),
    ],
)
async def test_a_bad_setting_is_named(tmp_path: Path, changed: dict[str, str], what: str, sentence: str) -> None:
    found = (await found_of(env_of(tmp_path, NOWHERE, **changed)))[HERE][what]

    assert found.verdict is PROBLEM
    assert found.advice.startswith(sentence)


async def test_without_a_key_it_says_who_is_answered(tmp_path: Path) -> None:
    env = env_of(tmp_path, NOWHERE)
    del env["SCANNER_API_KEY"]

    assert (await found_of(env))[HERE]["API key"].verdict is WARNING


async def test_a_store_is_looked_at_and_left_as_it_is(tmp_path: Path) -> None:
    store = tmp_path / "scanner.db"
    store.write_bytes(empty_store())
    assert (await found_of(env_of(tmp_path, NOWHERE)))[HERE]["store"].verdict is OK
    assert store.read_bytes() == empty_store()

    with sqlite3.connect(store) as opened:
        opened.execute("UPDATE alembic_version SET version_num = '9999'")
    newer = (await found_of(env_of(tmp_path, NOWHERE)))[HERE]["store"]
    store.write_bytes(b"nonsense" * 1000)
    broken = (await found_of(env_of(tmp_path, NOWHERE)))[HERE]["store"]

    assert "was written by a newer version (schema 9999)" in newer.advice
    assert "cannot be used: file is not a database" in broken.advice


async def test_a_database_is_asked_in_place_of_a_file(tmp_path: Path, pg: PostgresDatabase) -> None:
    env = env_of(tmp_path, NOWHERE, SCANNER_SECRET_KEY="MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=")
    del env["DB_PATH"]

    there = (await found_of(env | {"DATABASE_URL": pg.settings.url}))[HERE]["store"]
    absent = (await found_of(env | {"DATABASE_URL": "postgresql://amn:a-password@127.0.0.1:9/amn"}))[HERE]["store"]

    async with pg.write() as tx:
        await tx.exec_driver_sql("UPDATE amn_scanner.alembic_version SET version_num = '9999'")
    newer = (await found_of(env | {"DATABASE_URL": pg.settings.url}))[HERE]["store"]

    assert there.verdict is OK
    assert there.found.startswith("PostgreSQL: schema ")
    assert newer.advice.startswith("DATABASE_URL: the database was written by a newer version (schema 9999)")
    assert absent.verdict is PROBLEM
    assert absent.advice.startswith("DATABASE_URL: ")
    assert "a-password" not in absent.advice


@pytest.mark.parametrize(
    ("status", "secret", "verdict", "said"),
    [
        (200, SECRET, OK, ""),
        (401, None, OK, ""),
        (401, SECRET, PROBLEM, "refuses our signature"),
        (500, SECRET, PROBLEM, "answers HTTP 500: deliveries count only with 2xx"),
    ],
)
async def test_a_receiver_is_called_as_a_delivery_would_call_it(
    tmp_path: Path, hooks: Receiver, status: int, secret: str | None, verdict: Verdict, said: str
) -> None:
    hooks.behave(statuses=(status,))

    found = (await found_of(env_of(tmp_path, NOWHERE), callback=hooks.url(), secret=secret))[HERE]["callback"]

    assert found.verdict is verdict
    assert said in found.advice
    assert len(hooks.deliveries) == 1


@pytest.mark.parametrize(
    ("url", "more", "said"),
    [
        (f"{NOWHERE}/hook", {}, "cannot be reached (connection refused)"),
        ("ftp://shop.example", {}, "must be an http(s) URL"),
        ("http://10.0.0.1/hook", {"APP_ENV": "production"}, "host is not a public address"),
    ],
)
async def test_a_receiver_that_cannot_be_called_is_a_problem(
    tmp_path: Path, url: str, more: dict[str, str], said: str
) -> None:
    found = (await found_of(env_of(tmp_path, NOWHERE, **more), callback=url))[HERE]["callback"]

    assert found.verdict is PROBLEM
    assert said in found.advice


async def test_the_services_of_the_other_families_are_looked_at(tmp_path: Path) -> None:
    async with TronGrid(TronLedger.until(int(time.time() * 1000))) as tron, TonCenter() as ton:
        env = env_of(tmp_path, NOWHERE, SCANNER_ENABLED_CHAINS="728126428,1100")
        good = await examine(env | {"TRONGRID_URL": tron.url, "TONCENTER_URL": ton.url}, None)
    broken = await examine(env | {"TRONGRID_URL": NOWHERE, "TONCENTER_URL": NOWHERE}, None)

    of_services = {(where.partition(" ")[0], f.what): f.verdict for where, f in good if "#" in where}
    assert of_services == {(name, what): OK for name in ("Tron", "TON") for what in ("service", "latency", "head")}
    assert [f.what for where, f in broken if where == HERE and f.verdict is PROBLEM] == ["network"]
    said = [f.advice for where, f in broken if "#" in where and f.verdict is PROBLEM]
    assert len(said) == 2
    assert all("correct it in T" in sentence for sentence in said)


@pytest.mark.parametrize("family", ["evm", "tron"])
async def test_endpoints_that_no_setting_names_are_corrected_in_the_registry(tmp_path: Path, family: str) -> None:
    """It named the setting, in which they were not."""
    chain_id, setting = {"evm": (97, "RPC_BSC_TESTNET"), "tron": (728126428, "TRONGRID_URL")}[family]
    env = env_of(tmp_path, NOWHERE, SCANNER_ENABLED_CHAINS=str(chain_id))
    del env["RPC_BSC_TESTNET"]
    env["CHAINS_JSON_PATH"] = changed_registry(tmp_path, chain_id, rpcUrls=[NOWHERE])

    (said,) = [f.advice for where, f in await examine(env, None) if "#" in where and f.verdict is PROBLEM]

    assert said.endswith(f": correct it in chains.json (or name others in {setting}), or take it out.")


class Forked(TronLedger):
    """The same moments, in blocks of another chain with the same beginning."""

    def block_id(self, number: int) -> str:
        found = super().block_id(number)
        return found if number == 0 else found[:-1] + ("0" if found[-1] != "0" else "1")


async def second_lines(env: dict[str, str]) -> list[tuple[Verdict, str, str]]:
    """Return what is said of second sources."""
    found = await examine(env, None)
    return [(f.verdict, f.found, f.advice) for _, f in found if f.what == "second source"]


@pytest.mark.long
async def test_second_nodes_of_tron_are_held_against_the_first(tmp_path: Path) -> None:
    now = int(time.time() * 1000)
    ledger, fork = TronLedger.until(now), Forked.until(now)
    async with AsyncExitStack() as stack:
        tron, same, forked, late = [
            await stack.enter_async_context(TronGrid(each))
            for each in (ledger, ledger, fork, TronLedger.until(now - 300_000))
        ]
        env = env_of(tmp_path, NOWHERE, SCANNER_ENABLED_CHAINS="728126428") | {"TRONGRID_URL": tron.url}
        ((agrees, said, _),) = await second_lines(env | {"TRON_SOLIDITY_URLS": same.url})
        one_is_away = await second_lines(env | {"TRON_SOLIDITY_URLS": f"{same.url},{NOWHERE}"})
        ((away, _, advice),) = await second_lines(env | {"TRON_SOLIDITY_URLS": NOWHERE})
        ((other, _, differs),) = await second_lines(env | {"TRON_SOLIDITY_URLS": forked.url})
        ((behind, _, waits),) = await second_lines(env | {"TRON_SOLIDITY_URLS": late.url})

    assert (agrees, said.endswith(", 0 s behind"), said.startswith("agrees on block ")) == (OK, True, True)
    assert [verdict for verdict, _, _ in one_is_away] == [OK, WARNING]
    assert (away, other, behind) == (PROBLEM, PROBLEM, WARNING)
    assert "s behind the first source, and payments are confirmed so much later" in waits
    assert advice.endswith(
        "correct it in TRON_SOLIDITY_URLS, or take it out. No payment is confirmed while none of them answers."
    )
    assert "is another one than the first source's" in differs


@pytest.mark.long
async def test_liteservers_are_asked_for_their_newest_block(tmp_path: Path) -> None:
    listed = tmp_path / "global.config.json"
    async with TonCenter() as ton, Liteserver(ton.ledger) as server:
        listed.write_bytes(Liteserver.config(server))
        env = env_of(tmp_path, NOWHERE, SCANNER_ENABLED_CHAINS="1100", TON_LITESERVERS=str(listed))
        ((verdict, said, _),) = await second_lines(env | {"TONCENTER_URL": ton.url})
        await server.stop()
        ((away, _, advice),) = await second_lines(env | {"TONCENTER_URL": ton.url})

    assert (verdict, said.startswith("this network, block ")) == (OK, True)
    assert (away, "correct it in TON_LITESERVERS" in advice) == (PROBLEM, True)


@pytest.mark.anvil
async def test_it_prints_a_table_a_sentence_for_each_problem_and_ends_with_the_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What an endpoint says is text: its square brackets are no styles."""
    monkeypatch.chdir(tmp_path)
    for name, value in env_of(tmp_path, NOWHERE).items():
        monkeypatch.setenv(name, value)
    import asyncio  # noqa: PLC0415

    assert await asyncio.to_thread(main, ["doctor"]) == 1
    said = capsys.readouterr().out
    lines = said.splitlines()

    assert lines[0].split() == ["where", "what", "found"]
    assert [line for line in lines if line.startswith("PROBLEM BSC Testnet 127.0.0.1:9#1: It cannot be used (")]
    assert lines[-1] == "1 problem, 0 warnings"


async def test_a_socket_is_waited_for_and_named_when_it_announces_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diagnosis, "PATIENCE_S", 0.3)
    async with head_server(97) as silent, head_server(97) as good:
        env = env_of(tmp_path, NOWHERE, RPC_BSC_TESTNET_WS=f"{silent.url},{good.url}")
        examining = asyncio.create_task(found_of(env))
        await asyncio.wait_for(good.subscribed.wait(), 10)
        await good.announce(12)
        found = await examining

    sentence = found["1"]["new heads"].advice
    assert (found["1"]["new heads"].verdict, found["2"]["new heads"].verdict) == (WARNING, OK)
    said = re.search(r"a warning at `new heads`: `(.+?)`", page("docs/operations.md"))
    assert said is not None
    assert re.fullmatch(re.escape(said[1]).replace("…", ".+"), sentence)
    assert found["2"]["new heads"].found == "block 12 announced"
