"""Secrets reach the executor that names them, and are stored, logged and shown nowhere else."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from pydantic import BaseModel
from sqlalchemy import select

from strataflow import DefinitionError, ExecutorDomain, ExecutorError, TaskContext
from strataflow.engine.catalog import Catalog
from strataflow.engine.plans import PlanCache
from strataflow.engine.secrets import Mask
from strataflow.repositories import views
from strataflow.repositories.tables import metadata
from strataflow.services.execution_service import ExecutionService
from tests.checker import check
from tests.integration.kit import Doc, Flow
from tests.support.cli import Cli

CANARY = "hunter2/c4n4ry+8f3a~é"
#: How it could stand in a text: as it is, quoted for JSON, for a URL, packed.
FORMS = (
    *("hunter2", "c4n4ry", "8f3a~", "hunter2%2F", "aHVudGVyMi9jNG40cnkr"),
    *(CANARY[::-1], CANARY.encode().hex()),
)


class Lines(logging.Handler):
    """Keeps every record of the engine, with its traceback and all it carries."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        trace = logging.Formatter().formatException(record.exc_info) if record.exc_info else ""
        self.texts.append(f"{record.getMessage()} {record.__dict__} {trace}")


class Vault:
    """Executors that take a configuration and give nothing of it back."""

    def __init__(self) -> None:
        self.taken: dict[str, Any] = {}

    def register(self, flow: Flow) -> None:
        domain = ExecutorDomain("vault")

        class Strict(BaseModel):
            amount: int

        def take(ctx: TaskContext, config: Any) -> str:
            self.taken[ctx.path] = config
            return f"{ctx.path} is done"

        def strict(_ctx: TaskContext, _config: Strict) -> None:
            raise AssertionError("its configuration does not fit")

        domain.executor("take")(take)
        domain.executor("strict", config=Strict)(strict)
        flow.registry.register_executor_domain(domain)


@pytest.fixture
def vault(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> Vault:
    made = Vault()
    made.register(flow)
    monkeypatch.setenv("STRATAFLOW_SECRET_BANK", CANARY)
    return made


@pytest.fixture
def lines() -> Iterator[Lines]:
    """Give everything that the engine logs, down to its finest."""
    logger, handler = logging.getLogger("strataflow"), Lines()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)


def places(flow: Flow, *more: str) -> list[str]:
    """Give every place in which the value still stands: columns of tables, bytes of files, other texts."""
    found: list[str] = []
    with flow.database.read() as connection:
        for table in metadata.sorted_tables:
            if table.info.get("only", connection.dialect.name) != connection.dialect.name:
                continue
            for row in connection.execute(select(table)).mappings():
                found += [f"{table.name}.{name}" for name, value in row.items() if leaks(str(value))]
    path = flow.database.url.path
    if path is not None:
        files = [file for file in path.parent.rglob(f"{path.name}*") if file.is_file()]
        assert path in files
        found += [str(file) for file in files if leaks(file.read_bytes().decode("utf-8", "replace"))]
    return found + [text for text in more if leaks(text)]


def leaks(text: str) -> bool:
    return any(form in text for form in FORMS)


def take(value: Any, **more: Any) -> Doc:
    return {"run": "vault.take", "with": value, **more}


def error_of(flow: Flow, instance_id: str) -> Doc:
    found = flow.engine.status(instance_id).error
    assert found is not None
    return found


SECRET = "{{ secrets.bank }}"


def test_the_search_finds_what_it_looks_for(flow: Flow, lines: Lines) -> None:
    """Otherwise the other tests would prove nothing."""
    logging.getLogger("strataflow.engine").debug("said", extra={"config": CANARY})
    assert places(flow, *lines.texts) == lines.texts != []
    instance_id = flow.start({"a": {"run": "t.echo", "with": CANARY}})
    flow.wait(instance_id)
    found = places(flow, f"xx{CANARY}", base64.b64encode(CANARY.encode()).decode())
    assert {"definitions.body", "tasks.output", f"xx{CANARY}"} <= set(found)
    assert len(found) >= (5 if flow.database.url.path is not None else 4)


