"""What could not be read of an index, for people: it was passed by, so that it stopped nobody else."""

from __future__ import annotations

from chains.ton.transfers import Found

MAX_NAMED = 20


class UnreadableRows:
    """Remembers rows and owners that no endpoint could tell, the newest few of them."""

    def __init__(self) -> None:
        self._rows: dict[str, str] = {}
        self._owners: dict[str, str] = {}

    def found(self, found: Found) -> None:
        """Note what a page lacks, and forget what it no longer lacks."""
        self.found_late(found)
        self._owners = dict(list(found.skipped.items())[:MAX_NAMED])

    def found_late(self, found: Found) -> None:
        """Note which rows cannot be read of a time that no endpoint had told before."""
        for row in found.rows:
            self._rows.pop(row.tx_hash, None)
        self._rows |= found.unreadable
        while len(self._rows) > MAX_NAMED:
            del self._rows[next(iter(self._rows))]

    def problems(self) -> tuple[str, ...]:
        """Return a sentence for each."""
        rows = [
            f"a jetton transfer could not be read and was passed by: {name}: {why}" for name, why in self._rows.items()
        ]
        owners = [
            f"transfers to {owner} cannot be read, only its last look before an intent expires may find them: {why}"
            for owner, why in self._owners.items()
        ]
        return tuple(rows + owners)
