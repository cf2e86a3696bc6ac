"""Names and executors."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from strataflow.executors.base import TaskContext
from strataflow.executors.errors import (
    DuplicateExecutor,
    ExecutorDisabled,
    InvalidExecutor,
    UnknownExecutor,
    error_from_exception,
)
from strataflow.executors.registry import ExecutorDomain, ExecutorRegistry
from tests.unit.test_executors_base import context


def plain(_ctx: TaskContext, config: Any) -> Any:
    """Give back the config.

    And more words.
    """
    return config


async def coroutine(_ctx: TaskContext, config: Any) -> Any:
    return config


class Charger:
    """Charge a card."""

    made = 0

    def __init__(self) -> None:
        type(self).made += 1

    async def execute(self, _ctx: TaskContext, config: Any) -> Any:
        return config


@pytest.fixture
def registry() -> ExecutorRegistry:
    return ExecutorRegistry()


@pytest.mark.row("X-22")
def test_register_get_list_and_unregister(registry: ExecutorRegistry) -> None:
    entry = registry.register_executor("bank.charge", plain)
    registry.register_executor("bank.refund", coroutine)
    registry.register_executor("mail.send", Charger)
    assert registry.get_executor("bank.charge") is entry
    assert [each.name for each in registry.list_executors()] == ["bank.charge", "bank.refund", "mail.send"]
    assert [each.name for each in registry.list_executors("bank")] == ["bank.charge", "bank.refund"]
    assert registry.unregister_executor("bank.charge") is entry
    with pytest.raises(UnknownExecutor, match=r"bank\.charge"):
        registry.get_executor("bank.charge")
    with pytest.raises(UnknownExecutor):
        registry.unregister_executor("bank.charge")


@pytest.mark.row("X-22")
def test_a_name_is_taken_once_unless_replaced(registry: ExecutorRegistry) -> None:
    first = registry.register_executor("bank.charge", plain)
    with pytest.raises(DuplicateExecutor, match=r"bank\.charge is registered already"):
        registry.register_executor("bank.charge", coroutine)
    assert registry.get_executor("bank.charge") is first
    second = registry.register_executor("bank.charge", coroutine, replace=True)
    assert registry.get_executor("bank.charge") is second


class Mute:
    """Has no execute."""


class Needy:
    def __init__(self, url: str) -> None:
        self.url = url

    def execute(self, _ctx: TaskContext, _config: Any) -> None: ...


class Hooked:
    def execute(self, _ctx: TaskContext, _config: Any) -> None: ...

    def cleanup(self, _ctx: TaskContext) -> None: ...


class AsyncCheck:
    def execute(self, _ctx: TaskContext, _config: Any) -> None: ...

    async def validate_config(self, _config: Any) -> None: ...


def generator(_ctx: TaskContext, _config: Any) -> Iterator[int]:
    yield 1


async def async_generator(_ctx: TaskContext, _config: Any) -> Any:
    yield 1


@pytest.mark.row("X-22")
@pytest.mark.parametrize(
    ("executor", "told"),
    [
        (Mute, r"the class Mute cannot be bank\.charge: it has no method execute\(ctx, config\)"),
        (Mute(), r"bank\.charge cannot be a Mute: it is no function and has no execute"),
        (3, "cannot be a int"),
        (None, "cannot be a NoneType"),
        (Needy, "Needy cannot be created without arguments .* register an instance instead"),
        (generator, "is a generator"),
        (async_generator, "is a generator"),
        (lambda: 1, "which .* does not take"),
        (lambda a, b, c: 1, "which .* does not take"),  # noqa: ARG005
        (AsyncCheck, "validate_config of bank.charge must not be async"),
    ],
)
def test_what_cannot_be_an_executor_is_refused(registry: ExecutorRegistry, executor: Any, told: str) -> None:
    with pytest.raises(InvalidExecutor, match=told):
        registry.register_executor("bank.charge", executor)
    assert registry.list_executors() == []


@pytest.mark.parametrize(
    "name",
    ["charge", "Bank.charge", "bank.Charge", "bank.", ".charge", "a.b.c", "1a.b", "a-b.c", "a.b\n", "ä.b"],
)
def test_a_name_has_two_plain_parts(registry: ExecutorRegistry, name: str) -> None:
    with pytest.raises(InvalidExecutor, match="is no executor name"):
        registry.register_executor(name, plain)


@pytest.mark.parametrize(
    ("executor", "is_async", "description"),
    [
        (plain, False, "Give back the config."),
        (coroutine, True, ""),
        (Charger, True, "Charge a card."),
        (Needy("x"), False, ""),
        (functools.partial(plain), False, ""),
        (functools.partial(coroutine), True, ""),
    ],
)
def test_what_an_entry_knows(
    *, registry: ExecutorRegistry, executor: Any, is_async: bool, description: str
) -> None:
    entry = registry.register_executor("bank.charge", executor)
    assert (entry.name, entry.domain) == ("bank.charge", "bank")
    assert (entry.is_async, entry.inline, entry.hooks) == (is_async, False, None)
    assert entry.description == description
    answer = entry.call(context(), {"n": 1})
    assert (asyncio.run(answer) if is_async else answer) in ({"n": 1}, None)


def test_a_class_is_instantiated_once(registry: ExecutorRegistry) -> None:
    Charger.made = 0
    bank = ExecutorDomain("bank")
    assert bank.executor("charge")(Charger) is Charger
    assert Charger.made == 0
    registry.register_executor_domain(bank)
    ExecutorRegistry().register_executor_domain(bank)
    assert Charger.made == 1


def test_a_callable_object_with_an_async_call_is_async(registry: ExecutorRegistry) -> None:
    class Caller:
        async def __call__(self, _ctx: TaskContext, config: Any) -> Any:
            return config

    assert registry.register_executor("bank.charge", Caller()).is_async


def test_a_domain_registers_all_or_nothing(registry: ExecutorRegistry) -> None:
    registry.register_executor("bank.refund", plain)
    registry.register_executor("bank.close", plain)
    bank = ExecutorDomain("bank")
    for name in ("charge", "refund", "close"):
        bank.executor(name)(coroutine)
    with pytest.raises(DuplicateExecutor, match=r"bank\.refund, bank\.close are registered already"):
        registry.register_executor_domain(bank)
    with pytest.raises(UnknownExecutor):
        registry.get_executor("bank.charge")


def test_the_same_domain_again_changes_nothing(registry: ExecutorRegistry) -> None:
    bank = ExecutorDomain("bank")
    bank.executor("charge", description="Take money.")(coroutine)
    first = registry.register_executor_domain(bank)
    assert registry.register_executor_domain(bank) == first
    assert first[0].description == "Take money."


def test_a_domain_by_name_and_mapping(registry: ExecutorRegistry) -> None:
    entries = registry.register_executor_domain("bank", {"charge": plain, "refund": coroutine})
    assert [entry.name for entry in entries] == ["bank.charge", "bank.refund"]
    with pytest.raises(InvalidExecutor, match="brings its own"):
        registry.register_executor_domain(ExecutorDomain("bank"), {"charge": plain})


def test_a_domain_is_checked_where_it_is_written() -> None:
    with pytest.raises(InvalidExecutor, match="is no domain name"):
        ExecutorDomain("bank.eu")
    bank = ExecutorDomain("bank")
    bank.executor("charge")(plain)
    with pytest.raises(DuplicateExecutor, match="declared twice"):
        bank.executor("charge")(coroutine)
    with pytest.raises(InvalidExecutor, match="no method execute"):
        bank.executor("mute")(Mute)


@pytest.mark.parametrize("executor", [coroutine, Hooked])
def test_inline_is_for_plain_functions(executor: Any) -> None:
    bank = ExecutorDomain("bank")
    bank.executor("charge", inline=True)(executor)
    with pytest.raises(InvalidExecutor, match="cannot be inline"):
        ExecutorRegistry().register_executor_domain(bank)


def test_an_unknown_name_is_told_with_a_near_one(registry: ExecutorRegistry) -> None:
    with pytest.raises(UnknownExecutor, match="known domains: none"):
        registry.get_executor("bank.charge")
    registry.register_executor("bank.charge", plain)
    with pytest.raises(UnknownExecutor, match=r"did you mean 'bank\.charge'\?") as caught:
        registry.get_executor("bank.charg")
    error = error_from_exception(caught.value, "bank")
    assert (error.code, error.retryable) == ("no_executor", False)
    assert "bank.charg" in error.message


def test_domains_and_executors_can_be_switched_off() -> None:
    registry = ExecutorRegistry(allow={"shell": False, "shell.echo": True, "python.call": False})
    for name in ("shell.run", "shell.echo", "python.call", "python.other"):
        registry.register_executor(name, plain)
    assert [entry.name for entry in registry.list_executors()] == ["python.other", "shell.echo"]
    assert len(registry.list_executors(include_disabled=True)) == 4
    assert registry.get_executor("shell.echo").name == "shell.echo"
    with pytest.raises(ExecutorDisabled, match=r"allow=\{'shell': True\}"):
        registry.get_executor("shell.run")
    with pytest.raises(ExecutorDisabled, match=r"allow=\{'python.call': True\}"):
        registry.config_problems("python.call", {})


def test_configs_are_checked_by_name(registry: ExecutorRegistry) -> None:
    schema = {"type": "object", "required": ["card"]}
    registry.register_executor("bank.charge", plain, config=schema)
    assert registry.config_schema("bank.charge") == schema
    assert registry.config_problems("bank.charge", {}) == [("/card", "this key is required")]
    with pytest.raises(UnknownExecutor):
        registry.config_problems("bank.other", {})


def checker(answer: Any, *, is_async: bool = False) -> object:
    class Checked:
        def execute(self, _ctx: TaskContext, _config: Any) -> None: ...

    def check() -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer() if callable(answer) else answer

    async def check_async() -> Any:
        return check()

    checked = Checked()
    checked.health_check = check_async if is_async else check  # type: ignore[attr-defined]
    return checked


def test_health_checks_are_called_and_reported(registry: ExecutorRegistry) -> None:
    stuck = threading.Event()
    registry.register_executor("a.none", plain)
    registry.register_executor("a.fine", checker(None))
    registry.register_executor("a.true", checker(True, is_async=True))
    registry.register_executor("a.false", checker(False))
    registry.register_executor("a.text", checker("disk is full"))
    registry.register_executor("a.error", checker(OSError("no route"), is_async=True))
    registry.register_executor("a.stuck", checker(stuck.wait))
    report = asyncio.run(registry.health(timeout_s=0.3))
    stuck.set()
    assert report == {
        "a.fine": "ok",
        "a.true": "ok",
        "a.false": "the health check answered False",
        "a.text": "disk is full",
        "a.error": "OSError: no route",
        "a.stuck": "no answer within 0.3 s",
    }
