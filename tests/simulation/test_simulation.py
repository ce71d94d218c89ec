"""Whole runs: the same steps in every process, and broken scanners that are found out."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from tests.harness import ROOT

pytestmark = pytest.mark.long
SHORT = ("--span", "3", "--no-shrink")


def simulate(*arguments: str, hash_seed: str = "0") -> tuple[int, str]:
    """Run the command in a process of its own, with another order of its sets."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulation", *SHORT, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.stderr, done.stderr[-2000:]
    return done.returncode, done.stdout


def traces(text: str) -> list[str]:
    return re.findall(r"^ +\d+ \w+ +([0-9a-f]{16}) ", text, re.MULTILINE)


@pytest.mark.timeout(600)
def test_the_same_seed_takes_the_same_steps_in_every_process() -> None:
    _, first = simulate("--seeds", "6", hash_seed="1")
    _, second = simulate("--seeds", "5", "--from", "2", "--jobs", "2", hash_seed="2")

    assert len(set(traces(first))) == 6
    assert traces(first)[1:] == traces(second)


@pytest.mark.timeout(600)
def test_every_promise_is_kept() -> None:
    code, text = simulate("--seeds", "4", "--from", "100")

    assert (code, "4 passed, 0 failed" in text) == (0, True), text[-3000:]


@pytest.mark.timeout(600)
def test_the_marketplace_keeps_every_promise_by_the_same_steps_in_every_process() -> None:
    code, first = simulate("--seeds", "3", "--chain", "market", hash_seed="1")
    _, second = simulate("--seeds", "2", "--from", "2", "--chain", "market", "--jobs", "2", hash_seed="2")

    assert (code, "3 passed, 0 failed" in first) == (0, True), first[-3000:]
    assert traces(first)[1:] == traces(second)


@pytest.mark.timeout(600)
def test_a_broken_scanner_is_found_out_with_the_command_that_replays_it() -> None:
    code, text = simulate("--seeds", "5", "--chain", "evm", "--sabotage", "a_second_payment_counts", "--until-found")

    assert code == 1
    assert "invented: " in text
    assert "to replay it: python -m tests.simulation --from " in text


@pytest.mark.timeout(600)
def test_a_broken_marketplace_is_found_out() -> None:
    how = ("--sabotage", "ledger_line_in_its_own_transaction", "--until-found")
    code, text = simulate("--seeds", "3", "--chain", "market", *how)

    assert code == 1
    assert "has the lines {'payment_detected': " in text