def test_a_secret_reaches_the_executor_wherever_its_with_stands(
    flow: Flow, vault: Vault, lines: Lines
) -> None:
    nodes: Doc = {
        "plain": take(SECRET),
        "inside": take(
            {"auth": ["Bearer {{ secrets.bank }}", {"n": 1}], "size": "{{ secrets.bank | length }}"}
        ),
        "m": {"map": [1, 2], "do": {"nodes": {"p": take({"i": "{{ item }}", "t": SECRET})}}},
        "l": {"loop": {"times": 2}, "do": take(SECRET)},
        "late": take(SECRET, retry={"max": 1}, needs=["plain"], undo=take("undo " + SECRET)),
        "bad": {
            "run": "t.fail",
            "with": {},
            "on_error": [{"do": take("handler " + SECRET)}],
            "needs": ["late"],
        },
    }
    instance_id = flow.start(nodes, **{"finally": take("finally " + SECRET)})
    assert flow.wait(instance_id).state == "completed"
    taken = vault.taken
    assert (taken["plain"], taken["l#0"], taken["l#1"], taken["late"]) == (CANARY,) * 4
    assert taken["inside"] == {"auth": [f"Bearer {CANARY}", {"n": 1}], "size": len(CANARY)}
    assert [taken[f"m[{i}].p"] for i in (0, 1)] == [{"i": n, "t": CANARY} for n in (1, 2)]
    assert [value for path, value in taken.items() if "!" in path] == [
        f"handler {CANARY}",
        f"finally {CANARY}",
    ]
    flow.shut()
    assert places(flow, *lines.texts) == []


def test_what_people_are_shown_keeps_the_reference(flow: Flow, vault: Vault) -> None:
    instance_id = flow.start({"a": take({"token": SECRET, "auth": "Bearer {{ secrets.bank }}"})})
    assert flow.wait(instance_id).state == "completed"
    catalog = Catalog(flow.database, flow.registry, PlanCache(), executes=False)
    (task,) = ExecutionService(flow.database, catalog).tasks(instance_id)
    assert task.input == {"token": "{{ secrets.bank }}", "auth": "Bearer {{ secrets.bank }}"}
    assert vault.taken["a"]["token"] == CANARY


def test_the_command_line_prints_none(db_url: str, tmp_path: Path) -> None:
    nodes = {"a": {"run": "shell.run", "with": {"command": 'test -n "$T"', "env": {"T": SECRET}}}}
    env = {"STRATAFLOW_SECRET_BANK": CANARY}
    flow = Flow(db_url)
    with closing(Cli(db_url, tmp_path)) as cli, closing(flow.database):
        ran = cli("run", cli.flow(nodes), "--json", env=env)
        instance_id = ran.json["id"]
        outputs = [ran.out, ran.err]
        for command in ("status", "tasks", "history", "logs", "export", "explain"):
            said = cli(command, instance_id, "--json", env=env)
            outputs += [said.out, said.err]
        assert SECRET in "".join(outputs), "the task list shows the reference"
        assert places(flow, *outputs) == []
    assert check(db_url) == []


# --- where it comes from


