"""The domain `user`: what a workflow may do with users. Three ways to write an executor.

- `user.validator`: a class, with a check of its config beyond the schema;
- `user.creator`: a synchronous function, run in a thread, made repeatable by the idempotency key;
- `user.notifier`: a coroutine.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, Field

from acme_users.store import EmailTaken, UserStore
from strataflow import ExecutorDomain, NonRetryable, TaskContext

__all__ = ["user"]

user: Final = ExecutorDomain("user")

EMAIL: Final = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+")


class AddressInUse(NonRetryable):
    """Raised when another user has the address; trying again cannot help."""


class ValidatorConfig(BaseModel):
    """One record as it came in; nothing is known about it yet."""

    record: dict[str, Any]
    max_length: int = Field(default=80, ge=1)
    allowed_domains: list[str] = []


@user.executor("validator", config=ValidatorConfig)
class Validator:
    """Say what is wrong with a record, and give it back in its clean form."""

    def validate_config(self, config: ValidatorConfig) -> list[str]:
        """Refuse what the schema lets pass; asked when a definition is checked, and before each attempt."""
        return [f"{name!r} is no domain of addresses" for name in config.allowed_domains if "@" in name]

    def execute(self, ctx: TaskContext, config: ValidatorConfig) -> dict[str, Any]:
        """Check one record. What is wrong with the data is a result and not an error."""
        name = str(config.record.get("name") or "").strip()
        email = str(config.record.get("email") or "").strip().lower()
        problems: list[str] = []
        if not name:
            problems.append("the name is missing")
        elif len(name) > config.max_length:
            problems.append(f"the name has {len(name)} characters, more than {config.max_length}")
        if not EMAIL.fullmatch(email):
            problems.append(f"{email!r} is no e-mail address")
        elif config.allowed_domains and email.partition("@")[2] not in config.allowed_domains:
            problems.append(f"{email!r} is not of {', '.join(config.allowed_domains)}")
        for problem in problems:
            ctx.log(problem, "warning")
        return {"valid": not problems, "problems": problems, "name": name, "email": email}


class CreatorConfig(BaseModel):
    """A user to be."""

    store: Path
    name: str = Field(min_length=1)
    email: str = Field(pattern=EMAIL.pattern)


@user.executor("creator", config=CreatorConfig)
def create(ctx: TaskContext, config: CreatorConfig) -> dict[str, Any]:
    """Create a user, once however often the task is attempted; return {id, name, email}."""
    try:
        found = UserStore(config.store).create(email=config.email, name=config.name, key=ctx.idempotency_key)
    except EmailTaken as exc:
        raise AddressInUse(f"{exc} belongs to another user") from exc
    ctx.log(f"user {found.id} is {found.email}")
    return {"id": found.id, "name": found.name, "email": found.email}


class NotifierConfig(BaseModel):
    """A message."""

    outbox: Path
    to: str
    subject: str
    text: str


@user.executor("notifier", config=NotifierConfig)
async def notify(ctx: TaskContext, config: NotifierConfig) -> dict[str, Any]:
    """Put a message into the outbox folder, once per task; return {file}."""
    name = hashlib.sha256(ctx.idempotency_key.encode()).hexdigest()[:16]
    file = config.outbox / f"{name}.json"
    message = {"to": config.to, "subject": config.subject, "text": config.text}
    await asyncio.to_thread(_put, file, json.dumps(message))
    return {"file": file.name}


def _put(file: Path, text: str) -> None:
    """Write a file whole or not at all: whoever empties the outbox never reads half a message."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_suffix(".tmp")
    draft.write_text(text, encoding="utf-8")
    draft.replace(file)
