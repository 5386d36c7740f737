"""What a URL says: where the server is, which schema, and whether a proxy stands in between."""

import re
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from foldlog.errors import Misconfigured

_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,47}")
SCHEMA = "foldlog"  # where the URL names none


class Address(NamedTuple):
    """`conninfo` is for libpq. `shown` names the store without a user or password. `proxied`: what a session keeps is
    not kept, because a proxy gives each transaction a connection of its own choice. `start`: no position up to it is
    used."""

    conninfo: str
    schema: str
    shown: str
    proxied: bool = False
    start: int = 0


def parse(url: str) -> Address:
    """The address behind `postgresql://user@host:port/database?schema=name&proxy=transaction&start=n`; every other
    option goes to libpq. Errors: `Misconfigured`."""
    parts = urlsplit(url)
    if not url.startswith(f"{parts.scheme}://"):
        raise Misconfigured(f"{url!r} lacks its //: postgresql://user@host:port/database")
    kept: list[tuple[str, str]] = []
    schema, proxied, start = SCHEMA, False, 0
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name == "schema":
            schema = value
        elif name == "proxy":
            if value != "transaction":
                raise Misconfigured(f"proxy={value!r}: the one kind to tell is proxy=transaction")
            proxied = True
        elif name == "start":
            if not value.isdecimal() or int(value) >= 2**62:
                raise Misconfigured(f"start={value!r}: a position is a whole number")
            start = int(value)
        else:
            kept.append((name, value))
    if not _SCHEMA.fullmatch(schema) or schema.startswith("pg_"):
        raise Misconfigured(f"schema={schema!r}: write a-z or _ first, then a-z, 0-9 or _, at most 48")
    options = f"?{urlencode(kept, quote_via=quote)}" if kept else ""
    conninfo = f"postgresql://{parts.netloc}{parts.path}{options}"
    try:
        said = conninfo_to_dict(conninfo)
    except ProgrammingError:  # its text repeats the password
        raise Misconfigured("libpq does not understand this URL: postgresql://user@host:port/database") from None
    host = said.get("host") or said.get("hostaddr") or "localhost"
    shown = f"postgresql://{host}:{said.get('port') or 5432}/{said.get('dbname') or ''}?schema={schema}"
    return Address(conninfo, schema, shown, proxied, start)
