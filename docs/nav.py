"""The site's menu, made from the folders of docs/ in the order of Diátaxis."""

from pathlib import PurePosixPath
from typing import Any

SECTIONS = {
    "tutorial": "Tutorial",
    "how-to": "How-to guides",
    "reference": "Reference",
    "explanation": "Explanation",
    "adr": "Decisions",
}


def menu(paths: list[str]) -> list[Any]:
    """Pages of the top folder first, then one section a known folder, then any other folder under its own name."""
    folders: dict[str, list[str]] = {"": [], **{folder: [] for folder in SECTIONS}}
    for path in sorted(paths, key=lambda path: (PurePosixPath(path).name != "index.md", path)):
        folder = path.partition("/")[0] if "/" in path else ""
        folders.setdefault(folder, []).append(path)
    top = folders.pop("")
    return [*top, *({SECTIONS.get(folder, folder): pages} for folder, pages in folders.items() if pages)]


def on_files(files: Any, config: Any) -> None:
    config.nav = menu([file.src_uri for file in files.documentation_pages()])
