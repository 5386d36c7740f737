"""Which partition a key belongs to, and who should hold which: pure functions, with one answer in every process."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple
from zlib import crc32

from foldlog import limits

ALL = range(limits.PARTITIONS)


class Holder(NamedTuple):
    """Who holds a partition ("" for nobody), and for how many more seconds nobody else may take it."""

    owner: str
    left: float


class Plan(NamedTuple):
    """The partitions to take now, those to let go, the seconds until the first lease of another runs out (at most
    `limits.STANDBY`), and whether others are to let go of some."""

    take: list[int]
    leave: list[int]
    ends: float
    lacks: bool


def partition_of(tenant: str, key: str) -> int:
    """The partition of a key; never changes, because rows are stored by it."""
    return crc32(f"{tenant}\n{key}".encode(errors="surrogatepass")) % limits.PARTITIONS


def share(members: Sequence[str], me: str) -> int:
    """How many partitions `me` should hold. The eldest members, who stand first, have those that do not divide."""
    each, over = divmod(limits.PARTITIONS, len(members))
    return each + (members.index(me) < over)


def plan(holders: Mapping[int, Holder], members: Sequence[str], me: str) -> Plan:
    """What `me` should do now, so that all who are alive come to hold their share and each partition has an owner.

    `members` are those that seem alive, eldest first. Whoever lets a lease run out is dead or hangs, and counts no
    more, however short a time ago it was heard of.
    """
    lost = {held.owner for held in holders.values() if held.left <= 0} - {me}
    alive = [one for one in members if one not in lost or one == me]
    mine = [number for number in ALL if holders[number].owner == me]
    free = [number for number in ALL if holders[number].owner != me and holders[number].left <= 0]
    fair = share(alive, me)
    lacks = max(0, fair - len(mine))
    # Everybody begins at another place, so that those who take at the same time do not all want the same.
    start = fair * alive.index(me) % len(free) if len(free) > lacks else 0
    take = sorted((free[start:] + free[:start])[:lacks])
    ends = min((held.left for held in holders.values() if held.owner != me and held.left > 0), default=limits.STANDBY)
    return Plan(take, mine[fair:], min(limits.STANDBY, max(ends, limits.HANDOVER)), lacks > len(take))
