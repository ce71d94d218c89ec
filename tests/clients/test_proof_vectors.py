"""The verifiers of both languages say the same of the same proofs, and no check of theirs is there for nothing."""

from __future__ import annotations

import ast
import json
import re
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from clients.python.amn_scanner_client import InvalidProof, verify_proof
from tests.clients.proof_vectors import Vector, vectors
from tests.harness import ROOT
from tests.node import printed

VECTORS = {vector.name: vector for vector in vectors()}
SHOWN = {name: vector.shows for name, vector in VECTORS.items()}
PACKAGE = "clients.python.amn_scanner_client"
PYTHON = ROOT / "clients" / "python" / "amn_scanner_client" / "proofs.py"
NODE = ROOT / "clients" / "js" / "proof.js"
NOBLE = ROOT / "clients" / "js" / "node_modules" / "@noble" / "hashes" / "sha3.js"
JUDGE = """
import { readFileSync } from "node:fs";

function judged(verifyProof, { proof, hashes }) {
  try {
    return verifyProof(proof, hashes);
  } catch (error) {
    return error.constructor.name === "InvalidProof" ? error.message : { broke: error.constructor.name };
  }
}
const found = [];
for (const { module, vectors } of JSON.parse(readFileSync(0, "utf8"))) {
  const { verifyProof } = await import(module);
  found.push(vectors.map((vector) => judged(verifyProof, vector)));
}
console.log(JSON.stringify(found));
"""

# What each check is there for: without it this proof is judged differently.
CHECKS = {
    "the proof is no object": "None for a proof",
    "the proof holds no transfers": "[] for transfers",
    "the proof holds too many transfers": "more transfers than may be",
    "a transfer is no object": "None for a transfer",
    "a log is given twice": "one log twice",
    "no hash was given for a block": "no hashes",
    "the block has another hash than the one given for it": "a block that is another one than is said",
    "the receipt is another one than the block's": "a receipt that nobody has",
    "the header is another one than the block's": "a header of another block",
    "the header has too few items": "a header of 14 items",
    "the header has another number": "a header of another number",
    "the nodes are no list": "None for nodes",
    "a node is another one than the one that is named": "a root of another block",
    "there are nodes after the last one": "a node after the last",
    "a path ends in a branch": "a branch at the end of a path",
    "a node has a number of items that no node has": "a node of 3 items",
    "a node is on the way to another transaction": "a leaf of another transaction",
    "a path ends before its key does": "a leaf of a shorter key",
    "a node has no path": "b'' for a path",
    "a node is of no kind": "a path that begins with 0x50",
    "a path is filled up with something": "a path filled up with 0x21",
    "the receipt is empty": "an empty receipt",
    "the receipt is of an unknown type": "a receipt of type 5",
    "the receipt has another number of items than its type has": "a receipt of type 0 with 1 more",
    "the transaction failed, or its receipt does not say": "status ",
    "the receipt holds no log at this position": "a position after the last",
    "a log has another number of items than three": "a log of four items",
    "the log is of no contract": "a token of 21 bytes",
    "the log has another number of topics than a Transfer": "a token that is one of a kind",
    "the log is of another event than a Transfer": "another event",
    "the log holds no amount": "an amount of 33 bytes",
    "a topic has another length than 32 bytes": "a sender of 33 bytes",
    "a topic is no address": "a sender that is no address",
    "something is no list": "a text for a list",
    "a text is no hex": "'f9' for receipt",
    "the proof is too large": "larger than may be",
    "a text has digits that are no hex": "spaces for a receipt",
    "blockNumber is no number within its bounds": "-1 for blockNumber",
}
# The Node client decodes RLP itself, strictly: its checks of that, in the order of the file.
FORMS = (
    "bytes after the end",
    "nothing",
    "an item beyond its list, within the whole",
    "one small byte with a prefix",
    "a length after a zero",
    "a long list that is short",
)


def judged(verify: Callable[..., Any], vector: Vector) -> Any:
    """Return what the Python client says, as JSON would tell it."""
    try:
        found = verify(vector.proof, vector.hashes)
    except InvalidProof as exc:
        return str(exc)
    except Exception as exc:  # noqa: BLE001 - a client with a check less may break in any way
        return {"broke": type(exc).__name__}
    camel = {name: re.sub("_(.)", lambda m: m[1].upper(), name) for each in found[:1] for name in each.__slots__}
    return [{camel[n]: str(v) if n == "amount" else v for n in camel for v in [getattr(each, n)]} for each in found]


def limited(source: str, limits: dict[str, int]) -> str:
    """Return the source of a client with other limits: what exceeds the real ones would take minutes."""
    for name, value in limits.items():
        source, count = re.subn(rf"(?m)^((?:const )?{name} = )[^;#\n]+", rf"\g<1>{value} ", source)
        assert count == 1
    return source


def loaded(source: str | ast.Module) -> Callable[..., Any]:
    """Return `verify_proof` of a source."""
    module = types.ModuleType(f"{PACKAGE}.altered")
    module.__package__ = PACKAGE
    sys.modules[module.__name__] = module  # where dataclasses look their module up
    try:
        exec(compile(source, "altered", "exec"), module.__dict__)  # noqa: S102 - our own file
    finally:
        del sys.modules[module.__name__]
    verify: Callable[..., Any] = module.verify_proof
    return verify


