"""Who may log in by an OpenID provider: the rules, without a provider."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from orchestrator.auth import Passwords
from orchestrator.runs.sign_on import Known, Person, Refused, domains_of, entry, is_subject, person_of

ISSUER = "https://id.example.org"
NONE: frozenset[str] = frozenset()
ANNA = {"sub": "1", "email": "Anna@Example.org", "email_verified": True, "name": "Anna"}


def test_a_person_is_who_the_verified_address_says() -> None:
    """In lower case, under any domain or one that is allowed."""
    anna = Person(ISSUER, "1", "anna@example.org", "Anna")
    assert person_of(ISSUER, ANNA, NONE) == anna
    assert person_of(ISSUER, ANNA, domains_of(" @Example.org, example.com,")) == anna


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"email_verified": False}, "unverified"),
        ({"email_verified": None}, "unverified"),
        ({"email_verified": "yes"}, "unverified"),
        ({"email_verified": 1.5}, "unverified"),
        ({"email": None}, "no_email"),
        ({"email": ["anna@example.org"]}, "no_email"),
        ({"email": "anna"}, "no_email"),
        ({"email": "anna@example.org@evil.org"}, "no_email"),
        ({"email": "anna@evil.org\nx@example.org"}, "no_email"),
        ({"email": "a" * 320 + "@example.org"}, "no_email"),
        ({"email": "anna@evil.org"}, "foreign_domain"),
        ({"email": "anna@sub.example.org"}, "foreign_domain"),
        ({"email": "anna@notexample.org"}, "foreign_domain"),
    ],
)
def test_what_is_not_vouched_for_is_refused(changed: dict[str, Any], why: str) -> None:
    """An address that is none, not verified, or of another domain, whatever it looks like."""
    assert person_of(ISSUER, {**ANNA, **changed}, frozenset({"example.org"})) == Refused(why)  # type: ignore[arg-type]


def test_a_name_is_shown_without_what_cannot_be_printed() -> None:
    """And is cut off; one that is no text is none."""
    assert person_of(ISSUER, {**ANNA, "name": "An\0na\x1b" + "a" * 300}, NONE).name == "Anna" + "a" * 196  # type: ignore[union-attr]
    assert person_of(ISSUER, {**ANNA, "name": {"first": "Anna"}}, NONE).name == ""  # type: ignore[union-attr]


def test_nobody_comes_in_who_is_disabled_or_unknown() -> None:
    """Of all that can be known of a person: the disabled never, a stranger only where people may join."""
    for facts in product((False, True), repeat=5):
        known = Known(*facts)
        for anyone in (False, True):
            how = entry(known, anyone=anyone)
            if known.disabled:
                assert how == Refused("disabled")
            elif known.member:
                assert how == (
                    Refused("other_subject") if known.other_subject else "log_in" if known.linked else "link"
                )
            elif not known.invited and not anyone:
                assert how == Refused("not_a_member")
            else:
                assert how == ("join_invited" if known.invited else "join_by_domain")


@pytest.mark.parametrize("subject", ["", "a" * 256, "ä", "a\0", None, 5])
def test_a_subject_is_a_short_printable_text(subject: object) -> None:
    """Anything else is no name of a person."""
    assert not is_subject(subject)
    assert is_subject("a" * 255)


@pytest.mark.anyio
async def test_a_user_without_a_password_has_none_that_fits() -> None:
    """Not even the one that takes its place while time is being spent."""
    passwords = Passwords()
    for tried in ("", "nobody has this password"):
        assert not await passwords.fits(tried, "")
        assert not await passwords.fits(tried, None)
