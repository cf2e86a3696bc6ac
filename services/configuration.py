"""Every setting of a process, in one table: its name in the file, its flag, its variable in the environment.

Pure: nothing is read here. docs/configuration.md shows the same table, and a test holds the two equal. A flag counts
more than a variable of the environment, that more than the file, and that more than the default.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ..engine.durations import parse_duration
from .configuration_server import SERVER_SETTINGS
from .setting import Kind, Setting, Value

__all__ = [
    "NEVER",
    "SETTINGS",
    "Kind",
    "Setting",
    "Value",
    "by_key",
    "engine_fields",
    "seconds",
    "shown",
]

#: What a duration without an end is called.
NEVER: Final = "never"
SETTINGS: Final[tuple[Setting, ...]] = (
    Setting(
        key="db",
        kind="url",
        default="sqlite:///strataflow.db",
        flag="--db",
        metavar="URL",
        about="The database. STRATAFLOW_DB_FILE names a file that holds the URL.",
    ),
    Setting(
        key="import",
        kind="list",
        default=(),
        flag="--import",
        metavar="MODULE",
        about="Modules or .py files with executors of your own.",
    ),
    Setting(
        key="engine.slots",
        kind="integer",
        default=100,
        low=1,
        high=100_000,
        flag="--slots",
        metavar="N",
        about="Tasks at a time in each process.",
    ),
    Setting(
        key="engine.threads",
        kind="integer",
        default=32,
        low=1,
        high=10_000,
        flag="--threads",
        metavar="N",
        about="Threads for executors that are plain functions.",
    ),
    Setting(
        key="engine.queues",
        kind="list",
        default=(),
        flag="--queue",
        metavar="NAME",
        about="Serve these queues only; none named is all of them. `worker` and `serve` alone.",
    ),
    Setting(
        key="engine.grace",
        kind="duration",
        default="10s",
        flag="--grace",
        metavar="DURATION",
        about="How long running tasks may go on after a stop. `worker` and `serve` alone.",
    ),
    Setting(
        key="engine.poll",
        kind="duration",
        default="1s",
        low=0.01,
        high=3600,
        flag="--poll",
        metavar="DURATION",
        about="How often an idle engine looks for work by itself.",
    ),
    Setting(
        key="engine.recovery",
        kind="duration",
        default="2s",
        low=0.05,
        high=3600,
        flag="--recovery",
        metavar="DURATION",
        about="How often an engine looks for engines that are gone.",
    ),
    Setting(
        key="engine.lease",
        kind="duration",
        default="30s",
        low=1,
        high=86_400,
        flag="--lease",
        metavar="DURATION",
        about="How long an engine may be silent before others take its tasks.",
    ),
    Setting(
        key="engine.lease_margin",
        kind="duration",
        default="3s",
        low=0,
        high=86_400,
        flag="--lease-margin",
        metavar="DURATION",
        about="By how much an engine stops trusting its own lease earlier.",
    ),
    Setting(
        key="engine.missing_executor",
        kind="duration",
        default="60s",
        never=True,
        flag="--missing-executor",
        metavar="DURATION",
        about="A task whose executor no live engine has fails after this time; `never` lets it wait.",
    ),
    Setting(
        key="engine.notify",
        kind="boolean",
        default=True,
        flag="--notify",
        about="Use LISTEN and NOTIFY on Postgres; off behind a pooler of transactions.",
    ),
    Setting(
        key="engine.tune_gc",
        kind="boolean",
        default=True,
        flag="--tune-gc",
        about="Let Python's garbage collector run later, in the whole process.",
    ),
    Setting(
        key="engine.egress",
        kind="choice",
        default="auto",
        choices=("auto", "any", "public"),
        flag="--egress",
        about="Where `http.request` may go: `public` is public addresses and what is allowed; `auto` is `public` for "
        "serve, `any` elsewhere.",
    ),
    Setting(
        key="engine.egress_allow",
        kind="list",
        default=(),
        flag="--egress-allow",
        metavar="NETWORK",
        about="Private networks that webhooks and guarded requests may reach, such as 10.1.0.0/16.",
    ),
    *SERVER_SETTINGS,
    Setting(
        key="log.format",
        kind="choice",
        default="text",
        choices=("text", "json"),
        variable="STRATAFLOW_LOG_FORMAT",
        flag="--log-format",
        metavar="text|json",
        about="Lines for people, or one JSON object a line.",
    ),
    Setting(
        key="log.level",
        kind="choice",
        default="warning",
        choices=("debug", "info", "warning", "error"),
        variable="STRATAFLOW_LOG_LEVEL",
        flag="--log-level",
        metavar="LEVEL",
        about="The least level that is written: debug, info, warning or error.",
    ),
    Setting(
        key="telemetry.port",
        kind="integer",
        default=None,
        low=0,
        high=65_535,
        variable="STRATAFLOW_METRICS_PORT",
        flag="--metrics-port",
        metavar="N",
        about="Show metrics to Prometheus at a port of their own, without a key; 0 takes a free one.",
    ),
    Setting(
        key="telemetry.host",
        kind="text",
        default="127.0.0.1",
        variable="STRATAFLOW_METRICS_HOST",
        flag="--metrics-host",
        metavar="ADDRESS",
        about="The address of that port.",
    ),
    Setting(
        key="log.attempts",
        kind="boolean",
        default=False,
        variable="STRATAFLOW_LOG_ATTEMPTS",
        flag="--log-attempts",
        about="Give records the attempt that they belong to, and write what executors say by `ctx.log` too.",
    ),
)
_BY_KEY: Final = {setting.key: setting for setting in SETTINGS}


def by_key(key: str) -> Setting:
    """The setting of a key. Raises KeyError."""
    return _BY_KEY[key]


def shown(setting: Setting, value: Value) -> Any:
    """A value as it may be shown: URLs without their passwords, lists as lists."""
    if isinstance(value, tuple):
        return [_without_password(each) if setting.kind == "urls" else each for each in value]
    return _without_password(value) if setting.kind == "url" and isinstance(value, str) else value


def _without_password(text: str) -> str:
    from ..repositories.url import DatabaseUrl

    name, equals, url = text.partition("=") if "=" in text.partition("://")[0] else ("", "", text)
    try:
        parsed = DatabaseUrl.parse(url)
    except ValueError:
        return f"{name}{equals}***"
    return f"{name}{equals}{url if parsed.path is not None else parsed.label}"


def engine_fields(values: Mapping[str, Any]) -> dict[str, Any]:
    """The container's options for an engine, from values by key."""
    return {
        "slots": values["engine.slots"],
        "threads": values["engine.threads"],
        "queues": tuple(values["engine.queues"]),
        "grace_s": seconds(values["engine.grace"]),
        "poll_s": seconds(values["engine.poll"]),
        "recovery_s": seconds(values["engine.recovery"]),
        "lease_s": seconds(values["engine.lease"]),
        "lease_margin_s": seconds(values["engine.lease_margin"]),
        "missing_executor_s": seconds(values["engine.missing_executor"]),
        "notify": values["engine.notify"],
        "tune_gc": values["engine.tune_gc"],
        "egress": values["engine.egress"],
        "egress_allow": tuple(" ".join(values["engine.egress_allow"]).replace(",", " ").split()),
        "log_attempts": values["log.attempts"],
    }


def seconds(text: str) -> float | None:
    """A duration that has been checked, in seconds; None for `never`."""
    return None if text == NEVER else parse_duration(text) / 1_000_000
