"""Who wrote a service last, as Cloud Run's annotations tell it, and what that means for somebody who has to undo it.

A revision that was rolled back and serves again was put back by somebody. Whoever is woken by that has to know whether
it was a person, who can be asked, or an automation, which does the same again at its next run.
"""

from typing import Final, NamedTuple

OURS: Final = "deploy-watchdog"
"""The client name that our own writes leave. One who writes after us and names no client leaves it standing."""
_ROBOTS: Final = ".gserviceaccount.com"
_NAMES: Final = {
    "gcloud": "gcloud",
    "cloud-console": "the Cloud Console",
    "terraform": "Terraform",
    "pulumi": "Pulumi",
    "cli-firebase": "the Firebase CLI",
    "cloudfunctions": "Cloud Functions",
}
_DECLARED: Final = frozenset({"terraform", "pulumi"})
"""Tools that keep a wish of their own and restore it at every run."""


class Author(NamedTuple):
    """The last writer: the account (`serving.knative.dev/lastModifier`), and the client and its version where they name
    themselves (`run.googleapis.com/client-name`, `…/client-version`). Each may be empty."""

    account: str = ""
    client: str = ""
    version: str = ""


NOBODY: Final = Author()


def _tool(author: Author) -> str:
    """The client by its name; empty where it did not give one."""
    client = author.client.strip().lower()
    return "" if client == OURS else _NAMES.get(client, author.client.strip())


def _declares(author: Author) -> bool:
    return author.client.strip().lower() in _DECLARED


def _account(author: Author) -> str:
    """The account without its domain, as messages name people."""
    name = author.account.partition("@")[0]
    return f"service account {name}" if name and author.account.endswith(_ROBOTS) else name


def who(author: Author) -> str:
    """Who it was, as the subject of a sentence; `somebody or some automation` where nothing tells."""
    tool, account = _tool(author), _account(author)
    if not tool:
        return account or "somebody or some automation"
    version = f" {author.version}" if author.version else ""
    if _declares(author) or not account:
        return f"{tool}{version}" + (f" (as {account})" if account else "")
    return f"{account} (with {tool}{version})"


def advice(author: Author) -> str:
    """What to do about one who put a bad revision back, before traffic is moved away from it again."""
    tool, account = _tool(author), _account(author)
    if _declares(author):
        return (
            f"{tool} owns this service's traffic and puts it back at every run: revert the release in its "
            "configuration first, or pin the good revision there."
        )
    if author.account.endswith(_ROBOTS):
        return f"Find what runs as {account} and revert the release there first, or it may put it back again."
    if account:
        return f"Ask {account} first: they may know what you do not."
    return "Find out who put it back first, or it may happen again."
