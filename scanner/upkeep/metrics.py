"""Every metric of the daemon, on a registry of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from chains.types import SocketEvent
from scanner.model import EventType, IntentStatus, Reason

FAILURE = 500
OUTCOMES = ("delivered", "retried", "exhausted")  # of a delivery attempt
FORGOTTEN = ("events", "attempts", "unmatched", "intents")
# What endpoints are asked, as their telemetry calls it, and how it fails.
METHODS: Mapping[str, tuple[str, ...]] = {
    "evm": ("eth_getBlockByNumber", "eth_getLogs", "eth_getTransactionReceipt", "eth_call", "eth_getCode"),
    "tron": ("head", "scan", "gettransactioninfobyid", "triggerconstantcontract", "balances", "movements"),
    "ton": ("head", "jetton/transfers", "traces", "jetton/masters", "jetton/wallets"),
}
ERRORS = ("ChainUnavailable", "ChainProtocolError", "ChainMisconfigured", "TimedOut")
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_DETECTION = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200)
_DELIVERY = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 14400)


class Metrics:
    """Counters and gauges by name; the parts of the daemon receive this object, never a global."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._chains(self.registry)
        self._webhooks(self.registry)
        self.forgotten = Counter(
            "amn_scanner_forgotten", "Rows deleted because they were old.", ["kind"], registry=self.registry
        )
        for kind in FORGOTTEN:
            self.forgotten.labels(kind)
        self.http_requests = Counter(
            "amn_scanner_http_requests",
            "HTTP requests by route.",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self.http_seconds = Histogram(
            "amn_scanner_http_request_seconds",
            "Time to answer a request.",
            ["method", "route"],
            buckets=_SECONDS,
            registry=self.registry,
        )

    def _chains(self, registry: CollectorRegistry) -> None:
        chain = ["chain"]
        self.head = Gauge("amn_scanner_chain_head", "Newest position an endpoint reported.", chain, registry=registry)
        self.checkpoint = Gauge(
            "amn_scanner_chain_checkpoint", "Position up to which the chain was read.", chain, registry=registry
        )
        self.lag_seconds = Gauge("amn_scanner_chain_lag_seconds", "Chain time not read yet.", chain, registry=registry)
        self.leads = Gauge("amn_scanner_chain_leads", "1 where this process reads the chain.", chain, registry=registry)
        self.clock_skew = Gauge(
            "amn_scanner_clock_skew_seconds",
            "How far this host's clock is ahead of an endpoint's blocks.",
            ["chain", "endpoint"],
            registry=registry,
        )
        self.success_age = Gauge(
            "amn_scanner_chain_last_success_age_seconds", "Time since a poll last succeeded.", chain, registry=registry
        )
        self.poll_failures = Counter("amn_scanner_poll_failures", "Polls that failed.", chain, registry=registry)
        self.restarts = Counter(
            "amn_scanner_worker_restarts", "Hanging workers that were restarted.", chain, registry=registry
        )
        self.rpc_calls = Counter(
            "amn_scanner_rpc_calls", "Upstream calls.", ["chain", "endpoint", "method"], registry=registry
        )
        self.rpc_errors = Counter(
            "amn_scanner_rpc_errors",
            "Upstream calls that failed, by class.",
            ["chain", "endpoint", "method", "error"],
            registry=registry,
        )
        self.rpc_seconds = Histogram(
            "amn_scanner_rpc_seconds",
            "Time of upstream calls.",
            ["chain", "endpoint"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.socket_events = Counter(
            "amn_scanner_socket_events",
            "What sockets for new heads did.",
            ["chain", "socket", "event"],
            registry=registry,
        )
        self.logs_read = Counter("amn_scanner_logs_read", "Log rows read from endpoints.", chain, registry=registry)
        self.matches = Counter(
            "amn_scanner_matches", "Transfers that count towards an intent.", chain, registry=registry
        )
        self.rejects = Counter(
            "amn_scanner_rejects", "Transfers that count towards nothing.", ["chain", "reason"], registry=registry
        )
        self.reorgs = Counter("amn_scanner_reorgs", "Reorganisations noticed.", chain, registry=registry)
        self.reorg_depth = Histogram(
            "amn_scanner_reorg_depth_blocks",
            "Positions taken back by a reorganisation.",
            chain,
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 512, 2048),
            registry=registry,
        )
        self.intents = Gauge("amn_scanner_intents", "Intents by status.", ["chain", "status"], registry=registry)
        self.detection = Histogram(
            "amn_scanner_detection_seconds",
            "From the payment's block time to confirmed.",
            chain,
            buckets=_DETECTION,
            registry=registry,
        )

    def _webhooks(self, registry: CollectorRegistry) -> None:
        self.attempts = Counter(
            "amn_scanner_webhook_attempts", "Delivery attempts by outcome.", ["outcome"], registry=registry
        )
        self.acknowledged = Counter(
            "amn_scanner_webhook_acknowledged", "Events acknowledged, by type.", ["type"], registry=registry
        )
        for outcome in OUTCOMES:
            self.attempts.labels(outcome)
        for event in EventType:
            self.acknowledged.labels(event)
        self.attempt_seconds = Histogram(
            "amn_scanner_webhook_attempt_seconds", "Time of a delivery attempt.", buckets=_SECONDS, registry=registry
        )
        self.delivery_seconds = Histogram(
            "amn_scanner_webhook_delivery_seconds",
            "From the event to its acknowledgement.",
            buckets=_DELIVERY,
            registry=registry,
        )
        self.queue = Gauge("amn_scanner_webhook_queue", "Events not delivered yet.", ["state"], registry=registry)
        self.oldest_age = Gauge(
            "amn_scanner_webhook_oldest_age_seconds", "Age of the oldest undelivered event.", registry=registry
        )

    def begin(self, chain_id: int, chain_type: str, endpoints: Iterable[str]) -> None:
        """
        Let every counter of a chain exist, at zero.

        A counter that appears with its first event has not risen: an alert on its rise stays silent.
        """
        chain = str(chain_id)
        for counter in (self.poll_failures, self.restarts, self.logs_read, self.matches, self.reorgs):
            counter.labels(chain)
        for histogram in (self.reorg_depth, self.detection):
            histogram.labels(chain)
        for reason in Reason:
            self.rejects.labels(chain, reason)
        for status in IntentStatus:
            self.intents.labels(chain, status)
        for endpoint in endpoints:
            self.rpc_seconds.labels(chain, endpoint)
            for method in METHODS[chain_type]:
                self.rpc_calls.labels(chain, endpoint, method)
                for error in ERRORS:
                    self.rpc_errors.labels(chain, endpoint, method, error)

    def begin_sockets(self, chain_id: int, sockets: Iterable[str]) -> None:
        """Let every counter of a chain's sockets exist, at zero."""
        for socket in sockets:
            for event in SocketEvent:
                self.socket_events.labels(str(chain_id), socket, event)

    def sockets_of(self, chain_id: int) -> Callable[[str, SocketEvent], None]:
        """Return what counts what the sockets of a chain do."""
        return lambda socket, event: self.socket_events.labels(str(chain_id), socket, event).inc()

    def begin_http(self, known: Iterable[tuple[str, str, int]]) -> None:
        """Let the counters of every described answer (method, route, status), and of failures, exist, at zero."""
        for method, route, status in known:
            self.http_requests.labels(method, route, status)
            self.http_requests.labels(method, route, FAILURE)

    def render(self) -> bytes:
        """Return the Prometheus text."""
        return generate_latest(self.registry)


class ChainTelemetry:
    """What an adapter reports to (chains.base.Telemetry), bound to one chain."""

    def __init__(self, metrics: Metrics, chain_id: int) -> None:
        self._metrics = metrics
        self._chain = str(chain_id)

    def rpc_call(self, endpoint: str, method: str, seconds: float, error: str | None) -> None:
        self._metrics.rpc_calls.labels(self._chain, endpoint, method).inc()
        self._metrics.rpc_seconds.labels(self._chain, endpoint).observe(seconds)
        if error is not None:
            self._metrics.rpc_errors.labels(self._chain, endpoint, method, error).inc()