def in_python(vector: Vector) -> Any:
    verify = loaded(limited(PYTHON.read_text(), vector.limits)) if vector.limits else verify_proof
    return judged(verify, vector)


def in_node(folder: Path, runs: list[tuple[str, Vector]]) -> list[Any]:
    """Return what sources of the Node client say, each of its vector."""
    given: list[dict[str, Any]] = []
    modules: dict[str, list[int]] = {}
    for at, (source, vector) in enumerate(runs):
        modules.setdefault(limited(source, vector.limits), []).append(at)
    for number, (source, places) in enumerate(modules.items()):
        path = folder / f"{number}.mjs"
        path.write_text(source.replace('"@noble/hashes/sha3.js"', json.dumps(NOBLE.as_uri())))
        given.append({"module": path.as_uri(), "vectors": [runs[at][1].as_json() for at in places]})
    answers = json.loads(printed(JUDGE, given=json.dumps(given), module=True))
    found: dict[int, Any] = {}
    for places, said in zip(modules.values(), answers, strict=True):
        found |= dict(zip(places, said, strict=True))
    return [found[at] for at in range(len(runs))]


def test_there_are_many_vectors_and_no_two_of_one_name() -> None:
    assert len(VECTORS) == len(list(vectors())) > 150


def test_the_python_client_judges_every_proof() -> None:
    assert {name: in_python(vector) for name, vector in VECTORS.items()} == SHOWN


def test_the_node_client_judges_every_proof_the_same(tmp_path: Path) -> None:
    runs = [(NODE.read_text(), vector) for vector in VECTORS.values()]

    assert dict(zip(VECTORS, in_node(tmp_path, runs), strict=True)) == SHOWN


def test_the_node_client_takes_hashes_from_a_map_as_well_as_from_an_object() -> None:
    vector = VECTORS["as it is answered"]
    program = f"""
        import {{ verifyProof }} from {json.dumps((ROOT / "clients/js/index.js").as_uri())};
        const {{ proof, hashes }} = {json.dumps(vector.as_json())};
        const map = new Map(Object.entries(hashes).map(([number, hash]) => [Number(number), hash]));
        console.log(JSON.stringify(verifyProof(proof, map)));
    """

    assert json.loads(printed(program, module=True)) == vector.shows


class Checks(ast.NodeTransformer):
    """Finds the checks of a module, and takes one of them out."""

    def __init__(self, without: str | None = None) -> None:
        self.found: list[str] = []
        self._without = without

    def visit_If(self, node: ast.If) -> ast.AST:
        self.generic_visit(node)
        match node.body:
            case [ast.Raise(exc=ast.Call(func=ast.Name("InvalidProof"), args=[ast.Constant(str(why))]))]:
                pass
            case [ast.Raise(exc=ast.Call(func=ast.Name("InvalidProof"), args=[ast.JoinedStr()]))]:
                why = "blockNumber is no number within its bounds"
            case _:
                return node
        self.found.append(why)
        if why == self._without:
            node.test = ast.Constant(value=False)
            ast.fix_missing_locations(node)
        return node


def test_the_table_names_every_check_of_the_python_client() -> None:
    checks = Checks()
    checks.visit(ast.parse(PYTHON.read_text()))

    assert sorted(checks.found) == sorted(CHECKS)


def test_a_python_client_without_a_check_judges_a_proof_differently() -> None:
    same = []
    for why, name in CHECKS.items():
        vector = VECTORS[name]
        altered = Checks(without=why).visit(ast.parse(limited(PYTHON.read_text(), vector.limits)))
        same += [why] if judged(loaded(altered), vector) == vector.shows else []

    assert same == []
    assert {why: VECTORS[name].shows for why, name in CHECKS.items()} == {why: why for why in CHECKS}


def node_checks() -> Iterator[tuple[str, str]]:
    """Yield each check of the Node client: the text of it, and the proof that it is there for."""
    forms = iter(FORMS)
    for each in re.finditer(r"if \(.*\) throw new InvalidProof\(([\"`])(.*)\1\);", NODE.read_text()):
        why = each[2].replace("${name}", "blockNumber")
        yield each[0], next(forms) if why == "something is no RLP" else CHECKS[why]
    assert list(forms) == []


def test_the_table_names_every_check_of_the_node_client() -> None:
    assert {vector for _, vector in node_checks()} == {*CHECKS.values(), *FORMS}
    assert NODE.read_text().count("throw new InvalidProof") == len(list(node_checks())) + 1  # the last has no condition


def test_a_node_client_without_a_check_judges_a_proof_differently(tmp_path: Path) -> None:
    source = NODE.read_text()
    at = 0
    altered: list[tuple[str, Vector]] = []
    for check, name in node_checks():  # some are written twice: each is taken out in its own place
        at = source.index(check, at)
        altered.append((source[:at] + source[at + len(check) :], VECTORS[name]))
        at += len(check)
    said = in_node(tmp_path, altered)

    assert [vector.name for (_, vector), answer in zip(altered, said, strict=True) if answer == vector.shows] == []
