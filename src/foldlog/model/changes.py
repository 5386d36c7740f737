"""What the code makes of the shapes in a lock file: read or not, by whom, and how to mend what is not."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from foldlog import limits
from foldlog.errors import Invalid, TooLarge
from foldlog.model.compatible import DEFAULT, MISSING, TAG, VALUES, Gap, gaps
from foldlog.model.form import SELF, Form, Object, canonical
from foldlog.model.formed import form_of
from foldlog.model.history import History, Kept, Key
from foldlog.model.schema import Schemas

BACKWARD, FORWARD, FULL = "backward", "forward", "full"
REQUIRED = (BACKWARD, FORWARD, FULL)
"""What may be asked of a change. "backward": new code reads what is stored; "forward": the code that ran before reads
what new code stores; "full": both."""

UNCHANGED, CHANGED, NEW, RAISED, UPCAST, GONE = "unchanged", "changed", "new", "raised", "upcast", "gone"


class Finding(NamedTuple):
    """One thing that somebody cannot read: `breaks` is "backward" or "forward", `mend` what to do about it."""

    path: str
    breaks: str
    why: str
    mend: str


class Step(NamedTuple):
    """One field that differs from the shape locked last; "" where there is none."""

    path: str
    before: str
    after: str


class Change(NamedTuple):
    """One version of one event or command, in the code, in the lock file, or in both.

    `status` is "unchanged", "changed", "new" (a name that is not locked), "raised" (a new version of a locked name),
    "upcast" (an older version that the code upcasts) or "gone" (a version that no code reads). `locked`: the file has
    it as the code has it.
    """

    key: Key
    status: str
    locked: bool
    findings: tuple[Finding, ...] = ()
    steps: tuple[Step, ...] = ()

    @property
    def verdict(self) -> str:
        """What holds: "full", "backward", "forward" or "none"."""
        broken = {one.breaks for one in self.findings}
        return {0: FULL, 2: "none"}.get(len(broken), FORWARD if BACKWARD in broken else BACKWARD)

    def breaks(self, required: str) -> tuple[Finding, ...]:
        """The findings that stand against what is required."""
        return tuple(one for one in self.findings if required in (FULL, one.breaks))


def forms(schemas: Schemas) -> dict[Key, Form]:
    """The shapes of all listed events and commands, as they are in the code. Errors: `Misconfigured`."""
    return {Key(mark.kind, mark.name, mark.version): form_of(cls, mark) for mark, cls in schemas.types()}


def compare(history: History, schemas: Schemas) -> list[Change]:
    """Every version that the file or the code knows, in order of kind, name and version."""
    comparing = _Comparing(history, schemas, forms(schemas))
    return [found for key in sorted({*history.kept, *comparing.code}) if (found := comparing.change(key)) is not None]


def relocked(
    history: History, schemas: Schemas, required: str = BACKWARD, accepted: Collection[str] = ()
) -> tuple[History, list[Change]]:
    """The file with the code's shapes in it, and the changes that stand against `required`; where there are any, the
    file is as it was. What breaks under a stored name in `accepted` is taken: shapes that the code cannot read are
    marked as given up. Errors: `Invalid` for an accepted name that breaks nothing, `TooLarge`."""
    changes = compare(history, schemas)
    broken = [one for one in changes if one.breaks(required)]
    if idle := set(accepted) - {one.key.name for one in broken}:
        raise Invalid(f"nothing is broken under the name {min(idle)!r}: there is nothing to accept")
    if refused := [one for one in broken if one.key.name not in accepted]:
        return history, refused
    kept = dict(history.kept)
    code = forms(schemas)
    for change in changes:
        key = change.key
        if key in code and not change.locked:
            kept[key] = _with_newest(kept.get(key, ()), code[key])
        if any(one.breaks == BACKWARD for one in change.breaks(required)):
            kept[key] = tuple(one if _reads(code.get(key), one.form) else Kept(one.form, True) for one in kept[key])
    if crowded := [key for key, shapes in kept.items() if len(shapes) > limits.LOCK_SHAPES]:
        raise TooLarge(f"{crowded[0]} has more than {limits.LOCK_SHAPES:,} shapes: raise its version")
    return History(kept), []


def _with_newest(kept: Sequence[Kept], form: Form) -> tuple[Kept, ...]:
    """The shapes with this one as the last; where it was there before, it moves."""
    others = [one for one in kept if canonical(one.form) != canonical(form)]
    return *others, Kept(form)


def _reads(code: Form | None, form: Form) -> bool:
    return code is not None and not gaps(code, form) and not set(code.tags) - set(form.tags)


class _Comparing:
    def __init__(self, history: History, schemas: Schemas, code: Mapping[Key, Form]) -> None:
        self.code = code
        self._history, self._schemas = history, schemas
        self._live: dict[tuple[str, str], list[int]] = {}
        for key in sorted(history.kept):
            if history.live(key):
                self._live.setdefault((key.kind, key.name), []).append(key.version)

    def change(self, key: Key) -> Change | None:
        kept = self._history.kept.get(key, ())
        live = self._history.live(key)
        if key not in self.code:
            return self._left(key) if live else None
        if not live and (key.kind, key.name) not in self._live:
            live = tuple(one.form for one in kept)  # a name that was given up and comes back: may it be stored still?
        form = self.code[key]
        if not live:
            return self._added(key)
        return self._present(key, form, live)

    def _present(self, key: Key, form: Form, live: Sequence[Form]) -> Change:
        last = live[-1]
        findings = [_finding(key, gap, BACKWARD) for one in live for gap in gaps(form, one)]
        findings += [_finding(key, gap, FORWARD) for gap in gaps(last, form)]
        for tag in sorted({tag for one in live for tag in set(form.tags) - set(one.tags)}):
            why = f"events that are stored have no tag {tag!r}: a query by it does not find them"
            findings.append(Finding(f"$.{tag}", BACKWARD, why, _TAG_MEND.format(name=key.name)))
        for tag in sorted(set(last.tags) - set(form.tags)):
            why = f"new events have no tag {tag!r}: code that asks for it does not find them"
            findings.append(Finding(f"$.{tag}", FORWARD, why, "keep the tag until no code asks for it"))
        same = canonical(form) == canonical(last) and self._history.kept[key][-1] == Kept(last)
        status = UNCHANGED if same else CHANGED
        return Change(key, status, same, tuple(dict.fromkeys(findings)), () if same else _steps(last, form))

    def _added(self, key: Key) -> Change:
        before = self._before(key)
        if before is None:
            return Change(key, NEW, False, (), _steps(None, self.code[key]))
        why = (
            f"code that knows {before.name!r} version {before.version} does not know {key.name!r} version {key.version}"
        )
        finding = Finding("$", FORWARD, why, _RAISED_MEND)
        return Change(key, RAISED, False, (finding,), _steps(self._history.live(before)[-1], self.code[key]))

    def _before(self, key: Key) -> Key | None:
        """The newest locked version whose place a new one takes: of the same name, or of one that is upcast to it."""
        if versions := self._live.get((key.kind, key.name)):
            return Key(key.kind, key.name, versions[-1])
        led = [
            old
            for old in self._history.kept
            if self._history.live(old) and self._schemas.leads(*old) == (key.name, key.version) and old.kind == key.kind
        ]
        return max(led, default=None)

    def _left(self, key: Key) -> Change:
        if self._schemas.leads(*key):
            return Change(key, UPCAST, True)
        known = [one.version for one in self.code if (one.kind, one.name) == (key.kind, key.name)]
        if known:
            why = f"the code is at version {known[0]}, the lock file at {key.version}"
            mend = "go back to that version, or raise it further; a version never falls"
        else:
            why = f"no listed part takes this {key.kind}, and no Upcast leads from it"
            mend = (
                f'list the part that takes it; or Upcast("{key.name}", {key.version}, change, to=(name, version)) to '
                f"what took its place; or, where none is stored, `lock --accept {key.name}`"
            )
        return Change(key, GONE, True, (Finding("$", BACKWARD, why, mend),), _steps(self._history.live(key)[-1], None))


_RAISED_MEND = (
    "no old code may run when the first one is stored: stop it before new code starts, or ship code that reads both "
    "first, and write the new version in a later release"
)
_TAG_MEND = (
    "where a query asks by this tag, let it ask by types and other tags as well; then `lock --accept {name}` takes the "
    "new tag"
)


def _finding(key: Key, gap: Gap, breaks: str) -> Finding:
    if breaks == FORWARD:
        mend = _FORWARD_MENDS.get(gap.sort, "keep the old type until no old code runs, or write it in a new field")
        return Finding(gap.path, breaks, gap.why, mend)
    step = f'raise the version to {key.version + 1} and list Upcast("{key.name}", {key.version}, change)'
    first = _BACKWARD_MENDS.get(gap.sort)
    return Finding(gap.path, breaks, gap.why, f"{first}; or {step}" if first else step)


_BACKWARD_MENDS = {
    MISSING: "give the field a default",
    VALUES: "keep the values",
    DEFAULT: "keep the default",
    TAG: "keep the tag",
}
_FORWARD_MENDS = {
    MISSING: "keep the field until no old code runs that needs it",
    VALUES: "ship code that knows the new values first, and write them in a later release",
    DEFAULT: "keep the default until no old code runs",
    TAG: "keep the tag until no old code runs",
}


def _steps(before: Form | None, after: Form | None) -> tuple[Step, ...]:
    """What differs, field by field."""
    old, new = _lines(before), _lines(after)
    paths = dict.fromkeys([*new, *old])
    return tuple(
        Step(path, old.get(path, ""), new.get(path, "")) for path in paths if old.get(path, "") != new.get(path, "")
    )


def _lines(form: Form | None) -> dict[str, str]:
    if form is None:
        return {}
    found = {"tags": ", ".join(form.tags)} if form.tags else {}
    for name, one in form.types.items():
        if not isinstance(one, Object):
            found[name] = ("flags: " if one.flags else "") + ", ".join(map(repr, one.values))
            continue
        said: Iterable[tuple[str, object]] = (("tag", one.tag), ("array", one.array), ("closed", one.closed))
        found |= {f"{name} ({word})": str(value) for word, value in (*said, ("omits", one.omits)) if value}
        front = "" if name == SELF else f"{name}."
        found |= {f"{front}{field}": str(value) for field, value in one.fields.items()}
    return found
