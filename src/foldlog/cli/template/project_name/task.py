"""A task: what can be asked of it (commands), what has happened to it (events), and who decides (the decider)."""

from dataclasses import dataclass, replace

from foldlog import Decider, Rejected, command, event


@event("task.added")
class Added:
    title: str
    owner: str


@event("task.finished")
class Finished:
    title: str
    owner: str


@command("task.add")
class Add:
    title: str
    owner: str


@command("task.finish")
class Finish:
    pass


@dataclass(frozen=True)
class Task:
    """What `decide` needs to know of a task, and no more."""

    title: str = ""
    owner: str = ""
    open: bool = False


def decide(command: Add | Finish, task: Task) -> list[Added | Finished]:
    """What follows from a command: events, nothing (it is done already), or a refusal."""
    match command:
        case Add(title, owner) if not task.title:
            if not title.strip():
                raise Rejected("task.no-title", "a task needs a title")
            return [Added(title, owner)]
        case Finish() if task.open:
            return [Finished(task.title, task.owner)]
        case Finish() if not task.title:
            raise Rejected("task.unknown", "there is no such task")
    return []


def evolve(task: Task, event: Added | Finished) -> Task:
    """The task after an event."""
    match event:
        case Added(title, owner):
            return Task(title, owner, open=True)
        case Finished():
            return replace(task, open=False)


task = Decider("task", decide, evolve, initial=Task())
