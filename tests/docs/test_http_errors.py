"""What the how-tos of web frameworks do with errors: each has the status of its class, and no secret gets out."""

import json
import subprocess
import sys

import pytest

from tests.docs import tables
from tests.docs.page import ROOT, blocks

ERRORS = """
from foldlog import Conflict, Rejected, Unavailable
from foldlog.errors import *
from foldlog import errors
def made(name):
    kind = getattr(errors, name)
    match name:
        case "Rejected": return Rejected("a.no", "secret? no: told", {"left": 3})
        case "Conflict": return Conflict("a-1", 1, 2)
        case "Unavailable": return Unavailable("busy", 2.3)
    return kind("at /var/secret")
"""
FASTAPI = """
from api import App, create, parts
from fastapi.testclient import TestClient
site = create(App("memory:", parts))
@site.get("/raise/{name}")
async def fail(name: str):
    raise made(name)
"""
STARLETTE = """
from visits import App, create, page, visitors
from starlette.routing import Route
from starlette.testclient import TestClient
site = create(App("memory:", [page, visitors]))
async def fail(request):
    raise made(request.path_params["name"])
site.router.routes.insert(0, Route("/raise/{name}", fail))
"""
ASK = """
import json, sys
with TestClient(site) as client:
    answers = {name: client.get(f"/raise/{name}") for name in sys.argv[1:]}
    print(json.dumps({n: [a.status_code, a.json(), a.headers.get("retry-after")] for n, a in answers.items()}))
"""


@pytest.mark.parametrize(("page", "program"), [("fastapi", FASTAPI), ("starlette", STARLETTE)])
def test_each_error_has_its_own_status_and_operators_matters_stay_inside(page, program, tmp_path):
    for block in blocks(ROOT / f"docs/how-to/{page}.md"):
        if block.title:
            (tmp_path / block.title).write_text(block.text, "utf-8")
    (tmp_path / "ask.py").write_text(ERRORS + program + ASK, "utf-8")
    kinds = {error.__name__: error for error in tables.error_classes()}
    done = subprocess.run(
        [sys.executable, "-W", "error", "ask.py", *kinds],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    assert {name: answer[0] for name, answer in answers.items()} == {n: kind.status for n, kind in kinds.items()}
    for name, (status, body, _) in answers.items():
        assert body["code"] == ("a.no" if name == "Rejected" else kinds[name].code)
        assert ("message" in body) == (status != 500)
        assert status != 500 or "/var/secret" not in json.dumps(body)
    if page == "fastapi":
        assert answers["Rejected"][1]["data"] == {"left": 3}
        assert answers["Unavailable"][2] == "3"
