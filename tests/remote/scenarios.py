"""What is done on both sites: one function a subject. Each says which commands it stands for."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from tests.remote.kit import Site, flow
from tests.support.cli import until

__all__ = ["SCENARIOS", "Scenario"]

Scenario = Callable[[Site], None]
SCENARIOS: dict[str, tuple[Scenario, frozenset[str]]] = {}
NOOP: Any = {"run": "core.noop", "with": "{{ inputs.n }}"}
N: Any = {"type": "object", "properties": {"n": {"type": "integer", "default": 1}}}
FAIL: Any = {"run": "core.fail", "with": {"code": "no_luck", "message": "it was not to be"}}
GATE: Any = {"wait": {"signal": "go"}}


def covers(*commands: str) -> Callable[[Scenario], Scenario]:
    """Register a scenario with the commands that it uses."""

    def register(scenario: Scenario) -> Scenario:
        SCENARIOS[scenario.__name__] = scenario, frozenset(commands)
        return scenario

    return register


@covers("register", "definitions", "diff", "start")
def definitions(site: Site) -> None:
    one = flow(site, "d.one", {"a": NOOP}, inputs=N)
    site("register", one)
    site("register", one, "--activate", "--json")
    flow(site, "d.one", {"a": NOOP, "b": {"run": "core.noop", "needs": ["a"]}}, inputs=N)
    site("register", one)
    site("definitions", "d.one")
    site("definitions", "--activate", "d.one@2", "--json")
    site("definitions", "d.one", "--deprecate", "d.one@1")
    site("definitions", "--archive", "d.one@9", code=2)
    site("definitions", "--archive", "nonsense", code=2)
    site("diff", "d.one@1", "d.one@2")
    site("diff", "d.one@1", "d.one@2", "--json")
    site("diff", "d.one@2", one)
    site("diff", "d.one@1", "d.one@7", code=2)
    broken = site.cli.file("broken.json", {"dsl": "1", "name": "d.two", "nodes": {"a": {"run": 7, "x": 1}}})
    site("register", broken, code=2)
    site("register", site.cli.file("text.json", "{ no json"), code=2)
    site("register", site.cli.file("twice.json", '{"dsl": "1", "dsl": "1"}'), code=2)
    site("register", site.cli.file("list.json", []), code=2)
    site("register", "nowhere.json", code=2)
    site("register", flow(site, "d.cycle", {"a": {"run": "core.noop", "needs": ["a"]}}), code=2)
    site("start", "d.none", code=2)
    site("start", "d.one@x", code=2)
    site("definitions", "--archive", "d.one@1")
    site("start", "d.one@1", code=1)


@covers("run", "start", "wait")
def running(site: Site) -> None:
    one = flow(site, "r.one", {"a": NOOP}, inputs=N, output="{{ nodes.a.output }}")
    site("run", one, "--set", "n=4")
    site("run", one, "--json")
    site("run", one, "--key", "k")
    assert "was used before" in site("run", one, "--key", "k").err
    site("run", one, "--set", "n=text", code=2)
    site("run", one, "--input", "[1]", code=2)
    bad = flow(site, "r.bad", {"a": {"run": "core.nope"}, "b": {"run": "core.noop", "needs": ["z"]}})
    site("run", bad, code=2)
    site("start", bad, code=2)
    failing = flow(site, "r.failing", {"a": FAIL})
    ran = site("run", failing, code=1)
    assert "no_luck at a" in ran.err
    site("run", failing, "--json", code=1)
    gated = flow(site, "r.gated", {"w": GATE})
    held = site("run", gated, "--timeout", "100ms", code=130, noted=False)
    assert "is not finished" in held.err
    other = flow(site, "r.parent", {"c": {"flow": "r.child"}})
    (site.cli.folder / "more").mkdir()
    child = flow(site, "r.child", {"a": {"run": "core.noop"}})
    child.rename(site.cli.folder / "more" / "child.json")
    site("run", other, "--with", site.cli.folder / "more")
    one_id = site("start", gated, "--label", "a=b", "--tag", "t", "--mutex", "m", noted=False).out.strip()
    site("wait", one_id, "--timeout", "50ms", code=1)
    site("start", gated, "--mutex", "m", "--on-duplicate", "reject", code=1)
    site("start", gated, "--on-duplicate", "nonsense", code=2)
    site("start", one, "--delay", "1h", "--json")
    site("start", one, "--expires", "1h", "--delay", "2h", code=None)
    site("start", one, "--queue", "no good", code=2)
    done = site.start(one)
    site("wait", done)
    site("wait", done, "--json")
    site("wait", "ffffffff", code=2)
    site("wait", "no-id", code=2)


@covers("status", "list", "tasks", "history", "explain", "logs", "events")
def looking(site: Site) -> None:
    nodes: Any = {
        "a": {"run": "core.log", "with": {"message": "hello from a"}},
        "m": {"needs": ["a"], "map": [1, 2, 3], "do": {"run": "core.noop", "with": "{{ item }}"}},
        "w": GATE | {"needs": ["m"]},
        "z": {"run": "core.noop", "needs": ["w"]},
    }
    one = site.start(flow(site, "l.one", nodes), "--label", "team=core", state="waiting")
    for json in ((), ("--json",)):
        site("status", one, *json)
        site("list", "--name", "l.one", "--label", "team=core", "--state", "running", *json)
        site("list", "--name", "l.one", "--older", "1h", *json)
        site("tasks", one, *json)
        site("tasks", one, "--state", "completed", "--limit", "2", *json)
        site("tasks", one, "--under", "m", *json)
        site("history", one, *json)
        site("history", one, "--limit", "2", *json)
        site("explain", one, *json)
        site("explain", one, "w", *json)
        site("explain", one, "z", *json)
        site("logs", one, *json)
        site("logs", one, "--level", "warning", *json)
        site("logs", one, "--search", "HELLO", "--path", "a", "--since", "1h", *json)
        site("events", "--instance", one, *json)
        site("events", "--instance", one, "--name", "task.*", "--limit", "2", *json)
        site("events", "--instance", one, "--after", "0", "--follow", "--limit", "3", *json)
    site("tasks", one, "--after", "m[1]")
    site("status", "ffffffff", code=2)
    site("status", "", code=2)
    site("tasks", one, "--under", "nowhere", code=None)
    site("explain", one, "nowhere", code=None)
    site("list", "--state", "nonsense", code=2)
    site("events", "--name", "nonsense", code=2)
    site("signal", one, "go")
    site("wait", one)
    site("logs", one, "--follow")
    site("status", one)
    site("explain", one)
    failed = site.start(flow(site, "l.failed", {"a": FAIL}))
    site("status", failed)
    site("tasks", failed)
    site("list", "--name", "l.failed", "--json")
    site("explain", failed, "a", "--json")


@covers(
    "signal",
    "pause",
    "resume",
    "terminate",
    "retry",
    "rollback",
    "fork",
    "rerun",
    "migrate",
    "bulk",
    "cancel",
)
def life_cycle(site: Site) -> None:
    gated = flow(site, "c.gated", {"w": GATE})
    one = site.start(gated, state="waiting")
    site("pause", one)
    site("pause", one, "--json")
    site("resume", one, "--reason", "well again")
    site("signal", one, "other", "--data", '{"x": 1}', "--id", "s-1")
    site("signal", one, "other", "--id", "s-1", "--json")
    site("signal", one, "other", "--data", "{", code=2)
    site("cancel", one, "--reason", "enough", "--grace", "30s")
    site("wait", one, code=1)
    site("cancel", one)
    site("pause", one, code=1)
    site("signal", one, "go", code=1)
    two = site.start(gated, state="waiting")
    site("terminate", two, "--reason", "now")
    site("terminate", "ffffffff", code=2)
    ok = flow(site, "c.ok", {"a": NOOP, "b": {"run": "core.noop", "needs": ["a"], "with": 2}}, inputs=N)
    done = site.start(ok)
    site("retry", done, "nowhere", code=None)
    assert "is " in site("rollback", done, "b", noted=False).out  # it goes on at once
    site("wait", done)
    assert site("retry", done, "b", "--json", noted=False).json["id"] == done
    site("wait", done)
    forked = site("fork", done, "b", "--set", "n=2", "--output", "a=5").out.strip()
    site("wait", forked)
    site("fork", done, "nowhere", code=None)
    again = site("rerun", done, "--input", '{"n": 3}', "--json").json["id"]
    site("wait", again, "--json")
    site("rerun", done, "--input", '{"n": "x"}', code=2)
    failed = site.start(flow(site, "c.failed", {"a": FAIL}))
    site("retry", failed, noted=False)
    site("wait", failed, code=1)
    three = site.start(gated, state="waiting")
    flow(site, "c.gated", {"w": GATE, "z": {"run": "core.noop", "needs": ["w"]}})
    site("register", gated)
    site("migrate", three, "c.gated@2", "--plan")
    site("migrate", three, "c.gated@2", "--plan", "--json")
    site("migrate", three, "c.gated@2")
    site("migrate", three, "c.gated@7", code=2)
    site("bulk", "pause", "--name", "c.gated", "--state", "running")
    site("bulk", "cancel", "--name", "c.failed", code=1)
    site("bulk", "cancel", "--name", "c.gated", "--state", "paused", "--json")
    site("bulk", "cancel", code=2)
    site("bulk", "nonsense", "--all", code=2)
    tagged = site.start(gated, "--tag", "c-tag", state="waiting")
    site("cancel", "--tag", "c-tag")
    site("wait", tagged, code=1)
    site("cancel", "--tag", "c-none", "--json")


@covers("export", "import", "delete", "purge")
def upkeep(site: Site) -> None:
    one = site.start(flow(site, "u.one", {"a": {"run": "core.log", "with": {"message": "said"}}}))
    file = site.cli.folder / "run.jsonl"
    site("export", one, "--to", file)
    site("export", one, "--to", file, "--json")
    lines = site("export", one, noted=False).out.splitlines()
    assert lines == file.read_text(encoding="utf-8").splitlines()
    site("import", file, code=1)
    site("delete", one)
    site("status", one, code=2)
    site("delete", one, code=2)
    site("import", file)
    site("tasks", one)
    site("logs", one)
    site("import", site.cli.file("text", "hello"), code=None)
    live = site.start(flow(site, "u.gated", {"w": GATE}), state="waiting")
    site("delete", live, code=1)
    site("export", live, code=1)
    site("purge", "--older", "0s", "--logs", "--name", "u.one")
    site("logs", one)
    site("purge", "--older", "1h", "--name", "u.one", "--json")
    site("purge", "--older", "0s", "--name", "u.one", "--state", "completed")
    site("purge", "--older", "0s", "--state", "running", code=2)
    site("cancel", live)


@covers(
    "queues list",
    "queues show",
    "queues pause",
    "queues resume",
    "queues set",
    "queues unset",
    "queues purge",
    "queues move",
    "queues reorder",
    "queues remove",
    "pending",
    "stats",
    "limits list",
    "limits set",
    "limits unset",
)
def queues(site: Site) -> None:
    site("queues", "pause", "q", "--reason", "later")
    site("queues", "show", "q")
    file = flow(site, "q.one", {"a": {"run": "core.noop", "queue": "q"}})
    ids = [site.start(file, state="queued") for _ in range(4)]
    for json in ((), ("--json",)):
        site("queues", "show", "q", *json)
        site("queues", "show", "q", "--state", "delayed", *json)
        site("pending", "--queue", "q", "--limit", "2", *json)
    listed = site("queues", "list", noted=False)
    assert re.search(r"^q +paused +4", listed.out, re.MULTILINE)
    assert "q" in {each["name"] for each in site("queues", "list", "--json", noted=False).json}
    site("queues", "show", "q", "--state", "nonsense", code=2)
    site("queues", "move", "q", ids[3])
    site("queues", "reorder", "q", ids[2], ids[1], "--json")
    site("queues", "show", "q")
    site("queues", "move", "q", "ffffffff", code=2)
    site("queues", "remove", "q", ids[0])
    site("queues", "set", "q", "--max-size", "3", "--mark", "2")
    site("start", file, code=1)
    site("queues", "set", "q", "--unbounded", "--no-mark", "--json")
    site("queues", "set", "q", code=2)
    site("queues", "purge", "q", "--include-delayed")
    site("queues", "unset", "q", "--json")
    site("queues", "unset", "q")
    site("queues", "pause", "no good", code=2)
    site("queues", "resume", "q", "--json")
    site.start(file)
    site("stats", "--queue", "q", "--json", noted=False)
    site("stats", "--queue", "q", "--since", "1h", noted=False)
    site("stats", "--reset", "--json")
    site("stats", "--reset", "--queue", "q", code=2)
    site("limits", "set", "queue:q", "--concurrency", "2", "--rate", "5/s", "--burst", "2")
    site("limits", "set", "node:q.one/a", "--concurrency", "1", "--json")
    site("limits", "set", "nonsense", "--concurrency", "1", code=2)
    site("limits", "set", "queue:q", "--rate", "fast", code=2)
    site("limits", "list", "--kind", "node")
    site("limits", "list", "--kind", "queue", "--limit", "1", "--json")
    site("limits", "list", "--after", "queue:p", "--kind", "queue")
    site("limits", "unset", "queue:q")
    site("limits", "unset", "queue:q", "--json")
    site("limits", "unset", "node:q.one/a")


@covers(
    "schedules list",
    "schedules show",
    "schedules create",
    "schedules update",
    "schedules pause",
    "schedules resume",
    "schedules remove",
    "schedules trigger",
    "schedules backfill",
    "schedules history",
    "triggers list",
    "triggers create",
    "triggers pause",
    "triggers resume",
    "triggers remove",
    "emit",
)
def by_itself(site: Site) -> None:
    site("register", flow(site, "s.one", {"a": NOOP}, inputs=N))
    site("schedules", "list")
    site(
        "schedules",
        "create",
        "yearly",
        "s.one",
        "--cron",
        "0 0 1 1 *",
        "--overlap",
        "skip",
        "--input",
        '{"n": 2}',
    )
    site("schedules", "create", "yearly", "s.one", "--cron", "0 0 1 1 *", code=1)
    site("schedules", "create", "dry", "s.one", "--every", "1h", "--dry-run", "--json")
    site("schedules", "create", "bad", "s.one", "--cron", "nonsense", code=2)
    site("schedules", "create", "bad", "s.none", "--every", "1h", code=2)
    site("schedules", "create", "bad", "s.one", code=2)
    site("schedules", "update", "yearly", "s.one@1", "--every", "2400h", "--jitter", "1s", "--json")
    site("schedules", "pause", "yearly", "--reason", "holiday")
    site("schedules", "show", "yearly")
    site("schedules", "show", "nothing", code=2)
    site("schedules", "resume", "yearly", "--json")
    site("schedules", "trigger", "yearly", "--force", "--json")
    site("schedules", "backfill", "yearly", "--from", "2001-01-01", "--to", "2001-01-02", "--json")
    site("schedules", "history", "yearly")
    site("schedules", "history", "yearly", "--limit", "1", "--json")
    for json in ((), ("--json",)):
        site("schedules", "list", *json)
        site("schedules", "show", "yearly", *json)
    site("schedules", "remove", "yearly")
    site("schedules", "remove", "yearly", code=2)
    site("triggers", "create", "big", "order.*", "s.one", "--match", "{{ event.payload.n > 5 }}")
    site("triggers", "create", "big", "order.*", "s.one", code=1)
    site("triggers", "create", "bad", "order.*", "s.none", "--json", code=2)
    site("triggers", "pause", "big", "--json")
    site("triggers", "resume", "big")
    site("triggers", "list")
    site("triggers", "list", "--json")
    site("emit", "order.paid", "--data", '{"n": 7}', "--id", "e-1")
    site("emit", "order.paid", "--data", '{"n": 7}', "--id", "e-1", "--json")
    site("emit", "order.paid", "--data", '{"n": 1}')
    site("emit", "other", "--json")
    site("emit", "order.paid", "--data", "{", code=2)
    site("triggers", "remove", "big")
    site("triggers", "remove", "big", "--json", code=2)


@covers(
    "keys create",
    "keys list",
    "keys rotate",
    "keys revoke",
    "secrets set",
    "secrets list",
    "secrets delete",
    "webhooks create",
    "webhooks list",
    "webhooks show",
    "webhooks change",
    "webhooks enable",
    "webhooks disable",
    "webhooks rotate",
    "webhooks test",
    "webhooks deliveries",
    "webhooks redeliver",
    "webhooks delete",
    "doctor",
)
def access(site: Site) -> None:
    made = site("keys", "create", "ci", "--scope", "read:*", "--expires-in", "1h", "--json").json
    site("keys", "create", "ci", "--scope", "reed:*", code=2)
    site("keys", "create", "x", "--scope", "read:*")
    site("keys", "rotate", made["id"], "--overlap", "1d", "--json")
    site("keys", "revoke", made["id"])
    site("keys", "revoke", "nonsense", code=2)
    listed = site("keys", "list", "--json", noted=False).json
    assert [(each["name"], each["state"]) for each in listed if each["name"] != "tests"] == [
        ("ci", "revoked"),
        ("x", "active"),
        ("ci", "active"),
    ]
    assert "revoked" in site("keys", "list", noted=False).out
    site("secrets", "set", "bank", stdin="s3cr3t\n")
    site("secrets", "set", "bank", "--json", stdin="other")
    site("secrets", "set", "no good", stdin="x", code=2)
    site("secrets", "set", "empty", stdin="", code=2, noted=False)
    site("secrets", "list")
    site("secrets", "list", "--json")
    site("secrets", "delete", "bank")
    site("secrets", "delete", "bank", code=2)
    hook = ("hook", "https://example.org/hook")
    site("webhooks", "create", *hook, "--event", "instance.failed", "--json")
    site("webhooks", "create", *hook, code=1)
    site("webhooks", "create", "bad", "ftp://example.org", code=2)
    site("webhooks", "disable", "hook")
    site("webhooks", "change", "hook", "--event", "task.*", "--definition", "x", "--json")
    site("webhooks", "change", "hook", code=2)
    site("webhooks", "test", "hook", code=None)
    site("webhooks", "rotate", "hook", "--overlap", "1h")
    site("webhooks", "list")
    site("webhooks", "list", "--json")
    site("webhooks", "show", "hook", noted=False)
    site("webhooks", "deliveries", "hook", "--state", "dead")
    site("webhooks", "redeliver", "hook", "--dead", "--json")
    site("webhooks", "enable", "hook", "--json")
    site("webhooks", "delete", "hook")
    site("webhooks", "show", "hook", code=2)
    names = [each["name"] for each in site("doctor", "--json", code=None, noted=False).json["checks"]]
    assert "database" in names


@covers(
    "alerts list",
    "alerts show",
    "alerts ack",
    "alerts resolve",
    "alerts rules",
    "alerts set-rule",
    "alerts reset-rule",
)
def alerts(site: Site) -> None:
    failed = "a.failed"
    site.start(flow(site, failed, {"a": FAIL}))
    raised = until(lambda: site("alerts", "list", "--subject", failed, "--json", noted=False).json)
    for json in ((), ("--json",)):
        site("alerts", "show", raised[0]["id"], *json)
    site("alerts", "list", "--subject", failed)
    site("alerts", "ack", raised[0]["id"])
    site("alerts", "resolve", raised[0]["id"], "--json")
    site("alerts", "resolve", raised[0]["id"], code=1)
    site("alerts", "list", "--subject", failed)
    site("alerts", "list", "--subject", failed, "--all", "--json")
    site("alerts", "list", "--severity", "nonsense", code=2)
    site("alerts", "show", "ffffffff-ffff-7fff-bfff-ffffffffffff", code=2)
    site("alerts", "ack", "nonsense", code=2)
    site("alerts", "set-rule", "failure_rate", "--set", "share=0.2", "--set", "window=1h")
    site("alerts", "set-rule", "mine", "--kind", "run_failed", "--severity", "info", "--off", "--json")
    site("alerts", "set-rule", "none", code=2)
    site("alerts", "set-rule", "failure_rate", "--set", "share=much", code=2)
    site("alerts", "rules")
    site("alerts", "rules", "--json")
    site("alerts", "reset-rule", "failure_rate")
    site("alerts", "reset-rule", "mine", "--json")
    site("alerts", "reset-rule", "none", code=2)
