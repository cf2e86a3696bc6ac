"""A sealed text opens with its master key, in its place, and not otherwise; nothing tells what is in it."""

from __future__ import annotations

import builtins
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strataflow.engine.vault import Place, Vault, VaultError, key_id_of, new_master_key

HERE = Place("17", "secret", "bank", 1)
OLD, NEW = new_master_key("old"), new_master_key("new")
CANARY = "hunter2"


def vault(*keys: str) -> Vault:
    return Vault.from_environment({"STRATAFLOW_MASTER_KEYS": ",".join(keys)})


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_what_was_sealed_opens(text: str) -> None:
    assert vault(NEW).open(vault(NEW).seal(text, HERE), HERE) == text


@pytest.mark.parametrize(
    "place",
    [
        Place("18", "secret", "bank", 1),
        Place("17", "webhook", "bank", 1),
        Place("17", "secret", "other", 1),
        Place("17", "secret", "bank", 2),
        Place("17", "secretbank", "", 1),
    ],
)
def test_it_opens_nowhere_else(place: Place) -> None:
    sealed = vault(NEW).seal(CANARY, HERE)
    for call in (vault(NEW).open, vault(NEW).rewrap):
        with pytest.raises(VaultError, match="does not open") as caught:
            call(sealed, place)
        assert caught.value.lasting


def test_no_part_of_it_can_be_changed_or_taken_from_another() -> None:
    sealed, other = (vault(NEW).seal(text, HERE) for text in (CANARY, "another"))
    parts, others = sealed.split("."), other.split(".")
    for at in (2, 3):
        mixed = ".".join([*parts[:at], others[at], *parts[at + 1 :]])
        flipped = ".".join(
            [*parts[:at], ("B" if parts[at][0] == "A" else "A") + parts[at][1:], *parts[at + 1 :]]
        )
        for wrong in (mixed, flipped):
            with pytest.raises(VaultError):
                vault(NEW).open(wrong, HERE)
    for wrong in (
        "",
        "v1",
        "v2" + sealed[2:],
        sealed + ".",
        sealed.replace(".new.", ". ."),
        "v1.new..",
        "v1.new.a.b",
    ):
        with pytest.raises(VaultError):
            vault(NEW).open(wrong, HERE)


def test_the_same_text_is_sealed_differently_each_time() -> None:
    assert len({part for _ in range(9) for part in vault(NEW).seal(CANARY, HERE).split(".")[2:]}) == 18


def test_the_first_key_seals_and_all_of_them_open() -> None:
    before = vault(OLD).seal(CANARY, HERE)
    both = vault(NEW, OLD)
    assert (both.key_id, both.key_ids) == ("new", ("new", "old"))
    assert key_id_of(both.seal("x", HERE)) == "new"
    assert both.open(before, HERE) == CANARY


def test_rewrapping_changes_the_key_alone() -> None:
    before = vault(OLD).seal(CANARY, HERE)
    after = vault(NEW, OLD).rewrap(before, HERE)
    assert (key_id_of(before), key_id_of(after)) == ("old", "new")
    assert before.split(".")[3] == after.split(".")[3]
    assert vault(NEW).open(after, HERE) == CANARY
    with pytest.raises(VaultError, match="master key 'new', which is not here"):
        vault(OLD).open(after, HERE)


def test_another_key_of_the_same_id_opens_nothing() -> None:
    with pytest.raises(VaultError, match="another key of the same id"):
        vault(new_master_key("new")).open(vault(NEW).seal(CANARY, HERE), HERE)


def test_without_a_key_nothing_is_sealed_and_the_way_out_is_told() -> None:
    with pytest.raises(VaultError, match="secrets new-master-key"):
        Vault({}).seal(CANARY, HERE)
    with pytest.raises(VaultError, match="'new'"):
        Vault({}).open(vault(NEW).seal(CANARY, HERE), HERE)


# --- where keys come from


def test_keys_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"{NEW}\n{OLD}\n")
    found = Vault.from_environment({"STRATAFLOW_MASTER_KEYS_FILE": str(file)})
    assert found.key_ids == ("new", "old")
    assert found.open(vault(NEW).seal(CANARY, HERE), HERE) == CANARY


RAW = b64encode(b"k" * 32).decode()


@pytest.mark.parametrize(
    "environment",
    [
        {"STRATAFLOW_MASTER_KEYS": RAW},
        {"STRATAFLOW_MASTER_KEYS": f"a b:{RAW}"},
        {"STRATAFLOW_MASTER_KEYS": f"a:{RAW[:-4]}"},
        {"STRATAFLOW_MASTER_KEYS": f"a:{RAW[:-1]}"},
        {"STRATAFLOW_MASTER_KEYS": "a:é"},
        {"STRATAFLOW_MASTER_KEYS": f"a:{RAW},a:{RAW}"},
        {"STRATAFLOW_MASTER_KEYS": f"a:{RAW}", "STRATAFLOW_MASTER_KEYS_FILE": "x"},
        {"STRATAFLOW_MASTER_KEYS_FILE": "/no/such/file"},
        {"STRATAFLOW_MASTER_KEYS_FILE": "."},
    ],
)
def test_wrong_keys_are_refused_and_not_repeated(environment: dict[str, str]) -> None:
    with pytest.raises(VaultError) as caught:
        Vault.from_environment(environment)
    assert RAW[:8] not in str(caught.value)


def test_nothing_shows_a_key() -> None:
    made = new_master_key("k1")
    assert made.partition(":")[2] not in repr(vault(made))
    assert repr(vault(made)) == "Vault(k1)"
    assert new_master_key() != new_master_key()
    with pytest.raises(VaultError):
        new_master_key("no:id")


def test_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *more: Any) -> Any:
        if name.startswith("cryptography"):
            raise ImportError(name)
        return real(name, *more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(VaultError, match=r"pip install 'strataflow\[server\]'"):
        vault(NEW).seal(CANARY, HERE)
