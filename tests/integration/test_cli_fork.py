"""`foldlog fork` as an operator runs it."""

from tests.integration.cli_process import foldlog, machine, write_app


def test_the_command(tmp_path):
    app, new = write_app(tmp_path), f"sqlite:{tmp_path}/new ü.db"
    for key in "12":
        foldlog("send", app, "account", key, "account.open", '{"owner": "Ann"}')
    out, _ = foldlog("fork", app, new, "--at", "1")
    assert "up to position 1" in out
    assert "handlers leave the copied events alone" in out
    assert machine("events", new) == machine("events", app)[:1]
    assert "is there already" in foldlog("fork", app, new, code=3)[1]
    late = f"sqlite:{tmp_path}/late.db"
    assert "the log ends at position 2" in foldlog("fork", app, late, "--at", "3", code=3)[1]
    assert "is no time" in foldlog("fork", app, late, "--at", "soon", code=3)[1]
    assert "no time zone" in foldlog("fork", app, late, "--at", "2026-01-31T12:00:00", code=3)[1]
    assert "nothing to fork" in foldlog("fork", app, late, "--at", "2001-01-31T12:00:00Z", code=3)[1]
    foldlog("fork", app, late, "--by", "occurred", code=2)
    assert "only a file is forked" in foldlog("fork", app, "memory:", code=6)[1]
    assert "there is no log" in foldlog("fork", f"sqlite:{tmp_path}/typo.db", late, code=3)[1]
    assert "its directory must exist" in foldlog("fork", app, f"sqlite:{tmp_path}/no/x.db", code=6)[1]
    (tmp_path / "late.db-wal").write_bytes(b"of another log")
    assert "late.db-wal is there already" in foldlog("fork", app, late, code=3)[1]
    (tmp_path / "late.db-wal").unlink()
    (told,) = machine("fork", app, late, "--at", "2100-01-01T00:00:00Z", "--by", "occurred", "--handlers", "all")
    assert (told["position"], told["left_out"], told["handlers"], told["url"]) == (2, 0, "all", late)
    assert told["log"] != machine("fork", app, f"sqlite:{tmp_path}/third.db")[0]["log"]
    assert not list(tmp_path.glob("*.forking"))
