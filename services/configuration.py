"""Every setting of a process, in one table: its name in the file, its flag, its variable in the environment.

Pure: nothing is read here. docs/configuration.md shows the same table, and a test holds the two equal. A flag counts
more than a variable of the environment, that more than the file, and that more than the default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from ..engine.durations import parse_duration

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
Kind = Literal["text", "choice", "integer", "number", "boolean", "duration", "list", "url", "urls"]
Value = str | int | float | bool | tuple[str, ...] | None


@dataclass(slots=True, frozen=True, kw_only=True)
class Setting:
    """One thing that a process may be told."""

    #: `slots` in the section `engine` of the file: `engine.slots`.
    key: str
    kind: Kind
    default: Value
    about: str
    #: Without it: only in the environment and in the file.
    flag: str | None = None
    #: What `--flag` takes, for people.
    metavar: str | None = None
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    #: A duration that may also be the word `never`.
    never: bool = False
    #: The variable's name where it is not made of the key.
    variable: str | None = None

    @property
    def section(self) -> str:
        """Its table in the file; empty at the top."""
        return self.key.rpartition(".")[0]

    @property
    def name(self) -> str:
        """Its name in its table."""
        return self.key.rpartition(".")[2]

    @property
    def env(self) -> str:
        """Its variable in the environment."""
        return self.variable or f"STRATAFLOW_{self.name.upper()}"

    @property
    def off_flag(self) -> str | None:
        """What switches a boolean off."""
        return f"--no-{self.flag[2:]}" if self.kind == "boolean" and self.flag else None


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
        key="server.host",
        kind="text",
        default="127.0.0.1",
        flag="--host",
        metavar="ADDRESS",
        about="Where to listen.",
    ),
    Setting(
        key="server.port",
        kind="integer",
        default=8080,
        low=0,
        high=65_535,
        flag="--port",
        metavar="N",
        about="The port; 0 takes a free one.",
    ),
    Setting(
        key="server.namespaces",
        kind="urls",
        default=(),
        flag="--namespace",
        metavar="NAME=URL",
        about="Databases to serve, each under a name; none named is `main`, the database of `db`.",
    ),
    Setting(
        key="server.engine",
        kind="boolean",
        default=True,
        flag="--engine",
        about="Execute tasks too; off serves the interface alone.",
    ),
    Setting(
        key="server.allow_hosts",
        kind="list",
        default=(),
        flag="--allow-host",
        metavar="NAME",
        about="Host names that requests may be sent to. Without any: on a loopback address this machine's, else all.",
    ),
    Setting(
        key="server.root_path",
        kind="text",
        default="",
        flag="--root-path",
        metavar="PATH",
        about="The path that a balancer takes away before it hands a request on: /flows.",
    ),
    Setting(
        key="server.trusted_proxies",
        kind="list",
        default=(),
        flag="--trusted-proxy",
        metavar="ADDRESS",
        about="Addresses or networks whose X-Forwarded headers are believed.",
    ),
    Setting(
        key="server.tls_cert",
        kind="text",
        default=None,
        flag="--tls-cert",
        metavar="FILE",
        about="Certificate chain, PEM; with it the server speaks HTTPS.",
    ),
    Setting(
        key="server.tls_key",
        kind="text",
        default=None,
        flag="--tls-key",
        metavar="FILE",
        about="The certificate's private key, PEM, without a password.",
    ),
    Setting(
        key="server.max_body",
        kind="integer",
        default=4 * 1024 * 1024,
        low=1024,
        high=1024**3,
        flag="--max-body",
        metavar="BYTES",
        about="The largest body of a request.",
    ),
    Setting(
        key="server.max_depth",
        kind="integer",
        default=64,
        low=4,
        high=500,
        flag="--max-depth",
        metavar="N",
        about="Levels of lists and objects in a body.",
    ),
    Setting(
        key="server.rate",
        kind="number",
        default=200.0,
        low=0,
        high=1_000_000,
        flag="--rate",
        metavar="N",
        about="Requests a second of one key; 0 is no limit.",
    ),
    Setting(
        key="server.burst",
        kind="integer",
        default=400,
        low=1,
        high=1_000_000,
        flag="--burst",
        metavar="N",
        about="Requests of one key at once.",
    ),
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
        "log_attempts": values["log.attempts"],
    }


def seconds(text: str) -> float | None:
    """A duration that has been checked, in seconds; None for `never`."""
    return None if text == NEVER else parse_duration(text) / 1_000_000