def test_the_environment_gives_a_secret_as_written_or_in_capitals(
    flow: Flow, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRATAFLOW_SECRET_small", "as written")
    monkeypatch.setenv("STRATAFLOW_SECRET_SMALL", "capitals")
    monkeypatch.setenv("STRATAFLOW_SECRET_EMPTY", "")
    nodes = {name: take(f"{{{{ secrets.{name} }}}}") for name in ("small", "SMALL", "empty")}
    assert flow.wait(flow.start(nodes)).state == "completed"
    assert vault.taken == {"small": "as written", "SMALL": "capitals", "empty": ""}


def test_an_application_may_give_secrets_of_its_own_anew_for_each_attempt(flow: Flow, vault: Vault) -> None:
    asked: list[str] = []

    def give(name: str) -> Any:
        asked.append(name)
        return {"user": "ana", "password": CANARY, "try": len(asked)}

    flow.open(secret=give)
    instance_id = flow.start({"a": take("{{ secrets.db }}"), "b": take("{{ secrets.db.user }}", needs=["a"])})
    assert flow.wait(instance_id).state == "completed"
    assert vault.taken == {"a": {"user": "ana", "password": CANARY, "try": 1}, "b": "ana"}
    assert asked == ["db", "db"]
    flow.shut()
    assert places(flow) == []


@pytest.mark.parametrize("error", [LookupError, KeyError])
def test_what_an_application_does_not_know_is_as_clear_as_a_missing_variable(
    flow: Flow, vault: Vault, lines: Lines, error: type[Exception]
) -> None:
    def give(name: str) -> Any:
        raise error(f"no {name} in {CANARY}")

    flow.open(secret=give)
    instance_id = flow.start({"a": take("{{ secrets.nowhere }}", retry={"max": 3, "delay": "1ms"})})
    assert flow.wait(instance_id).state == "failed"
    found = error_of(flow, instance_id)
    assert (found["code"], found["path"], found["attempt"]) == ("config", "a", 1)
    assert "no secret 'nowhere'" in found["message"]
    assert "EngineConfig.secret" in found["message"]
    flow.shut()
    assert places(flow, *lines.texts) == []
    assert not [text for text in lines.texts if "Traceback" in text]


def test_a_secret_that_does_not_exist_fails_the_task_and_says_what_to_set(flow: Flow, vault: Vault) -> None:
    node = take("{{ secrets.nowhere }}", retry={"max": 3, "delay": "1ms"})
    instance_id = flow.start({"a": node, "b": take(SECRET)}, on_failure="finish")
    assert flow.wait(instance_id).state == "failed"
    error = error_of(flow, instance_id)
    assert (error["path"], error["attempt"]) == ("a", 1), "it is not tried again: the value will not come"
    for word in ("'nowhere'", "STRATAFLOW_SECRET_NOWHERE"):
        assert word in error["message"]
    assert vault.taken == {"b": CANARY}
    assert flow.moves(instance_id, "a").count("running") == 1


# --- where it may not stand


ELSEWHERE: dict[str, Doc] = {
    "when": {"a": take(1, when="{{ secrets.bank == 'x' }}")},
    "output": {"a": take(1, output=SECRET)},
    "set": {"a": {"set": {"v": SECRET}}},
    "map": {"a": {"map": SECRET, "do": take(1)}},
    "wait": {"a": {"wait": {"for": SECRET}}},
    "match": {"a": {"wait": {"signal": "go", "match": "{{ signal == secrets.bank }}"}}},
    "switch": {"a": {"switch": [{"when": "{{ secrets.bank == 'x' }}", "do": take(1)}]}},
    "loop": {"a": {"loop": {"while": "{{ secrets.bank == 'x' }}"}, "do": take(1)}},
    "handler": {"a": take(1, on_error=[{"output": SECRET}])},
    "message": {"a": take(1, on_error=[{"fail": {"code": "x.Y", "message": SECRET}}])},
}


def test_a_definition_that_would_store_a_secret_is_refused(flow: Flow, vault: Vault) -> None:
    for where, nodes in ELSEWHERE.items():
        with pytest.raises(DefinitionError) as caught:
            flow.engine.register(flow.document(nodes))
        (problem,) = caught.value.problems
        assert (problem.code, "'secrets' is known in" in problem.message) == ("unknown_root", True), where
    for key in ("key", "mutex"):
        with pytest.raises(DefinitionError):
            flow.engine.register(flow.document({"a": take(1)}, start={key: SECRET}))
    with pytest.raises(DefinitionError):
        flow.engine.register(flow.document({"a": take(1)}, output=SECRET))
    for whole in ("{{ secrets }}", "{{ secrets['ba' ~ 'nk'] }}"):
        with pytest.raises(DefinitionError) as caught:
            flow.engine.register(flow.document({"a": take(whole)}))
        assert [problem.code for problem in caught.value.problems] == ["bare_secrets"], whole


def test_a_flow_does_not_hand_a_secret_to_a_run_that_would_store_it(flow: Flow, vault: Vault) -> None:
    hand: Doc = {"flow": "below", "with": {"list": [1, {"t": "Bearer " + SECRET}]}}
    for nodes, at in (
        ({"f": hand}, "/nodes/f/with/list/1/t"),
        ({"m": {"map": [1], "do": hand}}, "/nodes/m/do/with/list/1/t"),
        ({"a": take(1, on_error=[{"do": hand}])}, "/nodes/a/on_error/0/do/with/list/1/t"),
    ):
        with pytest.raises(DefinitionError) as caught:
            flow.engine.register(flow.document(nodes))
        (problem,) = caught.value.problems
        assert (problem.code, problem.pointer) == ("secret_in_flow", at)
        assert "own node" in (problem.hint or "")


# --- failures


FAILURES: dict[str, tuple[Doc, str]] = {
    "type": ({"run": "vault.strict", "with": {"amount": SECRET}}, "config"),
    "name": ({"run": "vault.strict", "with": {"amount": 1, "more": SECRET}}, "config"),
    "filter": (take("{{ secrets.bank | int }}"), "expression"),
    "member": (take("{{ secrets.bank.inner.more }}"), "expression"),
    "sum": (take("{{ secrets.bank + 1 }}"), "expression"),
    "lookup": (take("{{ {'a': 1}[secrets.bank] }}"), "expression"),
    "http": (
        {
            "run": "http.request",
            "with": {
                "url": "http://127.0.0.1:9/{{ secrets.bank | urlencode }}",
                "headers": {"X-Token": "{{ secrets.bank | urlencode }}"},
                "json": {"t": SECRET},
            },
        },
        "http.ConnectError",
    ),
    "argv": ({"run": "shell.run", "with": {"argv": ["/no/such/program", SECRET]}}, "shell.NotStarted"),
    "exit": (
        {
            "run": "shell.run",
            "with": {"command": "cat > /dev/null; exit 3", "env": {"T": SECRET}, "input": SECRET},
        },
        "shell.ExitStatus",
    ),
    "call": (
        {"run": "python.call", "with": {"function": "math:sqrt", "args": {"x": SECRET}}},
        "python.BadArguments",
    ),
}


def test_no_failure_of_the_engine_or_of_its_own_executors_repeats_a_secret(
    flow: Flow, vault: Vault, lines: Lines
) -> None:
    nodes = {name: node for name, (node, _) in FAILURES.items()}
    instance_id = flow.start(nodes, on_failure="finish")
    assert flow.wait(instance_id).state == "failed"
    tasks = flow.tasks(instance_id)
    codes = {name: (tasks[name].state.value, str(tasks[name].error)) for name in FAILURES}
    for name, (_, code) in FAILURES.items():
        assert codes[name][0] == "failed", name
        assert f'"code":"{code}' in codes[name][1], codes[name]
    flow.shut()
    assert places(flow, *lines.texts) == []


def spill(ctx: TaskContext, config: Any) -> None:
    """Say the secret wherever an executor may say something, then fail with it."""
    token = config["t"]
    packed = base64.b64encode(f"user:{token}".encode()).decode()
    ctx.log(f"with {token} and {packed}")
    ctx.log("x" * 16_370 + token)
    ctx.progress(0.5, f"at {token}")
    try:
        raise ValueError(token)
    except ValueError as exc:
        details = {"list": [token, {f"key {token}": quote(token, safe="")}], "n": 7}
        raise Spilled(f"{'y' * 4_090}{token} of {config!r}", details=details) from exc


class Spilled(ExecutorError):
    """Raised by `spill`."""


def test_what_an_executor_says_of_its_secrets_is_hidden_before_it_is_stored(
    flow: Flow, vault: Vault, lines: Lines
) -> None:
    async def spill_on_the_loop(ctx: TaskContext, config: Any) -> None:
        spill(ctx, config)

    domain = ExecutorDomain("leaky")
    domain.executor("thread")(spill)
    domain.executor("coroutine")(spill_on_the_loop)
    domain.executor("inline", inline=True)(spill)
    flow.registry.register_executor_domain(domain)
    nodes: Doc = {
        name: {"run": f"leaky.{name}", "with": {"t": SECRET}, "retry": {"max": 1, "delay": "1ms"}}
        for name in ("thread", "coroutine", "inline")
    }
    instance_id = flow.start(nodes, on_failure="finish")
    assert flow.wait(instance_id).state == "failed"
    for name in nodes:
        error = json.loads(flow.tasks(instance_id)[name].error or "")
        assert (error["code"], error["attempt"]) == ("leaky.Spilled", 2)
        assert error["message"].startswith("y" * 4_090 + "***")
        assert error["details"] == {"list": ["***", {"key ***": "***"}], "n": 7}
    with flow.database.read() as connection:
        said = [line.message for line in views.logs(connection, instance_id, limit=1_000)]
        reported = [each.message for each in views.progress(connection, instance_id)]
    assert reported == ["at ***"] * 3
    assert sum(line.startswith("with *** and dXNlcj") for line in said) == 6
    assert sum("ValueError: ***" in line for line in said) == 6, "the traceback"
    flow.shut()
    assert places(flow, *lines.texts) == []


@pytest.mark.parametrize(
    ("secrets", "text", "shown"),
    [
        ({"a": "hunter2"}, "hunter2hunter22", "******2"),
        ({"a": "long hunter2", "b": "hunter2"}, "long hunter2, hunter2", "***, ***"),
        ({"a": "abc", "b": "", "c": 1234, "d": None}, "abc 1234", "abc 1234"),
        ({"a": {"user": "anabel", "list": ["secret"]}}, "anabel: secret", "***: ***"),
        ({"a": "a'b\"c\\\n"}, json.dumps({"t": "a'b\"c\\\n"}), '{"t": "***"}'),
        ({"a": "a'b\"c\\\n"}, repr(["a'b\"c\\\n"]), "['***']"),
        ({"a": "first line\nsecond line"}, "2: second line", "2: ***"),
        ({"a": "é/ü?.*"}, "/%C3%A9%2F%C3%BC%3F.%2A é/ü?.*", "/*** ***"),
        (None, "nothing", "nothing"),
    ],
)
def test_a_mask_knows_how_a_secret_may_be_quoted(secrets: Any, text: str, shown: str) -> None:
    assert Mask(secrets)(text) == shown
