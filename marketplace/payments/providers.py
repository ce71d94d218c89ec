"""What takes a pay-in: one interface, whoever stands behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeVar

from clients.python.amn_scanner_client import ScannerRefused, ScannerUnavailable
from marketplace.model import Payment, Provider
from marketplace.payments.observation import PaymentObservation

WebhookT_co = TypeVar("WebhookT_co", covariant=True)


class ProviderUnavailable(ScannerUnavailable):
    """A provider cannot answer now; whoever can wait for the scanner waits for it in the same way."""


class ProviderRefused(ScannerRefused):
    """A provider understood and said no."""


class CreationRefused(Exception):
    """A provider will never take this payment, or took another one than was agreed."""


@dataclass(frozen=True, slots=True)
class Seen:
    """There is money: what of it counts is judged by it."""

    observed: PaymentObservation


@dataclass(frozen=True, slots=True)
class OnItsWay:
    """The whole sum is there, and not deep enough to be judged."""

    observed: PaymentObservation


@dataclass(frozen=True, slots=True)
class InPart:
    """Less than the whole sum is there."""

    observed: PaymentObservation


@dataclass(frozen=True, slots=True)
class NothingSeen:
    """Nothing that could be judged; `amount` is what came of it, `expected` that somebody says it was paid."""

    reason: str
    amount: int = 0
    expected: bool = False


@dataclass(frozen=True, slots=True)
class Contradicted:
    """What is said of the payment cannot be: a person has to look."""

    reason: str
    detail: str


ProviderStatus: TypeAlias = Seen | OnItsWay | InPart | NothingSeen | Contradicted


class PaymentProvider(Protocol[WebhookT_co]):
    """
    Takes pay-ins. Waits for the network: never call it inside a transaction.

    Whatever it says, only `settlement.settle_payment` funds a payment, by what was seen on the chain.
    """

    async def create(self, payment: Payment) -> Mapping[str, object]:
        """
        Let it expect a payment; return what of its answer is kept with it. Repeating it does no harm.

        Raises:
            CreationRefused: it never will, or expects something else.
            ScannerUnavailable, ScannerRefused: it did not answer, or said no.
        """

    async def status(self, payment: Payment, *, thoroughly: bool) -> ProviderStatus:
        """
        Return what is to be seen of a payment now; `thoroughly` lets the chain be read.

        Raises:
            ScannerUnavailable, ScannerRefused: nothing was learned.
            BrokenList: what was told contradicts itself.
        """

    def verify_webhook(self, raw: bytes, headers: Mapping[str, str]) -> WebhookT_co:
        """
        Return what a webhook says, once its signature was found good: the raw body is not read before.

        Raises:
            Refused: it is not the provider's, or is about nothing.
        """

    async def cancel(self, payment: Payment) -> None:
        """
        Let it expect a payment no more.

        Raises:
            Conflict: money for it was seen.
            NotFound: it never heard of it.
            ScannerUnavailable, ScannerRefused: it did not answer, or said no.
        """


class Providers:
    """The providers there are, by the payments they take."""

    def __init__(self, known: Mapping[Provider, PaymentProvider[Any]]) -> None:
        self._known = known

    def of(self, payment: Payment) -> PaymentProvider[Any]:
        """
        Return who takes a payment.

        Raises:
            ProviderUnavailable: it is not configured any more; what was paid there is waited for.
        """
        found = self._known.get(payment.provider)
        if found is None:
            raise ProviderUnavailable(f"{payment.provider} is not configured: its payments wait")
        return found
