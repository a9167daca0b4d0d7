"""Sealed values: they open in their place, with a master secret that is at hand, and nowhere else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.vault import Sealed, Vault


@given(st.binary(max_size=300), st.text(max_size=30))
def test_what_is_sealed_can_be_opened_and_never_looks_the_same(value: bytes, context: str) -> None:
    """Any bytes, any context; two seals of one value differ, and neither holds it."""
    vault = Vault(b"secret", "test")
    first, second = vault.seal(context, value), vault.seal(context, value)
    assert vault.open(context, first) == vault.open(context, second) == value
    assert first != second
    assert len(value) < 4 or value not in first


@given(st.integers(0, 43), st.integers(1, 255))
def test_a_changed_value_does_not_open(place: int, change: int) -> None:
    """Any byte exchanged: key id, nonce, ciphertext or tag."""
    vault = Vault(b"secret", "test")
    sealed = bytearray(vault.seal("here", b"value..."))
    sealed[place] ^= change
    with pytest.raises(Sealed):
        vault.open("here", bytes(sealed))


@pytest.mark.parametrize("short", [b"", b"1234", b"12345678", b"x" * 20])
def test_noise_does_not_open(short: bytes) -> None:
    """Too short to be a sealed value, under a key that is not ours or that is."""
    vault = Vault(b"secret", "test")
    for sealed in (short, bytes.fromhex(vault.key_id) + short):
        with pytest.raises(Sealed):
            vault.open("here", sealed)


def test_a_value_is_bound_to_its_place_and_purpose() -> None:
    """Moved to another row, or opened for another purpose, it is refused."""
    sealed = Vault(b"secret", "one").seal("organisation a", b"value")
    with pytest.raises(Sealed):
        Vault(b"secret", "one").open("organisation b", sealed)
    with pytest.raises(Sealed):
        Vault(b"secret", "two").open("organisation a", sealed)


def test_an_old_secret_opens_while_a_new_one_seals() -> None:
    """`new,old` opens what `old` sealed; what it seals, `old` alone cannot open."""
    old, both, new = Vault(b"old", "test"), Vault(b"new, old", "test"), Vault(b"new", "test")
    assert both.open("here", old.seal("here", b"value")) == b"value"
    assert both.key_id == new.key_id != old.key_id
    with pytest.raises(Sealed):
        old.open("here", both.seal("here", b"value"))
