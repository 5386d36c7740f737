"""Who should hold which partition, by tables; and that all who follow the plan come to rest."""

import random

import pytest

from foldlog import limits
from foldlog.flow.partition import ALL, Holder, partition_of, plan, share


def test_a_key_keeps_its_partition_for_ever():
    # Rows are stored by it: other numbers here mean that files cannot be read any more.
    assert [partition_of("", key) for key in ("1", "2", "ann", "ä")] == KNOWN
    assert partition_of("tenant", "1") != partition_of("", "1")
    assert {partition_of("", str(number)) for number in range(1_000)} == set(ALL)


KNOWN = [15, 5, 9, 8]


@pytest.mark.parametrize(
    ("members", "shares"),
    [
        ("a", [16]),
        ("ab", [8, 8]),
        ("abc", [6, 5, 5]),
        ("abcd", [4, 4, 4, 4]),
        ("abcde", [4, 3, 3, 3, 3]),
        ("abcdefghijklmnopq", [1] * 16 + [0]),
    ],
)
def test_shares(members, shares):
    assert [share(list(members), one) for one in members] == shares


def held(layout):
    """A layout has a letter a partition: who holds it, "." for nobody, a capital where the lease has run out."""
    return {
        number: Holder("" if one == "." else one.lower(), 0 if one == "." or one.isupper() else 5)
        for number, one in zip(ALL, layout, strict=True)
    }


@pytest.mark.parametrize(
    ("layout", "members", "take", "leave"),
    [
        ("................", "a", list(ALL), []),  # alone: everything at once
        ("................", "ab", list(range(8)), []),
        ("................", "ba", list(range(8, 16)), []),  # who comes second begins elsewhere
        ("aaaaaaaaaaaaaaaa", "ab", [], list(range(8, 16))),
        ("bbbbbbbbbbbbbbbb", "ba", [], []),  # waits until the other lets go
        ("bbbbbbbb........", "ba", list(range(8, 16)), []),
        ("aaaaaaaabbbbbbbb", "ab", [], []),
        ("aaaaaaaaBBBBBBBB", "ab", list(range(8, 16)), []),  # dead, though it was heard of a moment ago
        ("aaaaaaaabbbbBBBB", "ab", list(range(12, 16)), []),
        ("bbbbbbbbbbbbbbbb", "a", [], []),  # its leases still run
        ("aaaaaabbbbbccccc", "acbd", [], [4, 5]),
        ("aaaaaabbbbbccccc", "abc", [], []),
        ("AAAAAAAAAAAAAAAA", "ab", [], []),
    ],
)
def test_plan(layout, members, take, leave):
    holders = held(layout)
    if layout.startswith("AAAA"):  # one's own are one's own until another takes them
        todo = plan(holders, list(members), "a")
        assert (todo.take, len(todo.leave)) == ([], 8)
        return
    todo = plan(holders, list(members), "a")
    assert (todo.take, todo.leave) == (take, leave)


@pytest.mark.parametrize(
    ("layout", "members", "lacks"),
    [("bbbbbbbbbbbbbbbb", "ba", True), ("aaaaaaaabbbbbbbb", "ab", False), ("................", "a", False)],
)
def test_it_says_whether_others_are_to_let_go_of_some(layout, members, lacks):
    todo = plan(held(layout), list(members), "a")
    assert (todo.lacks, todo.ends) == (lacks, limits.STANDBY)


def test_it_says_when_the_next_lease_runs_out():
    holders = {number: Holder("a" if number < 8 else "b", 0.3) for number in ALL}
    assert plan(holders, ["a", "b"], "a").ends == 0.3


@pytest.mark.parametrize("seed", range(30))
def test_all_who_follow_their_plans_come_to_rest_with_every_partition_held_once(seed):
    chance = random.Random(seed)
    owners = dict.fromkeys(ALL, "")
    members = []
    for _ in range(6):
        if members and chance.random() < 0.4:
            gone = members.pop(chance.randrange(len(members)))
            owners = {number: "" if owner == gone else owner for number, owner in owners.items()}
        members += [f"m{chance.random()}" for _ in range(chance.randint(0 if members else 1, 4))]
        moves = 1
        for _ in range(len(members) + 3):
            moves = 0
            for me in chance.sample(members, len(members)):
                todo = plan({n: Holder(owner, 5 if owner else 0) for n, owner in owners.items()}, members, me)
                assert all(owners[number] == "" for number in todo.take)
                assert all(owners[number] == me for number in todo.leave)
                owners.update(dict.fromkeys(todo.take, me) | dict.fromkeys(todo.leave, ""))
                moves += len(todo.take) + len(todo.leave)
        assert moves == 0
        assert [list(owners.values()).count(one) for one in members] == [share(members, one) for one in members]
