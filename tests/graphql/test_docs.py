"""What docs/graphql.md shows is run: every document of it, and its numbers are the settings' own."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

from strataflow.api.graphql.limits import GraphQLLimits
from strataflow.api.graphql.schema import build
from tests.graphql.conftest import Ask
from tests.rest.conftest import GATED, HELLO, Served

PAGE = (Path(__file__).parents[2] / "docs" / "graphql.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"```graphql\n(.*?)```(?:\s*```json variables\n(.*?)```)?", re.DOTALL)


def test_every_example_is_answered(api: Served, token: str, gql: Ask) -> None:
    api("POST", "/definitions", token=token, status=201, json={"definition": HELLO, "activate": True})
    run = api("POST", "/instances?wait=30s", token=token, status=201, json={"definition": "hello"}).json()[
        "id"
    ]
    waiting = api("POST", "/instances", token=token, status=201, json={"definition": GATED}).json()["id"]
    found = BLOCK.findall(PAGE)
    assert len(found) >= 6
    for document, variables in found:
        given = json.loads(variables.replace("INSTANCE", run).replace("WAITING", waiting) or "{}")
        answer = gql(document, **given)
        assert all(value is not None for value in answer.values()), document


def test_the_numbers_are_those_of_the_settings() -> None:
    said = dict(re.findall(r"^\| `(\w+)` \| ([\d.,]+) \|", PAGE, re.MULTILINE))
    limits = GraphQLLimits()
    assert said == {each.name: f"{getattr(limits, each.name):,}" for each in dataclasses.fields(limits)}


def test_every_mutation_stands_in_the_table() -> None:
    table = PAGE[PAGE.index("| mutations | scope |") :].partition("\n\n")[0]
    for (kind, name), found in build().facts.items():
        if kind == "Mutation":
            (line,) = (line for line in table.splitlines() if f"`{name}`" in line)
            assert line.endswith(f"`{' '.join(map(str, found.needs))}` |")
