"""How a simulated process ends: as the real one does."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from chains.errors import ChainUnavailable
from chains.heads.head_track import ObservedHead
from chains.heads.plausibility import MAX_AHEAD_S
from chains.heads.reader import HeadReader
from chains.rpc.endpoint_pool import EndpointPool
from chains.types import Head
from kernel.errors import ConfigError, StoreBusy, StoreError, UnknownOutcome
from kernel.process import EXIT_FIX, EXIT_RESTART
from kernel.store.postgresql import ConnectionLost
from tests.chains.evm_world import Calls, hash_of
from tests.simulation.supervisor import SimSupervisor, end_of


@pytest.mark.parametrize(
    ("exc", "code"),
    [
        (ConnectionLost("the server ended this transaction"), EXIT_RESTART),
        (UnknownOutcome("lost amid a commit"), EXIT_RESTART),
        (StoreBusy("is locked"), EXIT_RESTART),
        (StoreError("too old"), EXIT_FIX),
        (ConfigError("no such chain"), EXIT_FIX),
        (ExceptionGroup("parts", [ValueError("a part failed")]), EXIT_RESTART),
    ],
)
def test_a_process_ends_with_the_code_of_the_real_one(exc: Exception, code: int) -> None:
    ended, said = end_of(exc)
    assert ended == code
    assert str(exc.exceptions[0] if isinstance(exc, ExceptionGroup) else exc) in said


async def test_a_chain_whose_time_nobody_bears_out_is_known_by_what_the_scanner_says_of_it() -> None:
    """Where it were worded anew, buyers who wait for an expiry would wait as long as a run lasts."""
    wall = [1_790_000_000.0]

    async def read(_: Any) -> ObservedHead:
        return ObservedHead.of(Head(10, hash_of(10), 1_790_000_000 + int(MAX_AHEAD_S) + 1))

    pool = EndpointPool(["http://1.example"], telemetry=Calls())
    reader = HeadReader(pool, method="head", read=read, clock=lambda: wall[0], wall=lambda: wall[0])
    supervisor: Any = SimpleNamespace(current=SimpleNamespace(daemon=SimpleNamespace(workers={97: reader})))

    with pytest.raises(ChainUnavailable):
        await reader.head()
    assert SimSupervisor.doubts_time.fget(supervisor)  # type: ignore[attr-defined]

    wall[0] += 1
    await reader.head()
    assert not SimSupervisor.doubts_time.fget(supervisor)  # type: ignore[attr-defined]
    supervisor.current = None
    assert not SimSupervisor.doubts_time.fget(supervisor)  # type: ignore[attr-defined]
