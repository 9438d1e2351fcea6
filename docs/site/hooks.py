"""What MkDocs does beside its own for the site: pages from outside docs/, links as a code host has them, llms.txt."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any, Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.nav import Navigation
from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).resolve().parents[2]
PAGES: Final = {
    "ARCHITECTURE.md": "architecture.md",
    "SECURITY.md": "threats.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
"""Files of the repository that are pages of the site too, and what these are called there."""

FOLDERS: Final = {"Do": "how-to/", "Look up": "reference/", "Understand": "explanation/"}
"""Where a part of the navigation has its pages. Those that mkdocs.yml does not put in order come behind the others."""

_SOURCES: Final = {page: file for file, page in PAGES.items()}
_LINK: Final = re.compile(r"(\[[^\]\n]*(?:\n[^\]\n]*)?\])\((?![a-z]+:|#)([^)#\s]+)(#[^)\s]*)?\)")
_FENCE: Final = re.compile(r"(^```.*?^```)", re.MULTILINE | re.DOTALL)

_summaries: dict[str, str] = {}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for name, page in PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / name)))
    for part in config.nav or ():
        for title, pages in part.items() if isinstance(part, dict) else ():
            found = (file.src_uri for file in files.documentation_pages())
            pages.extend(
                sorted({uri for uri in found if uri.startswith(FOLDERS.get(title, "/"))}.difference(map(str, pages)))
            )
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    here = page.file.src_uri
    source = _SOURCES.get(here, f"docs/{here}")
    pieces = _FENCE.split(markdown)  # every second one is code
    pieces[::2] = [_LINK.sub(lambda link: _linked(link, source, here), piece) for piece in pieces[::2]]
    _summaries[here] = _summary(pieces[0])
    return "".join(pieces)


def _linked(link: re.Match[str], source: str, here: str) -> str:
    """A link of the repository as one of the site. What the site does not have is named, without a link."""
    text, target, anchor = link.groups(default="")
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    if path == "README.md":
        path = "docs/README.md"
        anchor = ""
    uri = PAGES.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else None)
    if uri is None:
        return text[1:-1]
    return f"{text}({posixpath.relpath(uri, posixpath.dirname(here) or '.')}{anchor})"


def _summary(markdown: str) -> str:
    """The first sentence of a page, as plain text."""
    paragraphs = [
        text for text in markdown.split("\n\n") if text.strip() and not text.startswith(("#", "|", "```", "!", "<"))
    ]
    text = " ".join(paragraphs[0].split()) if paragraphs else ""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)|[`*]", r"\1", text)
    return re.split(r"(?<=[.?]) ", text)[0].rstrip(":")


def on_nav(nav: Navigation, **_: Any) -> Navigation:
    _navs[:] = [nav]
    return nav


_navs: list[Navigation] = []


def on_post_build(config: MkDocsConfig) -> None:
    """llms.txt: what the site is and where what stands, for language models (https://llmstxt.org)."""
    lines = [f"# {config.site_name}", "", f"> {config.site_description}"]
    for item in _navs[0].items:
        if item.is_section:
            lines += ["", f"## {item.title}", ""]
            lines += [f"- [{one.title}]({one.url}): {_summaries[one.file.src_uri]}" for one in item.children]
    (Path(config.site_dir) / "llms.txt").write_text("\n".join([*lines, ""]))
