"""
How the documentation becomes a site: `make docs`.

The pages stay where they are, so that a link works in a clone and on the site alike.
`llms.txt` says which pages there are, and in which order.
"""

from __future__ import annotations

import html
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from docutils import nodes
from docutils.parsers.rst import Directive

if TYPE_CHECKING:
    from sphinx.application import Sphinx

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
HOME = "README"
CONTENTS = (ROOT / "llms.txt").read_text()
LISTED = re.compile(r"\[([^]]+)\]\(([^)]+)\.md\)")
DECISIONS = "docs/adr/README"

project = "AMN Pay Scanner"
extensions = ["myst_parser"]
root_doc = HOME
include_patterns = [*(f"{page}.md" for _, page in LISTED.findall(CONTENTS)), "docs/adr/*.md"]
# Folders that hold no page are not walked through.
exclude_patterns = [path.name for path in ROOT.iterdir() if path.name.startswith(".")] + ["**/node_modules", "build"]
nitpicky = True

myst_heading_anchors = 4  # as code hosts make them
myst_fence_as_directive = ["mermaid"]
myst_enable_extensions = ["html_image"]  # pictures side by side

html_theme = "furo"  # asks no other host for anything
html_title = project
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False
html_static_path = ["site.css", str(ROOT / ".docs/node_modules/@mermaid-js/tiny/dist/mermaid.tiny.js")]
html_css_files = ["site.css"]
html_js_files = ["mermaid.tiny.js"]


class Diagram(Directive):
    """A diagram, which the script draws in the reader's browser."""

    has_content: ClassVar[bool] = True

    def run(self) -> list[nodes.Node]:
        text = html.escape("\n".join(self.content))
        return [nodes.raw("", f'<pre class="mermaid">{text}</pre>', format="html")]


def tree(option: str, *entries: str) -> str:
    """Return a table of contents, which is shown beside the pages."""
    return "\n".join(["", "```{toctree}", ":hidden:", option, "", *entries, "```", ""])


def contents() -> str:
    """Return the sections of `llms.txt` as tables of contents."""
    sections = (each.partition("\n") for each in re.split(r"^## ", CONTENTS, flags=re.MULTILINE)[1:])
    return "".join(
        tree(f":caption: {caption}", *(f"{title} </{page}>" for title, page in LISTED.findall(listed) if page != HOME))
        for caption, _, listed in sections
    )


def add_contents(_app: Sphinx, name: str, source: list[str]) -> None:
    """Add the tables of contents, which would be text where a code host shows the page."""
    if name == HOME:
        source[0] += contents()
    elif name == DECISIONS:
        source[0] += tree(":glob:", "0*")


def add_index(app: Sphinx, failure: Exception | None) -> None:
    """Answer with the home page where a folder is asked for."""
    if failure is None:
        shutil.copy(Path(app.outdir) / f"{HOME}.html", Path(app.outdir) / "index.html")


def setup(app: Sphinx) -> None:
    """Connect what is ours."""
    app.add_directive("mermaid", Diagram)
    app.connect("source-read", add_contents)
    app.connect("build-finished", add_index)
