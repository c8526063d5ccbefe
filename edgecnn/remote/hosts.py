"""A device's name as a user gives it: user@host[:port], or what the user's ssh configuration calls it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgecnn.errors import UsageError

# nothing that a shell, ssh's options or the % of its configuration could take for more than a name; the first character least of all
_NAME = re.compile(
    r"(?:(?P<user>[A-Za-z0-9_][A-Za-z0-9_.@+-]*\$?)@)?"
    r"(?:(?P<host>[A-Za-z0-9_][A-Za-z0-9_.-]*)|\[(?P<address>[0-9A-Fa-f:.]+(?:%[A-Za-z0-9_.-]+)?)\])"
    r"(?::(?P<port>[0-9]{1,5}))?",
    re.ASCII,
)
_MOST = 255


@dataclass(frozen=True, kw_only=True, slots=True)
class Host:
    """name: as it was given, which is what tables and messages call it; target: for ssh; port: None for the one that ssh knows."""

    name: str
    target: str
    port: int | None = None

    @property
    def by_hand(self) -> str:
        """What a person types to see whether it is reached at all."""
        return f"ssh {self.target}" if self.port is None else f"ssh -p {self.port} {self.target}"


def parse(text: str) -> Host:
    """The device that `text` names. Raises UsageError for what is no plain name."""
    found = _NAME.fullmatch(text) if len(text) <= _MOST else None
    if found is None:
        raise UsageError(
            f"{text[:80]!r} is no device; user@host or user@host:port was wanted, of letters, digits, '.', '-' and '_', an IPv6 address in brackets."
        )
    port = int(found["port"]) if found["port"] else None
    if port is not None and not 1 <= port <= 65535:
        raise UsageError(f"{text!r} has the port {port}; a port lies between 1 and 65535.")
    user = f"{found['user']}@" if found["user"] else ""
    return Host(name=text, target=user + (found["host"] or found["address"]), port=port)
