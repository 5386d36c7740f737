"""What PostgreSQL and psycopg report, in Foldlog's words."""

import psycopg
from psycopg import errors

from foldlog.errors import Corrupt, FoldlogError, Misconfigured, TooLarge, Unavailable

REFUSED = "FL001"  # raised by the function `hold`
_DAMAGE = {"XX001", "XX002"}  # data or an index is damaged
_AGAIN = {"40001", "40P01"}  # in another one's way: serialisation, deadlock; a lock's time (55P03) was long enough
_SLEPT = {"25P03", "25P04"}  # the server ended a session whose transaction was left open
_REFUSED_LOGIN = (
    *('" does not exist', "authentication failed", "no password supplied", "is not permitted to log in"),
    *("pg_hba.conf rejects connection", "no pg_hba.conf entry", "permission denied for database"),
)
_GONE = {"3F000", "42P01", "42883", "3D000"}  # the schema, a table, a function, the database


def is_lost(error: BaseException) -> bool:
    """The connection is gone, and with it the answer to what was under way."""
    if isinstance(error, psycopg.Error) and error.sqlstate in _SLEPT:
        return True
    if not isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return False
    state = error.sqlstate
    return state is None or state.startswith(("08", "57P"))


class Unheld(Exception):
    """A condition of a commit does not hold, which was plain before the server was asked."""


def is_refusal(error: BaseException) -> bool:
    """A condition of a commit does not hold."""
    return isinstance(error, Unheld) or (isinstance(error, psycopg.Error) and error.sqlstate == REFUSED)


def is_passing(error: BaseException) -> bool:
    """Another transaction was in the way: the same again may go well."""
    return isinstance(error, psycopg.Error) and error.sqlstate in _AGAIN


def is_stale(error: BaseException) -> bool:
    """A table of rows that was there has been dropped since, or come into being."""
    return isinstance(error, errors.UndefinedTable)


def said_of_url(error: Exception, shown: str) -> Exception:
    """The same for what a first connection failed with: a database or role that is not there, or a password that is
    wrong, will not come right by itself. libpq gives no code for it, so an English text is looked at; where a server
    speaks another language it stays `Unavailable`."""
    found = said(error, shown)
    if isinstance(found, Unavailable) and any(text in found.message for text in _REFUSED_LOGIN):
        return Misconfigured(found.message)
    return found


def said(error: Exception, shown: str) -> Exception:
    """The error of foldlog.errors for what PostgreSQL reported; what is nobody's fault but the code's stays as it
    is."""
    if isinstance(error, FoldlogError) or not isinstance(error, psycopg.Error | OSError):
        return error
    what = f"{shown}: {' '.join(str(error).split()) or type(error).__name__}"
    if isinstance(error, OSError):
        return Unavailable(what)
    state = error.sqlstate or ""
    if state in _DAMAGE:
        return Corrupt(f"{what}; stop, and restore a backup")
    if state in _GONE:
        return Unavailable(f"{what}; what this store is made of is not there any more")
    if isinstance(error, errors.InsufficientPrivilege):
        return Misconfigured(f"{what}; see the page about roles")
    if isinstance(error, errors.ProgramLimitExceeded):
        return TooLarge(f"more than PostgreSQL takes: {error}")
    if isinstance(error, errors.UniqueViolation):
        return Corrupt(f"{what}; what is stored contradicts itself: stop, and restore a backup")
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) or state in _SLEPT:
        return Unavailable(what)
    if isinstance(error, errors.ReadOnlySqlTransaction):
        return Unavailable(f"{what}; this server is not the primary")
    return error
