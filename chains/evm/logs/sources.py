"""Which endpoints serve logs, in which way, and what an operator should hear of those that do not."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from chains.evm.logs.queries import (
    LogFilter,
    LogSource,
)
from chains.evm.logs.query_limits import LogQueryLimits, LogsRefused, NeedsAddress
from chains.rpc.endpoint import Endpoint, Unserved
from chains.types import Rail, RailWarning

MAX_NAMED = 5  # crowded addresses, in a sentence


class LogSources:
    """
    Remembers what each endpoint accepts, and says which ways of reading logs are worth trying.

    `max_blocks` is the registry's limit for one query, if it has one.
    """

    def __init__(self, *, max_blocks: int | None, clock: Callable[[], float]) -> None:
        self._max_blocks = max_blocks
        self._clock = clock
        self._limits: dict[Endpoint, LogQueryLimits] = {}

    def limits_of(self, endpoint: Endpoint) -> LogQueryLimits:
        """Return the limits learnt of an endpoint."""
        return self._limits.setdefault(endpoint, LogQueryLimits.limited(self._max_blocks))

    def warnings(self, endpoints: Collection[Endpoint]) -> list[RailWarning]:
        """Return what cannot be seen, or late only, because every endpoint refused to show it."""
        unserved = [rail for rail in Rail if all(rail in self.limits_of(endpoint).refusals for endpoint in endpoints)]
        if unserved:
            of = "" if len(unserved) == len(Rail) else f" of the {unserved[0]} rail"
            reason = self.limits_of(next(iter(endpoints))).refusals[unserved[0]]
            message = f"no endpoint serves logs{of}, blocks are read one by one and payments may be seen late: {reason}"
            return [RailWarning(rail, "logs_unserved", message) for rail in unserved]
        if all(endpoint.limits.addressless_logs.known is False for endpoint in endpoints):
            message = "every endpoint refuses logs without an address: transfers of other tokens than those of the "
            message += "registry and of waiting payments are not seen"
            return [RailWarning(Rail.DIRECT, "other_tokens_unseen", message)]
        return []

    def problems(self) -> list[str]:
        """Return what is not shown for a while because a stranger sent too much of it."""
        now = self._clock()
        crowded = sorted({address for limits in self._limits.values() for address in limits.crowded_at(now)})
        if not crowded:
            return []
        named = ", ".join(crowded[:MAX_NAMED]) + (" and more" if len(crowded) > MAX_NAMED else "")
        what = f"{len(crowded)} addresses got more logs in one block than an answer holds"
        return [f"{what}: only transfers of known tokens to them are read for ten minutes ({named})"]

    def worth_trying(self, log_filter: LogFilter, endpoints: Collection[Endpoint]) -> Iterator[LogSource]:
        """Yield the sources worth trying, each after the one before has failed on every endpoint."""
        named = log_filter.named or log_filter.rail is Rail.PROXY
        if named or any(e.limits.addressless_logs.should_try for e in endpoints):
            yield LogSource.LOGS
        if not named and not all(e.limits.addressless_logs.should_try for e in endpoints):
            yield LogSource.BY_TOKEN
        if any(self.needs_receipts(endpoint, log_filter) for endpoint in endpoints):
            yield LogSource.RECEIPTS

    def is_resting(self, endpoint: Endpoint, rail: Rail) -> bool:
        """Say whether an endpoint refused the smallest query a moment ago."""
        return self._clock() < self.limits_of(endpoint).resting_until.get(rail, 0.0)

    def needs_receipts(self, endpoint: Endpoint, log_filter: LogFilter) -> bool:
        """Say whether an endpoint shows logs in receipts alone."""
        unnamed = log_filter.named or log_filter.rail is Rail.PROXY or endpoint.limits.addressless_logs.should_try
        return self.is_resting(endpoint, log_filter.rail) or not (unnamed or log_filter.tokens)

    def check(self, endpoint: Endpoint, log_filter: LogFilter, source: LogSource) -> None:
        """
        Check that this source is the one to use for an endpoint now; nothing is asked.

        Raises:
            Unserved: it is not.
        """
        rests, unnamed = self.is_resting(endpoint, log_filter.rail), endpoint.limits.addressless_logs.should_try
        if source is LogSource.RECEIPTS:
            if not self.needs_receipts(endpoint, log_filter):
                raise Unserved("serves logs")
        elif rests:
            raise LogsRefused(f"serves no eth_getLogs: {self.limits_of(endpoint).refusals.get(log_filter.rail)}")
        elif source is LogSource.LOGS and log_filter.rail is Rail.DIRECT and not (unnamed or log_filter.named):
            raise NeedsAddress("refuses logs without an address")
        elif source is LogSource.BY_TOKEN and unnamed:
            raise Unserved("is asked for the logs of every contract")
        elif source is LogSource.BY_TOKEN and not log_filter.tokens:
            raise NeedsAddress("refuses logs without an address, and no token is known to ask for")
