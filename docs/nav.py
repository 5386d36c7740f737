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
_PLACE = re.compile(r"^<!-- pages: ([\w-]+) -->$", re.MULTILINE)


def menu(paths: list[str]) -> list[Any]:
    """Pages of the top folder first, then one section a known folder, then any other folder under its own name."""
    folders: dict[str, list[str]] = {"": [], **{folder: [] for folder in SECTIONS}}
    for path in sorted(paths, key=lambda path: (PurePosixPath(path).name != "index.md", path)):
        folder = path.partition("/")[0] if "/" in path else ""
        folders.setdefault(folder, []).append(path)
    top = folders.pop("")
    return [*top, *({SECTIONS.get(folder, folder): pages} for folder, pages in folders.items() if pages)]


def heading(page: str) -> str:
    """What a page calls itself. Errors: `ValueError` for a page that starts otherwise."""
    first = page.lstrip().partition("\n")[0]
    if not first.startswith("# "):
        raise ValueError("a page starts with `# Its heading`")
    return first.removeprefix("# ").strip()


def listed(markdown: str, pages: dict[str, str]) -> str:
    """Fill in each `<!-- pages: folder -->`: a link to each of the folder's pages, by its heading."""

    def lines(place: re.Match[str]) -> str:
        found = sorted((path, heading(text)) for path, text in pages.items() if path.startswith(f"{place[1]}/"))
        return "\n".join(f"- [{name}]({path})" for path, name in found)

    return _PLACE.sub(lines, markdown)


def on_files(files: Any, config: Any) -> None:
    config.nav = menu([file.src_uri for file in files.documentation_pages()])


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    if page.file.src_uri != "index.md":
        return markdown
    paths = [file.src_uri for file in files.documentation_pages() if file.src_uri != "index.md"]
    return listed(markdown, {path: Path(config.docs_dir, path).read_text("utf-8") for path in paths})
