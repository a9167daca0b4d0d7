"""Who may log in by an OpenID provider, from what it said of them and what we know. Pure; it verifies no signature."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, Literal

from msgspec import Struct

LONGEST_SUBJECT: Final = 255
LONGEST_EMAIL: Final = 320
LONGEST_NAME: Final = 200
_EMAIL: Final = re.compile(r"[^@\s\x00-\x1f]+@([^@\s\x00-\x1f]+)")


class Person(Struct, frozen=True):
    """Whom the provider vouches for; the address is verified and in lower case."""

    issuer: str
    subject: str
    email: str
    name: str


class Known(Struct, frozen=True):
    """What we know of a person. linked: we know the subject; other_subject: their address is another subject's."""

    disabled: bool = False
    linked: bool = False
    other_subject: bool = False
    member: bool = False
    invited: bool = False


Entry = Literal["log_in", "link", "join_invited", "join_by_domain"]
Refusal = Literal["no_email", "unverified", "foreign_domain", "disabled", "other_subject", "not_a_member"]


class Refused(Struct, frozen=True):
    """A person is not let in."""

    why: Refusal


WORDS: Final[dict[Refusal, str]] = {
    "no_email": "The provider did not tell your e-mail address.",
    "unverified": "The provider has not verified your e-mail address.",
    "foreign_domain": "People with this e-mail domain may not log in here by single sign-on.",
    "disabled": "Your account here is disabled. Ask an administrator.",
    "other_subject": "Your e-mail address belongs to another account of the provider. Ask an administrator.",
    "not_a_member": "You are not a member here. Ask an administrator to invite you.",
}


def person_of(issuer: str, claims: Mapping[str, Any], domains: frozenset[str]) -> Person | Refused:
    """The person that verified claims are about. domains: the only ones whose addresses are let in; empty: all."""
    subject, email = claims.get("sub"), claims.get("email")
    match = _EMAIL.fullmatch(email) if isinstance(email, str) and len(email) <= LONGEST_EMAIL else None
    if not isinstance(subject, str) or not isinstance(email, str) or match is None:
        return Refused("no_email")
    if claims.get("email_verified") not in (True, "true"):
        return Refused("unverified")
    if domains and match[1].lower() not in domains:
        return Refused("foreign_domain")
    name = claims.get("name")
    shown = "".join(sign for sign in name if sign.isprintable())[:LONGEST_NAME] if isinstance(name, str) else ""
    return Person(issuer, subject, email.lower(), shown)


def is_subject(subject: object) -> bool:
    """Whether this may name a person: up to 255 ASCII characters (OpenID Connect Core, section 2)."""
    return (
        isinstance(subject, str) and 0 < len(subject) <= LONGEST_SUBJECT and subject.isascii() and subject.isprintable()
    )


def entry(known: Known, *, anyone: bool) -> Entry | Refused:
    """How a person comes in. anyone: whoever has an address of an allowed domain may join.

    An account with a membership is only linked: its role and its organisations are its own. Without any membership it
    is treated as a new one, whoever made it.
    """
    if known.disabled:
        return Refused("disabled")
    if known.member:
        if known.other_subject:
            return Refused("other_subject")
        return "log_in" if known.linked else "link"
    if known.invited:
        return "join_invited"
    return "join_by_domain" if anyone else Refused("not_a_member")


def domains_of(setting: str) -> frozenset[str]:
    """The domains of a setting: `example.org, example.com`; a leading @ is forgiven."""
    return frozenset(part.strip().removeprefix("@").lower() for part in setting.split(",") if part.strip(" @"))
