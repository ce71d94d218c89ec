"""Every write of the scanner is known with what protects it where several processes write (docs/scaling.md)."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.harness import ROOT

TERM = "the lease row of the chain, with the leader's term"
TERMS = "the lease rows of the chains, with the leader's terms"
CHAIN = "the lease row of the chain, by whoever decides about its intents"
HOUSEKEEPING = "the lease row of housekeeping, with its term, and those of all chains where intents are concerned"
LANE = "the lane of the receiver, and the lease rows of chains where more than an event changes"
UNIQUE = "unique indexes, and another try"
NAMED = "a lock by a name"
STATEMENT = "one statement, or several of which each is right by itself"

PROTECTED = {
    "scanner/balance_watcher.py::BalanceWatcher._write": TERM,
    "scanner/cluster.py::Together._answer": STATEMENT,
    "scanner/cluster.py::Together._tell_and_look": STATEMENT,
    "scanner/cluster.py::Together.join": STATEMENT,
    "scanner/cluster.py::Together.poll": STATEMENT,
    "scanner/confirmer.py::Confirmer._apply": TERM,
    "scanner/console_sessions.py::ConsoleSessions.close": STATEMENT,
    "scanner/console_sessions.py::ConsoleSessions.open": STATEMENT,
    "scanner/deliveries.py::Deliveries.redeliver": STATEMENT,
    "scanner/deliveries.py::Deliveries.redeliver_failed": STATEMENT,
    "scanner/native_deposits.py::NativeDepositDetector._store": TERM,
    "scanner/reading/rail_reader.py::RailReader._keep_found": TERM,
    "scanner/reading/rail_reader.py::RailReader._look_back": TERM,
    "scanner/reading/rail_reader.py::RailReader._start": TERM,
    "scanner/reading/rail_reader.py::RailReader._store": TERM,
    "scanner/reading/rail_reader.py::RailReader._take_back": TERM,
    "scanner/reading/rail_reader.py::RailReader._unwind": TERM,
    "scanner/reading/second_reading.py::SecondReader._keep": TERM,
    "scanner/reading/second_reading.py::SecondReader._last_looks": TERM,
    "scanner/reading/second_reading.py::SecondReader._read_again": TERM,
    "scanner/redelivery.py::Redelivery.ensure_confirmed_events": STATEMENT,
    "scanner/redelivery.py::Redelivery.retry_failed": STATEMENT,
    "scanner/redelivery.py::Redelivery.tell_together": HOUSEKEEPING,
    "scanner/registration/intents.py::Registrations._store_new": UNIQUE,
    "scanner/registration/intents.py::Registrations._store_once": UNIQUE,
    "scanner/registration/watches.py::Watches.create": NAMED,
    "scanner/registration/watches.py::Watches.stop": CHAIN,
    "scanner/secrets/callback_secrets.py::CallbackSecrets.rotate": NAMED,
    "scanner/secrets/callback_secrets.py::CallbackSecrets.rotate_at_rest": STATEMENT,
    "scanner/services.py::Services.cancel": CHAIN,
    "scanner/services.py::Services.handle_unmatched": STATEMENT,
    "scanner/services.py::Services.recheck": CHAIN,
    "scanner/upkeep/retention.py::Retention._forget_attempts": HOUSEKEEPING,
    "scanner/upkeep/retention.py::Retention._forget_stray_blocks": HOUSEKEEPING,
    "scanner/upkeep/retention.py::Retention._forget_strays": HOUSEKEEPING,
    "scanner/upkeep/retention.py::Retention._walk": HOUSEKEEPING,
    "scanner/upkeep/samples.py::Sampler.sample": TERMS,
    "scanner/upkeep/store_probe.py::StoreProbe._write": STATEMENT,
    "scanner/worker.py::ChainWorker._correct_creations": TERM,
    "scanner/worker.py::ChainWorker._expire": TERM,
    "scanner/worker.py::ChainWorker._pass_over": TERM,
    "webhooks/dispatcher.py::WebhookDispatcher._record_once": LANE,
}
DATABASES = {TERM: "database_of", HOUSEKEEPING: "housekeeping_database"}


def writes() -> Iterator[str]:
    """Find the blocks in which the product writes to the store, by the function they stand in."""
    for root in ("scanner", "webhooks", "api"):
        for path in sorted((ROOT / root).rglob("*.py")):
            place = path.relative_to(ROOT)
            if not {"store", "commands"} & set(place.parts):  # a command has its file for itself
                yield from (f"{place}::{name}" for name in _in(ast.parse(path.read_text()), ()))


def _in(node: ast.AST, names: tuple[str, ...]) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        named = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
        opened = [item.context_expr for item in child.items] if isinstance(child, ast.AsyncWith) else []
        if any(_is_call(each, "write") for each in opened) or _is_call(child, "run_alone"):
            yield ".".join(names)
        yield from _in(child, (*names, child.name) if named else names)


def _is_call(found: ast.AST, method: str) -> bool:
    return isinstance(found, ast.Call) and isinstance(found.func, ast.Attribute) and found.func.attr == method


def test_each_write_is_listed_with_what_protects_it() -> None:
    """One that is new needs a line here and in docs/scaling.md: the one writer of SQLite hides what it lacks."""
    assert set(writes()) == set(PROTECTED)


def test_leaders_are_given_the_store_that_compares_the_term() -> None:
    text = (ROOT / "scanner" / "app.py").read_text()
    built = ("ChainWorker", "BalanceWatcher", "NativeDepositDetector", "Retention")
    for name in built:
        made = text[text.index(f"{name}(\n") if f"{name}(\n" in text else text.index(f"{name}(worker") :][:400]
        assert any(each in made for each in DATABASES.values()), name
    assert "leader=base.cluster.housekeeping_database()" in text
