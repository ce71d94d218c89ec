"""What people are told to type and to set is there: targets of make, commands with their options, settings."""

from __future__ import annotations

import argparse
import functools
import importlib.util
import json
import re
import subprocess

import pytest

from config.settings import OTHERS, VARIABLES
from kernel.process import parser
from marketplace.settings import VARIABLES as MARKETPLACE_VARIABLES
from scanner import commands
from tests.harness import ROOT
from tests.repo.pages import code_in, page

PROSE = subprocess.run(
    ["git", "ls-files", "*.md", "llms.txt"], cwd=ROOT, capture_output=True, text=True, check=True
).stdout.split()
MAKEFILE = page("Makefile")
TARGET = re.compile(r"^([a-z][\w-]*):.*?##", re.MULTILINE)
MAKE = re.compile(r"\bmake ([a-z][\w-]*)((?: [A-Z]+=(?:\"[^\"]*\"|\S+))*)")
VARIABLE = re.compile(r"([A-Z]+)=(?:\"([^\"]*)\"|(\S+))")
RECIPE = r"^{}:.*\n(?:\t.*\n)*?\t.*-m ([\w.]+)"
PROGRAM = re.compile(r"(?:amn-|python -m )(scanner|marketplace)\b((?: [^\s|#;&]+)*)")
MODULE = re.compile(r"python -m ([\w.]+)")
OPTION = re.compile(r"(?<![\w-])--[a-z][\w-]*")
CAPITALS = r"\b[A-Z][A-Z0-9]*(_[A-Z0-9]+)+\b"
PARSERS = {
    "scanner": parser("scanner", "0", commands.add_commands, copies=True),
    "marketplace": parser("marketplace", "0", copies=True),
}


def sub_commands(program: str) -> dict[str, argparse.ArgumentParser]:
    return next(
        action.choices for action in PARSERS[program]._actions if isinstance(action, argparse._SubParsersAction)
    )


def wrong_call(program: str, given: str) -> str | None:
    """Return what a program would not know of a command line."""
    words = given.split()
    reads = PARSERS[program]
    if words and not words[0].startswith("-"):
        if words[0] not in sub_commands(program):
            return words[0]
        reads = sub_commands(program)[words[0]]
    return next((word for word in OPTION.findall(given) if word not in reads._option_string_actions), None)


def wrong_target(target: str, given: str) -> str | None:
    """Return what a target of make would not know: itself, a variable, an option of its module."""
    if target not in TARGET.findall(MAKEFILE):
        return target
    recipe = re.search(RECIPE.format(re.escape(target)), MAKEFILE, re.MULTILINE)
    for name, quoted, plain in VARIABLE.findall(given):
        if f"$({name})" not in MAKEFILE:
            return str(name)
        options = OPTION.findall(quoted or plain) if name == "ARGS" and recipe is not None else []
        for option in options:
            if f'"{option}"' not in sources_of(recipe[1]):
                return str(option)
    return None


@functools.cache
def sources_of(module: str) -> str:
    folder = ROOT.joinpath(*module.split("."))
    files = sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]
    return "\n".join(path.read_text() for path in files)


@functools.cache
def capitals_of_the_sources() -> frozenset[str]:
    """Return the names in capitals of everything that is no prose."""
    found = subprocess.run(
        [
            "git",
            "grep",
            "-hoIwE",
            CAPITALS,
            "--",
            ":!*.md",
            ":!llms.txt",
            f":!tests/repo/{__name__.rpartition('.')[2]}.py",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return frozenset(found.stdout.split())


@pytest.mark.parametrize("path", PROSE)
def test_every_command_that_is_told_is_there(path: str) -> None:
    wrong: list[str] = []
    for line in code_in(path):
        wrong += [f"{line}: {bad}" for target, given in MAKE.findall(line) if (bad := wrong_target(target, given))]
        wrong += [f"{line}: {bad}" for name, given in PROGRAM.findall(line) if (bad := wrong_call(name, given))]
        wrong += [f"{line}: {name}" for name in MODULE.findall(line) if importlib.util.find_spec(name) is None]
    assert wrong == []


def test_enough_commands_are_told_to_be_looked_at() -> None:
    lines = [line for path in PROSE for line in code_in(path)]

    assert len({target for line in lines for target, _ in MAKE.findall(line)}) > 10
    assert len({given for line in lines for _, given in PROGRAM.findall(line)}) > 10


@pytest.mark.parametrize(
    ("program", "given"),
    [("scanner", "repair"), ("scanner", "listen --prot 1"), ("scanner", "--callback X"), ("marketplace", "doctor")],
)
def test_a_command_that_is_not_there_is_found(program: str, given: str) -> None:
    assert wrong_call(program, given)
    assert wrong_call("scanner", "listen --port 1 --forward URL") is None


@pytest.mark.parametrize(("target", "given"), [("dmo", ""), ("demo", " TWICE=1"), ("load", ' ARGS="--hours 1"')])
def test_a_target_that_is_not_there_is_found(target: str, given: str) -> None:
    assert wrong_target(target, given)
    assert wrong_target("load", ' ARGS="--minutes 60"') is None


@pytest.mark.parametrize("path", PROSE)
def test_every_setting_that_is_named_is_there(path: str) -> None:
    """What begins as a setting does is one; another name in capitals is one of a program, a test or a file."""
    chains = json.loads(page("supported-chains.json"))
    settings = {*VARIABLES, *MARKETPLACE_VARIABLES, *(chain["rpcEnv"] for chain in chains)}
    settings |= {f"{chain['rpcEnv']}_WS" for chain in chains if chain.get("chainType", "evm") == "evm"}
    known = settings | {*OTHERS} | set(re.findall(r"^#? ?(\w+)=", page("deploy/.env.example"), re.MULTILINE))
    beginnings = {name.partition("_")[0] for name in settings if "_" in name}
    named = {found[0] for found in re.finditer(CAPITALS + r"(?!\.md)", page(path))} - known
    like_settings = {name for name in named if name.partition("_")[0] in beginnings}

    assert like_settings == set()
    assert named - capitals_of_the_sources() == set()
