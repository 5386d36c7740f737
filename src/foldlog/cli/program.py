"""All commands together; every error becomes a message on standard error and an exit code."""

import os
import sys
from collections.abc import Sequence

import click

import foldlog
from foldlog.cli.advice import advised
from foldlog.cli.doctor import doctor
from foldlog.cli.events import events
from foldlog.cli.forking import fork_log
from foldlog.cli.functions import functions
from foldlog.cli.letters import dead_letters
from foldlog.cli.making import new
from foldlog.cli.output import safe, to_json
from foldlog.cli.processes import processes
from foldlog.cli.running import check, run_app
from foldlog.cli.schemas import schema
from foldlog.cli.sending import send
from foldlog.cli.target import as_written, frames_of_user
from foldlog.cli.tracing import why_event
from foldlog.cli.transfer import export_log, import_log
from foldlog.cli.versions import VERSION_COMMANDS
from foldlog.cli.views import views
from foldlog.errors import FoldlogError, Misconfigured, Rejected, Unavailable

USAGE, CODE, INTERRUPTED = 2, 9, 130


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""\b
Exit codes:
    0  done                                5  unavailable, try again
    1  check or doctor found faults,       6  misconfigured code or setting
       or diff rows that differ            7  corrupt: stop and alert
    2  wrong usage                         8  done, but some lines were skipped
    3  refused: rejected, invalid input,   9  the app's own code failed
       not found, too large              130  Ctrl-C
    4  conflict with another writer

\b
FOLDLOG_APP names the app of commands that are called without APP.""",
)
@click.version_option(foldlog.__version__, prog_name="foldlog", message="%(prog)s %(version)s")
def program() -> None:
    """Foldlog: event sourcing on one SQLite file, in one process or several.

    APP is path/to/file.py, path/to/file.py:name or package.module:name
    (the name is `app` where none is given); URL is a store: sqlite:bank.db.

    Examples:
      foldlog check bank.py
      foldlog run bank.py
      foldlog send bank.py account 17 account.open '{"owner": "Ann"}'
      foldlog events sqlite:bank.db --follow
    """


program.help = as_written(program.help or "")
for _command in (
    new,
    run_app,
    check,
    schema,
    send,
    events,
    functions,
    views,
    dead_letters,
    processes,
    export_log,
    import_log,
    fork_log,
    why_event,
    doctor,
):
    program.add_command(_command)
for _command in VERSION_COMMANDS:
    views.add_command(_command)


def run(args: Sequence[str]) -> int:
    """Run one command line; returns its exit code."""
    machine = "--json" in args
    try:
        try:
            with program.make_context("foldlog", list(args)) as context:
                program.invoke(context)
            sys.stdout.flush()
        except click.exceptions.Exit as done:
            sys.stdout.flush()
            return done.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)  # nothing was asked for: the help is the answer
        return USAGE
    except click.ClickException as error:
        return _usage(error, machine)
    except FoldlogError as error:
        return _failed(error, machine)
    except BrokenPipeError:
        # The reader has gone (`| head`): that is how it says "enough". What is buffered must not fail at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except OSError as error:
        return _failed(Unavailable(f"{error.filename or 'input or output'}: {error.strerror or error}"), machine)
    except Exception as error:
        if not (frames := frames_of_user(error)):
            raise  # a fault of Foldlog's own: the whole traceback is what we want to be sent
        told = f"{type(error).__name__}: {error}"
        _tell("app-failed", told, "correct the code and try again; what failed was not stored", machine, frames)
        return CODE
    return 0


def _usage(error: click.ClickException, machine: bool) -> int:
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "foldlog"
    _tell("usage", error.format_message(), f"{path} --help", machine)
    return USAGE


def _failed(error: FoldlogError, machine: bool) -> int:
    number, advice = advised(error)
    faults = list(error.faults) if isinstance(error, Misconfigured) and len(error.faults) > 1 else None
    data = error.data if isinstance(error, Rejected) else faults
    _tell(error.code, error.message, advice, machine, data)
    return number


def _tell(code: str, message: str, advice: str, machine: bool, data: object = None) -> None:
    if machine:
        told = {"code": code, "message": message, "next": advice}
        if data is not None:
            told["data"] = data  # type: ignore[assignment]  # JSON-able, as Rejected demands
        click.echo(to_json({"error": told}), err=True)
        return
    click.echo(f"error: {safe(code)}: {safe(message)}", err=True)
    if isinstance(data, list) and code == "app-failed":
        for frame in data:
            click.echo(f"  {safe(frame)}", err=True)
    elif data is not None:
        click.echo(f"data: {to_json(data)}", err=True)
    click.echo(f"next: {safe(advice)}", err=True)
