import subprocess
import sys

import pytest

import foldlog
import foldlog.runtime
import foldlog.testing

HEAVY = {"asyncio", "msgspec", "json", "apsw", "sqlite3", "click", "rich"}


def loaded(code: str) -> set[str]:
    """The modules that a bare Python holds after this code."""
    program = f"import sys\n{code}\nprint(*sys.modules)"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(answer.stdout.split())


def test_what_a_domain_imports_starts_no_codec_no_loop_and_no_driver():
    names = loaded("from foldlog import event, command, Decider, projection, handler")
    assert names & HEAVY == set()
    assert {name for name in names if name.startswith("foldlog.")} == {
        "foldlog.errors",
        "foldlog.lazy",
        "foldlog.limits",
        "foldlog.model",
        "foldlog.model.decider",
        "foldlog.model.event",
        "foldlog.model.handler",
        "foldlog.model.principal",
        "foldlog.model.projection",
        "foldlog.model.retry",
        "foldlog.model.stream",
    }


def test_the_package_itself_loads_nothing():
    names = loaded("import foldlog")
    assert {name for name in names if name.startswith("foldlog.")} == {"foldlog.lazy"}
    assert names & HEAVY == set()


def test_an_app_on_no_database_loads_no_driver():
    assert loaded("from foldlog import App\nApp('memory:', [])") & {"apsw", "sqlite3", "click", "rich"} == set()


@pytest.mark.parametrize("package", [foldlog, foldlog.testing, foldlog.runtime])
def test_public_names_are_loaded_on_first_use(package):
    for name in package.__all__:
        assert getattr(package, name) is getattr(package, name)
    assert set(package.__all__) <= set(dir(package))
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = package.Nothing
