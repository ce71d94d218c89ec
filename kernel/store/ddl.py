"""What SQLite and PostgreSQL spell differently in a schema, in one place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Integer, text

# Times are in milliseconds: SQLite's one kind of integer holds them, PostgreSQL's INTEGER does not.
Whole = BigInteger().with_variant(Integer(), "sqlite")

# A trigger's plan is made when it is first asked, of a table that is empty then, and kept: for a question with an OR
# that was a walk through the whole table for each new row, until somebody analysed it.
INDEXED = "SET enable_seqscan = off"


class Spelling:
    """How one of the two writes a condition."""

    def __init__(self, dialect: str) -> None:
        if dialect not in {"sqlite", "postgresql"}:
            raise ValueError(f"no schema is written for {dialect}")
        self.dialect = dialect
        self._lite = dialect == "sqlite"

    def true(self, column: str) -> str:
        return f"{column} = 1" if self._lite else column

    def false(self, column: str) -> str:
        return f"{column} = 0" if self._lite else f"NOT {column}"

    def not_true(self, column: str) -> str:
        return f"{column} <> 1" if self._lite else f"NOT {column}"

    def is_true(self, column: str) -> str:
        return f"{column} IS 1" if self._lite else f"{column} IS TRUE"

    def is_false(self, column: str) -> str:
        return f"{column} IS 0" if self._lite else f"{column} IS FALSE"

    def differs(self, one: str, other: str) -> str:
        """Compare so that null differs from everything but null."""
        return f"{one} IS NOT {other}" if self._lite else f"{one} IS DISTINCT FROM {other}"

    def begins_as_number(self, column: str) -> str:
        """Say that decimal text is no 0 and not negative."""
        return f"{column} GLOB '[1-9]*'" if self._lite else f"{column} ~ '^[1-9]'"

    def positive(self, column: str) -> str:
        """Say that decimal text is a positive number and nothing else."""
        if self._lite:
            return f"{column} GLOB '[1-9]*' AND {column} NOT GLOB '*[^0-9]*'"
        return f"{column} ~ '^[1-9][0-9]*$'"

    def positive_decimal(self, column: str) -> str:
        """Say that text is a plain decimal number above zero, and nothing else."""
        if self._lite:
            plain = f"{column} GLOB '[0-9]*' AND {column} GLOB '*[0-9]' AND {column} GLOB '*[1-9]*'"
            return f"{plain} AND {column} NOT GLOB '*[^0-9.]*' AND {column} NOT GLOB '*.*.*'"
        return f"{column} ~ '^[0-9]+([.][0-9]+)?$' AND {column} ~ '[1-9]'"

    def no_less(self, column: str, other: str) -> str:
        """Say that of two plain decimal numbers the first is not below the second; SQLite rounds both alike."""
        kind = "REAL" if self._lite else "NUMERIC"
        return f"CAST({column} AS {kind}) >= CAST({other} AS {kind})"

    def refusal(
        self, name: str, when: str, message: str, *, condition: str | None = None, unique: bool = False
    ) -> list[str]:
        """
        Return the statements of a trigger that refuses a change of rows for which a condition holds; None: of any.

        `when` is such as `BEFORE UPDATE OF status ON intents`. `unique`: it refuses what is there already.
        """
        if self._lite:
            only = "" if condition is None else f" WHEN {condition}"
            return [f"CREATE TRIGGER {name} {when} FOR EACH ROW{only} BEGIN SELECT RAISE(ABORT, '{message}'); END"]
        # A condition there may hold no query: it goes into the function. The error is that of a broken constraint.
        code = "unique_violation" if unique else "integrity_constraint_violation"
        raised = f"RAISE EXCEPTION USING MESSAGE = '{message}', ERRCODE = '{code}';"
        body = raised if condition is None else f"IF {condition} THEN {raised} END IF;"
        row = "OLD" if when.startswith("BEFORE DELETE") else "NEW"
        function = f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT {INDEXED}"
        return [
            f"{function} AS $$ BEGIN {body} RETURN {row}; END $$",
            f"CREATE TRIGGER {name} {when} FOR EACH ROW EXECUTE FUNCTION {name}()",
        ]

    def counter(self, table: str, by: Sequence[str], counts: str) -> list[str]:
        """
        Return the statements of triggers that keep in `counts` how many rows of a table have each value of `by`.

        `counts` has the columns `by` as its key, and `count`. Whoever reads it walks through no rows.
        """
        if not self._lite:
            return _counter_of_statements(table, ", ".join(by), counts)
        columns = ", ".join(by)

        def add(row: str, number: int) -> str:
            values = ", ".join(f"{row}.{name}" for name in by)
            return (
                f"INSERT INTO {counts} ({columns}, count) VALUES ({values}, {number})"  # noqa: S608 - names of ours
                f" ON CONFLICT ({columns}) DO UPDATE SET count = {counts}.count + {number};"
            )

        def after(name: str, when: str, body: str) -> str:
            return f"CREATE TRIGGER {counts}_{name} AFTER {when} BEGIN {body} END"

        moved = " OR ".join(f"NEW.{name} <> OLD.{name}" for name in by)
        both = add("OLD", -1) + " " + add("NEW", 1)
        return [
            after("added", f"INSERT ON {table} FOR EACH ROW", add("NEW", 1)),
            after("removed", f"DELETE ON {table} FOR EACH ROW", add("OLD", -1)),
            after("moved", f"UPDATE OF {columns} ON {table} FOR EACH ROW WHEN ({moved})", both),
        ]

    def shared(self, table: str, parts: str, by: Sequence[str]) -> list[str]:
        """Return the statements of triggers that delete a row of `parts` with the last row of a table that names it."""
        columns, named = ", ".join(by), " AND ".join(f"{name} = OLD.{name}" for name in by)
        used = f"SELECT 1 FROM {table} WHERE {named}"  # noqa: S608 - names of ours
        body = f"DELETE FROM {parts} WHERE {named} AND NOT EXISTS ({used});"  # noqa: S608
        whens = {"dropped": f"DELETE ON {table}", "renamed": f"UPDATE OF {columns} ON {table}"}
        if self._lite:
            return [
                f"CREATE TRIGGER {parts}_{name} AFTER {when} FOR EACH ROW BEGIN {body} END"
                for name, when in whens.items()
            ]
        function = f"CREATE FUNCTION {parts}_unused() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT"
        return [
            f"{function} {INDEXED} AS $$ BEGIN {body} RETURN NULL; END $$",
            *(
                f"CREATE TRIGGER {parts}_{name} AFTER {when} FOR EACH ROW EXECUTE FUNCTION {parts}_unused()"
                for name, when in whens.items()
            ),
        ]

    def no_truncate(self, table: str, message: str) -> list[str]:
        """Return the statements that keep a table from being emptied at once, past the triggers of its rows."""
        if self._lite:  # which has no such statement
            return []
        name = f"{table}_not_emptied"
        raised = f"RAISE EXCEPTION USING MESSAGE = '{message}', ERRCODE = 'integrity_constraint_violation';"
        return [
            f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {raised} END $$",
            f"CREATE TRIGGER {name} BEFORE TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION {name}()",
        ]


def _counter_of_statements(table: str, columns: str, counts: str) -> list[str]:
    """
    Count what each statement changed, in one step.

    PostgreSQL writes a count anew whenever it changes, and finds the newest through all those before it: row by row
    a transaction of five thousand rows took three times as long. In one order, so that no two wait for each other.
    """
    tables = {"NEW TABLE AS added": f"SELECT {columns}, 1 AS n FROM added"}  # noqa: S608 - names of ours
    tables["OLD TABLE AS removed"] = f"SELECT {columns}, -1 AS n FROM removed"  # noqa: S608
    new, old = tables
    statements = []
    for name, event, seen in (
        ("added", "INSERT", [new]),
        ("removed", "DELETE", [old]),
        ("moved", "UPDATE", [new, old]),
    ):
        changed = " UNION ALL ".join(tables[each] for each in seen)
        body = (
            f"INSERT INTO {counts} ({columns}, count) SELECT {columns}, sum(n) FROM ({changed}) AS changed"  # noqa: S608
            f" GROUP BY {columns} HAVING sum(n) <> 0 ORDER BY {columns}"
            f" ON CONFLICT ({columns}) DO UPDATE SET count = {counts}.count + EXCLUDED.count;"
        )
        function = f"CREATE FUNCTION {counts}_{name}() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT"
        statements += [
            f"{function} AS $$ BEGIN {body} RETURN NULL; END $$",
            (
                f"CREATE TRIGGER {counts}_{name} AFTER {event} ON {table} REFERENCING {' '.join(seen)}"
                f" FOR EACH STATEMENT EXECUTE FUNCTION {counts}_{name}()"
            ),
        ]
    return statements


SQLITE, POSTGRESQL = Spelling("sqlite"), Spelling("postgresql")
SPELLINGS = (SQLITE, POSTGRESQL)
Condition = str | Callable[[Spelling], str]


def _spelt(condition: Condition, spelling: Spelling) -> str:
    return condition if isinstance(condition, str) else condition(spelling)


def where(condition: Condition) -> dict[str, Any]:
    """Return the arguments of a partial index."""
    return {f"{spelling.dialect}_where": text(_spelt(condition, spelling)) for spelling in SPELLINGS}


def checks(name: str, condition: Callable[[Spelling], str]) -> list[CheckConstraint]:
    """Return a constraint that both have, each in its spelling."""
    return [CheckConstraint(condition(spelling), name=name).ddl_if(dialect=spelling.dialect) for spelling in SPELLINGS]
