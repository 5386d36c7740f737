"""What docs/how-to/django.md says of forking servers: its own files, in a server that loads them and then forks."""

import json
import subprocess
import sys

from tests.docs.page import ROOT, blocks

SERVER = """
import json, os, sys
import django
from django.conf import settings
settings.configure(
    ROOT_URLCONF="views", MIDDLEWARE=["views.Problems"], ALLOWED_HOSTS=["testserver"], SECRET_KEY="only for this test",
    BANK_URL="sqlite:bank.db", BANK_FUNCTIONS=True,
)
django.setup()
import views  # what a server that preloads the application does: nothing is open yet
from django.test import Client

def work(number):
    client, answers = Client(), []
    for path in (f"/{number}/open", *[f"/{number}/deposit"] * 5, "/shared/open", *["/shared/deposit"] * 5):
        body = {"owner": "Ann"} if path.endswith("open") else {"amount": 1}
        answers.append(client.post(path, body, content_type="application/json").status_code)
    return {"statuses": sorted({*answers}), "own": client.get(f"/{number}").json()}

workers = []
for number in range(3):
    read, write = os.pipe()
    if os.fork() == 0:
        os.write(write, json.dumps(work(number)).encode())
        sys.exit(0)  # an orderly end: what is registered with atexit runs
    workers.append(read)
for _ in workers:
    assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
print(json.dumps({"workers": [json.loads(os.read(one, 10_000)) for one in workers],
                  "shared": Client().get("/shared").json()}))
"""


def test_workers_forked_from_a_preloaded_django_share_one_file(tmp_path):
    for block in blocks(ROOT / "docs/how-to/django.md"):
        if block.title:
            (tmp_path / block.title).write_text(block.text, "utf-8")
    (tmp_path / "server.py").write_text(SERVER, "utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", "server.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    told = json.loads(done.stdout)
    assert told["workers"] == [{"statuses": [200], "own": {"balance": 5}}] * 3
    assert told["shared"] == {"balance": 15}
