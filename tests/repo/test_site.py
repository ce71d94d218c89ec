"""The site of the documentation: which pages it has, and what looks at its links."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from docs.site.check_links import broken_links
from tests.harness import ROOT

WELL = '<link rel="stylesheet" href="a.css"><a href="b/c.html#here">c</a> <a href="#top">up</a> <b id="top"></b>'
OTHER = '<a href="../index.html">home</a> <a href="https://elsewhere.example/x">x</a> <b id="here"></b>'


def site(folder: Path, home: str) -> Path:
    (folder / "b").mkdir()
    (folder / "index.html").write_text(home)
    (folder / "a.css").write_text("")
    (folder / "b" / "c.html").write_text(OTHER)
    return folder


def test_links_that_lead_somewhere_are_not_broken(tmp_path: Path) -> None:
    assert list(broken_links(site(tmp_path, WELL))) == []


@pytest.mark.parametrize(
    ("home", "said"),
    [
        ('<a href="b/d.html">', "there is no such page"),
        ('<a href="../outside.html">', "there is no such page"),
        ('<img src="picture.png">', "there is no such page"),
        ('<a href="#nowhere">', "the page has no such place"),
        ('<a href="b/c.html#nowhere">', "the page has no such place"),
        ('<script src="https://cdn.example/x.js"></script>', "fetches https://cdn.example/x.js"),
        ('<link rel="stylesheet" href="//cdn.example/x.css">', "fetches //cdn.example/x.css"),
    ],
)
def test_a_broken_link_is_found(tmp_path: Path, home: str, said: str) -> None:
    (tmp_path / "outside.html").write_text("")
    (tmp_path / "site").mkdir()
    (sentence,) = broken_links(site(tmp_path / "site", home))

    assert said in sentence


def test_every_page_for_people_is_on_the_site() -> None:
    listed = set(re.findall(r"\]\(([^)]+\.md)\)", (ROOT / "llms.txt").read_text()))
    tracked = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    pages = {path for path in tracked.split() if not path.startswith(("devnet/", "tests/", "docs/adr/0"))}

    assert pages == listed


def test_every_decision_is_listed() -> None:
    listed = set(re.findall(r"\]\((\w[^)]+\.md)\)", (ROOT / "docs" / "adr" / "README.md").read_text()))

    assert listed == {path.name for path in (ROOT / "docs" / "adr").glob("0*.md")}
