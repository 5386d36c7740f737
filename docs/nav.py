"""The site's menu and the lists of its first page, both made from the folders of docs/ in the order of Diátaxis.

A page appears by being there, under its heading: nobody writes it into a list.
"""

import re
from pathlib import Path, PurePosixPath
from typing import Any

SECTIONS = {
    "tutorial": "Tutorial",
    "how-to": "How-to guides",
    "reference": "Reference",
    "explanation": "Explanation",
    "adr": "Decisions",
}
_FOLDER = re.compile(r"\[([^]]+)\]\([\w-]+/\)")  # a link that serves readers of the repository; the site has no folders
_PLACE = re.compile(r"^<!-- pages: ([\w-]+) -->$", re.MULTILINE)


def menu(pages: dict[str, str]) -> list[Any]:
    """Of paths to texts: pages of the top folder, then one section a known folder, then any other under its name."""
    folders: dict[str, list[str]] = {"": [], **{folder: [] for folder in SECTIONS}}
    for path in sorted(pages, key=lambda path: _place_of(path, pages[path])):
        folder = path.partition("/")[0] if "/" in path else ""
        folders.setdefault(folder, []).append(path)
    top = folders.pop("")
    return [*top, *({SECTIONS.get(folder, folder): found} for folder, found in folders.items() if found)]


def _place_of(path: str, text: str) -> tuple[bool, str]:
    """In order of headings, as a reader looks for them; decisions in order of their numbers."""
    return PurePosixPath(path).name != "index.md", path if path.startswith("adr/") else heading(text).lower()


def heading(page: str) -> str:
    """What a page calls itself. Errors: `ValueError` for a page that starts otherwise."""
    first = page.lstrip().partition("\n")[0]
    if not first.startswith("# "):
        raise ValueError("a page starts with `# Its heading`")
    return first.removeprefix("# ").strip()


def listed(markdown: str, pages: dict[str, str]) -> str:
    """Fill in each `<!-- pages: folder -->`: a link to each of the folder's pages, by its heading."""

    def lines(place: re.Match[str]) -> str:
        found = sorted((heading(text).lower(), path) for path, text in pages.items() if path.startswith(f"{place[1]}/"))
        return "\n".join(f"- [{heading(pages[path])}]({path})" for _, path in found)

    return _PLACE.sub(lines, _FOLDER.sub(r"\1", markdown))


def _texts(files: Any, config: Any) -> dict[str, str]:
    paths = [file.src_uri for file in files.documentation_pages()]
    return {path: Path(config.docs_dir, path).read_text("utf-8") for path in paths}


def on_files(files: Any, config: Any) -> None:
    config.nav = menu(_texts(files, config))


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    return listed(markdown, _texts(files, config)) if page.file.src_uri == "index.md" else markdown
