"""What SQLite reports, in Foldlog's words."""

import apsw

from foldlog import limits
from foldlog.errors import Corrupt, FoldlogError, TooLarge, Unavailable

_DAMAGE = {apsw.SQLITE_IOERR_DATA, apsw.SQLITE_IOERR_CORRUPTFS}
_PASSING = (
    apsw.BusyError,
    apsw.CantOpenError,
    apsw.FullError,
    apsw.InterruptError,
    apsw.IOError,
    apsw.LockedError,
    apsw.NoMemError,
    apsw.PermissionsError,
    apsw.ProtocolError,
    apsw.ReadOnlyError,
)


def is_damage(error: apsw.Error) -> bool:
    """A page is not what was written: its checksum is wrong, or its content contradicts itself."""
    return isinstance(error, apsw.CorruptError | apsw.NotADBError) or getattr(error, "extendedresult", 0) in _DAMAGE


def loses_trust(error: BaseException) -> bool:
    """After this a connection's view of the disk may be wrong: close it. (What a failed fsync wrote is unknown.)"""
    return isinstance(error, apsw.IOError | apsw.FullError | apsw.CantOpenError) and not is_damage(error)


def said(error: Exception, path: str) -> Exception:
    """The error of foldlog.errors for what SQLite reported; what is nobody's fault but the code's stays as it is."""
    if not isinstance(error, apsw.Error) or isinstance(error, FoldlogError):
        return error
    if is_damage(error):
        return Corrupt(f"{path} is damaged: {error}; stop, and restore a backup")
    if isinstance(error, apsw.BusyError):
        return Unavailable(f"{path} has been locked by another process for {limits.BUSY_TIMEOUT:g} s")
    if isinstance(error, _PASSING):
        return Unavailable(f"{path}: {error}")
    if isinstance(error, apsw.TooBigError):
        return TooLarge(f"more than SQLite takes: {error}")
    if isinstance(error, apsw.ConstraintError):
        return Corrupt(f"{path} contradicts itself: {error}; stop, and restore a backup")
    return error
