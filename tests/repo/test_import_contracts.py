"""Every import contract fails on an import that it forbids, and the modules import each other in one direction."""

from __future__ import annotations

from copy import deepcopy
from graphlib import TopologicalSorter
from typing import Any

import grimp
import pytest
from importlinter.api import read_configuration
from importlinter.application import use_cases
from importlinter.domain.contract import Contract, registry

from tests.harness import ROOT
from tests.repo.pages import CODE, rows

# What each contract is there to stop: one import, which no other contract forbids.
FORBIDDEN = {
    "Top may import what is below it, never the reverse": ("scanner.store.intents", "scanner.services"),
    "The kernel imports nothing of ours": ("kernel.clock", "marketplace.errors"),
    "The wire imports nothing of ours": ("protocol.words", "aiohttp"),
    "Addresses import the kernel alone": ("addresses.tron", "protocol.words"),
    "The client imports the wire and the signatures alone": (
        "clients.python.amn_scanner_client.errors",
        "kernel.errors",
    ),
    "Settings and registries import nothing above them": ("config.catalog", "clients"),
    "Chains import nothing above them": ("chains.base", "clients"),
    "Chain families never import each other": ("chains.ton.address", "chains.tron.address"),
    "One module imports web3": ("chains.evm.events", "web3"),
    "One module imports tronpy": ("chains.tron.decode", "tronpy"),
    "Few modules import pytoniq_core": ("chains.ton.decode", "pytoniq_core"),
    "One module imports pytoniq's client": ("chains.ton.adapter", "pytoniq"),
    "One module imports APScheduler": ("scanner.worker", "apscheduler"),
    "SQL lives in the stores": ("scanner.settlement", "sqlalchemy"),
    "A receiver can import the signatures alone": ("webhooks.signing", "config.catalog"),
    "The marketplace talks to the scanner over HTTP alone": ("marketplace.health", "scanner.errors"),
    "The marketplace keeps its layers": ("marketplace.store.payments", "marketplace.services"),
    "What is shipped imports no test and no stand-in": ("scanner.worker", "devnet.evm.anvil"),
}
CONFIGURATION = read_configuration(str(ROOT / "pyproject.toml"))
ROOTS = CONFIGURATION["session_options"]["root_packages"]
OPTIONS = {options["name"]: options for options in CONFIGURATION["contracts_options"]}


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    """What imports what, as `lint-imports` reads it."""
    return grimp.build_graph(*ROOTS, include_external_packages=True, cache_dir=None)


@pytest.fixture(scope="module")
def contracts() -> dict[str, Contract]:
    use_cases._register_contract_types(use_cases.read_user_options(str(ROOT / "pyproject.toml")))
    session: dict[str, Any] = CONFIGURATION["session_options"]
    return {name: registry.get_contract_class(each["type"])(name, session, each) for name, each in OPTIONS.items()}


def broken(contracts: dict[str, Contract], graph: grimp.ImportGraph) -> list[str]:
    """Return the contracts a graph breaks; each may change the graph it is given."""
    return [name for name, each in contracts.items() if not each.check(deepcopy(graph), verbose=False).kept]


def test_every_contract_has_an_import_that_it_forbids() -> None:
    assert FORBIDDEN.keys() == OPTIONS.keys()


def test_the_contracts_hold(contracts, graph) -> None:
    assert broken(contracts, graph) == []


@pytest.mark.parametrize("contract", FORBIDDEN)
def test_an_import_that_a_contract_forbids_breaks_that_contract_alone(contract, contracts, graph) -> None:
    importer, imported = FORBIDDEN[contract]
    assert importer in graph.modules
    changed = deepcopy(graph)
    changed.add_import(importer=importer, imported=imported, line_number=1, line_contents=f"import {imported}")

    assert broken(contracts, changed) == [contract]


def test_no_module_imports_itself_over_others(graph) -> None:
    order = TopologicalSorter({module: graph.find_modules_directly_imported_by(module) for module in graph.modules})
    order.prepare()  # raises CycleError, which names the modules of a circle


@pytest.mark.parametrize("folder", ["scanner/store/", *(f"{package}/" for package in ROOTS)])
def test_the_architecture_says_what_a_folder_imports(folder: str, graph) -> None:
    (cells,) = [row for row in rows("docs/architecture.md", "folder") if row[0] == f"`{folder}`"]
    said = {name.partition(".")[0] for name in CODE.findall(cells[2])}
    package = folder.strip("/").replace("/", ".")
    inside = {package, *graph.find_descendants(package)}
    imported = {name for module in inside for name in graph.find_modules_directly_imported_by(module)} - inside

    assert said == {name.partition(".")[0] for name in imported if name.partition(".")[0] in ROOTS} - {package}
