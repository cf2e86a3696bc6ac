"""One instance in a dict, driven through `decide` alone: the database's part is played by `World`.

`World` answers every `Need`, keeps what a decision writes, and after each step checks what must hold between the rows:
counters, the columns that belong to a state, one image per row, one journal row per transition.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

from strataflow.engine import draft as drafts
from strataflow.engine.compiler import compile_definition
from strataflow.engine.decide import Decision, decide, first_keys
from strataflow.engine.draft import Ask, Snapshot, Terms
from strataflow.engine.errors import EngineError
from strataflow.engine.events import Applied, Event, StartInstance, TaskEnded, TimerDue
from strataflow.engine.limits import NO_CONTROL, RATE, Control, held_by
from strataflow.engine.outcomes import Outcome, Payload, Succeeded
from strataflow.engine.plan import Plan
from strataflow.engine.states import INSTANCE_TRANSITIONS, TASK_TRANSITIONS
from strataflow.engine.stopping import CLOSED
from strataflow.repositories.batch import Changes
from strataflow.repositories.records import (
    TERMINAL_INSTANCE_STATES,
    TERMINAL_TASK_STATES,
    InstanceRow,
    InstanceState,
    JournalRow,
    LimitRow,
    MessageRow,
    SignalRow,
    TaskRow,
    TaskState,
    VarRow,
)

INSTANCE = "018f0000-0000-7000-8000-000000000001"
ME = "018f0000-0000-7000-8000-00000000000e"
OTHER = "018f0000-0000-7000-8000-00000000000f"
Doc = dict[str, Any]


def plan_of(nodes: Doc, **top: Any) -> Plan:
    """Compile a definition; executors are not asked for."""
    document = {"dsl": "1", "name": "flow", "nodes": nodes, **top}
    return compile_definition(document, registry=None, definition_id="d", version=1)[1]


def run(**fields: Any) -> Doc:
    """Give a node that calls an executor."""
    return {"run": "t.x", **fields}


def text(value: str) -> Succeeded:
    """Give a success with this JSON text."""
    return Succeeded(Payload(value))


@dataclass
class World:
    """The rows of one instance."""

    plan: Plan
    now: int = 1_000_000
    executors: frozenset[str] = frozenset({"t.x", "t.y"})
    instance: InstanceRow | None = None
    tasks: dict[str, TaskRow] = field(default_factory=dict[str, TaskRow])
    journal: list[JournalRow] = field(default_factory=list[JournalRow])
    blobs: dict[str, str] = field(default_factory=dict[str, str])
    vars: dict[tuple[str, str], VarRow] = field(default_factory=dict[tuple[str, str], VarRow])
    signals: dict[str, SignalRow] = field(default_factory=dict[str, SignalRow])
    messages: list[MessageRow] = field(default_factory=list[MessageRow])
    #: Who holds the definition's mutex.
    mutex: str | None = None
    #: What people have set, and the counters.
    control: Control = NO_CONTROL
    limits: dict[str, LimitRow] = field(default_factory=dict[str, LimitRow])
    #: How often the last step asked for rows.
    needs: int = 0

    # --- limits

    def limit(self, name: str, **numbers: Any) -> None:
        """Set a counter, as somebody would from outside."""
        old = self.limits.get(name) or LimitRow(name)
        self.limits[name] = replace(old, explicit=1, **numbers)
        names = frozenset(n for n, row in self.limits.items() if row.explicit)
        self.control = Control(self.control.epoch + 1, names)

    def _check_limits(self) -> None:
        """Counters are the sum of what rows hold, and of those that wait."""
        used, waiting = Counter[str](), Counter[str]()
        for row in self.tasks.values():
            used.update(dict(held_by(row)))
            if row.blocked_on is not None:
                waiting[row.blocked_on.removeprefix(RATE)] += 1
            assert (row.state is TaskState.BLOCKED) == (row.blocked_on is not None), row
            assert row.holds is None or row.state is TaskState.RUNNING, row
        for name, counter in self.limits.items():
            assert (counter.used, counter.waiting) == (used[name], waiting[name]), name
        assert not (set(used) | set(waiting)) - set(self.limits)

    # --- acting

    def step(self, *events: Event, slots: int = 0, executes: bool = True, **terms: Any) -> Decision:
        """Fold events in one transaction and keep what it writes."""
        given = {"now": self.now, "engine": ME, "executors": self.executors, "control": self.control} | terms
        counters = {name: row.copy() for name, row in self.limits.items()}
        snapshot = Snapshot(self.instance.copy() if self.instance else None)
        for path in {path for event in events for path in first_keys(self.plan, event)}:
            self._read(snapshot, path)
        self.needs = 0
        while True:
            found = decide(
                self.plan, snapshot, events, Terms(slots=slots, executes=executes, limits=counters, **given)
            )
            if isinstance(found, Decision):
                break
            self.needs += 1
            assert self.needs < 10_000, "decide asks without end"
            for path in found.keys:
                self._read(snapshot, path)
            counters |= {name: LimitRow(name) for name in found.limits}
            if found.ask is not None:
                snapshot.answers[found.ask] = self._answer(found.ask)
            if found.sweep is not None:
                snapshot.sweeps[found.sweep] = self._unfinished(*found.sweep)
        self._keep(found.changes)
        self.limits |= {name: counters[name] for name in found.counters}
        self.check()
        self._check_limits()
        return found

    def start(self, **terms: Any) -> Decision:
        """Start the instance."""
        return self.step(StartInstance(INSTANCE, "d", Payload("{}")), **terms)

    def end(self, path: str, outcome: Outcome | None = None, **terms: Any) -> Applied | EngineError:
        """End the attempt that holds a task now."""
        return self.step(self.ended(path, outcome), **terms).results[0]

    def ended(self, path: str, outcome: Outcome | None = None) -> TaskEnded:
        """Make the event with the token of whoever holds the task now."""
        row = self.tasks[path]
        return TaskEnded(INSTANCE, path, row.attempt, row.engine or ME, outcome or Succeeded())

    def timers(self, limit: int = 100, **terms: Any) -> list[str]:
        """Fire every timer that is due, as one batch."""
        due = [p for p, r in sorted(self.tasks.items()) if r.wake_at is not None and r.wake_at <= self.now]
        if due:
            self.step(*(TimerDue(INSTANCE, path) for path in due[:limit]), **terms)
        return due[:limit]

    # --- looking

    def state(self, path: str) -> str:
        return self.tasks[path].state.value

    def states(self) -> dict[str, str]:
        return {path: row.state.value for path, row in sorted(self.tasks.items())}

    def having(self, state: TaskState) -> list[str]:
        """Give the paths of all tasks in a state."""
        return sorted(path for path, row in self.tasks.items() if row.state is state)

    @property
    def done(self) -> bool:
        return self.instance is not None and self.instance.state in TERMINAL_INSTANCE_STATES

    def arrows(self) -> set[tuple[str | None, str, bool]]:
        """Give every (from, to, is an instance's) of the journal."""
        return {(row.from_state, row.to_state, row.path is None) for row in self.journal}

    # --- the database's part

    def _answer(self, question: Ask) -> Any:  # noqa: PLR0911 - one case a question
        match question:
            case ("signals", name):
                return [s for s in self.signals.values() if s.name == name and s.consumed_by is None]
            case ("signal", signal_id):
                return signal_id in self.signals
            case ("awaiting", what):
                return [row.copy() for row in self.tasks.values() if row.awaits == what]
            case ("children", scope, states, after):
                wanted = states.split(",")
                found = [r for p, r in sorted(self.tasks.items()) if p > after and r.scope == scope]
                return [r.copy() for r in found if r.state.value in wanted][: drafts.SWEEP_LIMIT]
            case ("mutex", _, _):
                self.mutex = self.mutex or INSTANCE
                return self.mutex
            case ("queued", _, _):
                return OTHER
            case ("blob", key):
                return self.blobs[key]
            case _:
                raise LookupError(question)

    def _read(self, snapshot: Snapshot, path: str) -> None:
        row = self.tasks.get(path)
        snapshot.tasks[path] = row.copy() if row else None

    def _unfinished(self, scope: str, after: str) -> list[TaskRow]:
        high = scope + "]" if scope else "~"
        paths = sorted(p for p, r in self.tasks.items() if r.state not in TERMINAL_TASK_STATES)
        return [self.tasks[p].copy() for p in paths if after < p < high][: drafts.SWEEP_LIMIT]

    def _keep(self, changes: Changes) -> None:
        for row in (*changes.new_instances, *changes.instances):
            self.instance = row.copy()
        fresh = [*changes.new_leaves, *changes.new_scopes]
        known = [*changes.leaves, *changes.scopes]
        paths = [row.path for row in (*fresh, *known)]
        assert len(paths) == len(set(paths)), "a row is written twice in one transaction"
        assert not [row.path for row in fresh if row.path in self.tasks], "an insert meets a row"
        assert not [row.path for row in known if row.path not in self.tasks], "an update meets no row"
        moved = {row.path for row in changes.moved}
        assert len(moved) == len(changes.moved), "a row is moved twice in one transaction"
        for row in changes.leaves:
            self._check_leaf(self.tasks[row.path], row)
            assert row.path in moved or self.tasks[row.path].priority == row.priority, f"{row.path}: priority"
        self._check_journal(changes, {row.path for row in fresh})
        self.tasks |= {row.path: row.copy() for row in (*fresh, *known)}
        for row in changes.moved:
            assert self.tasks[row.path] == row, f"{row.path}: what is moved is not the row's last image"
        self.journal += changes.journal
        for _, prefix in (*changes.prunes, *changes.unlisted):
            gone = {k for k in self.blobs if (p := self._owner_of(k)) == prefix or drafts.under(prefix, p)}
            self.blobs = {key: body for key, body in self.blobs.items() if key not in gone}
        self.blobs |= {blob.key: blob.body for blob in changes.blobs}
        self.vars |= {(var.scope, var.name): var for var in changes.vars}
        self._keep_between(changes)

    def _keep_between(self, changes: Changes) -> None:
        for number, signal in enumerate(changes.signals, len(self.signals) + 1):
            self.signals[signal.id] = replace(signal, seq=number)
        for _, signal_id, path in changes.consumed:
            assert self.signals[signal_id].consumed_by is None, "two waits took one signal"
            self.signals[signal_id] = replace(self.signals[signal_id], consumed_by=path)
        self.messages += changes.messages
        self.mutex = None if changes.released else self.mutex
        for _, prefix in changes.prunes:
            self.tasks = {p: r for p, r in self.tasks.items() if p != prefix and not drafts.under(prefix, p)}

    @staticmethod
    def _owner_of(key: str) -> str:
        """Give the path whose list a page belongs to; no path for what is no page."""
        return key.split(":", 1)[1].rsplit(":", 2)[0] if key.startswith(("items:", "keys:")) else "?"

    @staticmethod
    def _check_leaf(old: TaskRow, new: TaskRow) -> None:
        """A leaf's update does not write the columns of a scope."""
        scope = ("open", "total", "next", "width", "done", "failed", "skipped", "cursor", "excused")
        for name in (*scope, "phase", "deadline_at", "awaits", "memo", "blocked_on", "blocked_at", "holds"):
            assert getattr(old, name) == getattr(new, name), f"{new.path}: {name} is not written for a leaf"

    def _check_journal(self, changes: Changes, fresh: set[str]) -> None:
        at: dict[str, str | None] = {path: None if path in fresh else "" for path in fresh}
        for row in changes.journal:
            if row.path is None:
                continue
            known = self.tasks.get(row.path)
            anew = row.from_state is None and known is not None and known.gen < row.gen
            old = at.get(row.path, known.state if known is not None and not anew else None)
            assert row.from_state == old, f"{row.path}: the journal leaves {row.from_state}, the row is {old}"
            state = TaskState(row.from_state) if row.from_state else None
            assert row.to_state in TASK_TRANSITIONS[state].values()
            at[row.path] = row.to_state
        for row in (*changes.leaves, *changes.scopes, *changes.new_leaves, *changes.new_scopes):
            assert at.get(row.path, row.state) == row.state, f"{row.path}: the journal ends elsewhere"

    def check(self) -> None:
        """Check what must hold between the rows after every transaction."""
        if self.instance is None:
            return
        open_rows: dict[str | None, int] = {}
        for row in self.tasks.values():
            self._check_row(row)
            if row.state not in TERMINAL_TASK_STATES or row.open > 0:
                open_rows[row.scope] = open_rows.get(row.scope, 0) + 1
        for row in self.tasks.values():
            assert row.open == open_rows.get(row.path, 0), f"{row.path}: open is {row.open}"
        sweeping = sum(1 for row in self.tasks.values() if row.cursor is not None and row.closed in CLOSED)
        assert self.instance.sweeps == sweeping, (
            f"sweeps is {self.instance.sweeps}, {sweeping} scopes are swept"
        )
        if self.done:
            self._check_ended(open_rows)

    @staticmethod
    def _check_row(row: TaskRow) -> None:
        """The CHECK constraints of `tables.py` that concern one state."""
        state, label = row.state, f"{row.path} ({row.state})"
        assert (state is TaskState.RUNNING) == (row.engine is not None), label
        assert (state is TaskState.QUEUED) == (row.ready_at is not None), label
        assert (state in TERMINAL_TASK_STATES) == (row.ended_at is not None), label
        assert state is not TaskState.RUNNING or row.wake_at is None or row.closed is not None, label
        assert state is not TaskState.RETRYING or row.wake_at is not None, label
        assert state is not TaskState.PENDING or row.remaining > 0 or row.wake_at is not None, label
        assert state is not TaskState.FAILED or row.error is not None, label
        assert row.cursor is None or row.wake_at is not None, f"{label}: nobody goes on with its sweep"
        assert min(row.remaining, row.open, row.next, row.done, row.failed, row.skipped) >= 0, label
        assert row.total is None or row.next <= row.total, label

    def _check_attempts(self) -> None:
        """Attempts of an executor's task are claimed 1, 2, 3, …; numbers of turns that were forgotten begin anew."""
        claimed: dict[str, list[int]] = {}
        for row in self.journal:
            task = self.tasks.get(row.path or "")
            if row.to_state == "running" and row.attempt and task is not None and task.executor is not None:
                claimed.setdefault(task.path, []).append(row.attempt)
        for path, found in claimed.items():
            assert "#" in path or found == list(range(1, len(found) + 1)), f"{path}: attempts {found}"

    def _check_ended(self, open_rows: dict[str | None, int]) -> None:
        assert not open_rows, f"the instance ended before {sorted(self.states().items())}"
        assert not [p for p, r in self.tasks.items() if r.wake_at is not None or r.ready_at is not None]
        root = self.tasks[""].state.value
        assert self.instance is not None
        assert root == self.instance.state.value, "the instance ends as its root does"
        states: dict[str | None, str | None] = {}
        gens: dict[str | None, int] = {}
        for row in self.journal:
            anew = row.from_state is None and row.gen > gens.get(row.path, 0)
            assert anew or states.get(row.path) == row.from_state, "the journal has a gap"
            states[row.path], gens[row.path] = row.to_state, row.gen
            if row.path is None:
                old = InstanceState(row.from_state) if row.from_state else None
                assert row.to_state in INSTANCE_TRANSITIONS[old].values()
        self._check_attempts()
        for key in self.blobs:
            owner = self.tasks.get(self._owner_of(key))
            assert owner is None or key.rsplit(":", 2)[1] == str(owner.gen), (
                f"{key}: nobody reads it any more"
            )
        pruned = {p for p in states if p is not None and p not in self.tasks}
        assert all("#" in p for p in pruned), f"rows are gone: {sorted(pruned)}"
        assert {p: s for p, s in states.items() if p is not None and p not in pruned} == self.states()
        assert states[None] == self.instance.state
