"""What was measured while it ran: every call, and every notification as it was received."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from devnet.runner.facts import CallSample, Finding


@dataclass(frozen=True, slots=True)
class RecordedAnswer:
    """One HTTP answer as it came, for whoever searches them."""

    operation: str
    status: int
    headers: str
    body: str


@dataclass(slots=True)
class Journal:
    """Everything of one level; `answers` is None unless they are to be kept."""

    answers: list[RecordedAnswer] | None = None
    samples: list[CallSample] = field(default_factory=list)
    live_s: list[float] = field(default_factory=list)
    listed_s: list[float] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    answered: int = 0
    _milestones: dict[int, asyncio.Event] = field(default_factory=dict)

    def call(self, operation: str, seconds: float, status: int) -> None:
        """Write a call down; `status` 0 is one that was not answered."""
        self.samples.append(CallSample(operation, seconds, status))
        if status:
            self.answered += 1
            if self.answered in self._milestones:
                self._milestones.pop(self.answered).set()

    async def until(self, answered: int) -> None:
        """Wait until so many calls were answered."""
        if self.answered < answered:
            await self._milestones.setdefault(answered, asyncio.Event()).wait()

    def keep(self, operation: str, status: int, headers: str, body: bytes) -> None:
        if self.answers is not None:
            self.answers.append(RecordedAnswer(operation, status, headers, body.decode(errors="replace")))
