"""The fleet-management API of the workload: sessions, couriers, vehicles, assignments and attendance, kept in memory.

All revisions of a service share one database, as they do in real life: a token that one has issued is good at the
other, and what was made before a rollback is there after it. Reading needs no session (the users' load has none), but
a session that has ended is refused everywhere; writing needs one. Any name and password let in, except the password
`wrong`.
"""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

PREFIX: Final = "/api/v1/"
MOST_ROWS: Final = 10_000
"""Rows of a table; older ones go, so that an emulator that runs for days stays small."""

Answer = tuple[int, object]
"""Status and JSON body; None is an empty body."""

SEEDS: Final[Mapping[str, tuple[dict[str, Any], int]]] = {
    "couriers": ({"id": 17, "name": "Courier 17", "state": "on_shift"}, 212),
    "vehicles": ({"id": 4, "plate": "ABC-1234", "state": "in_use"}, 148),
    "assignments": ({"id": 9001, "courier": 17, "vehicle": 4}, 131),
    "attendance": ({"courier": 17, "checked_in": True}, 196),
}
"""Table → the row that is always there, and how many rows the list says that there are."""
_NEEDED: Final = {"couriers": ("name",), "vehicles": ("plate",), "assignments": ("courier_id", "vehicle_id")}
_NEW: Final = {"couriers": "off_shift", "vehicles": "available", "assignments": "assigned"}


@dataclass(slots=True)
class FleetApi:
    """One service's database and what may be done with it."""

    sessions: dict[str, str] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    tables: dict[str, dict[int, dict[str, Any]]] = field(default_factory=lambda: {name: {} for name in SEEDS})
    last_id: int = 10_000

    def handle(self, method: str, path: str, authorization: str, body: bytes) -> Answer | None:
        """The answer to a request below `/api/v1/`; None when it is none of this API's."""
        if not path.startswith(PREFIX):
            return None
        table, *rest = path.removeprefix(PREFIX).split("/")
        token = authorization.removeprefix("Bearer ").strip()
        if table == "auth":
            return self._auth(method, "/".join(rest), token, _read(body))
        if table not in SEEDS:
            return None
        if token in self.ended or (authorization and token not in self.sessions):
            return 401, {"detail": "the session has ended"}
        if method in {"GET", "HEAD"}:
            return self._get(table, rest)
        values = _read(body)
        if token not in self.sessions or values is None:
            return (401, {"detail": "log in first"}) if values is not None else (422, {"detail": "no JSON object"})
        return self._attend(method, rest, values) if table == "attendance" else self._write(method, table, rest, values)

    def _auth(self, method: str, what: str, token: str, values: dict[str, Any] | None) -> Answer | None:
        match method, what:
            case "GET", "login":
                return 200, {"token": "emulated", "expires_in": 3600}
            case "POST", "login":
                given = values or {}
                if given.get("password") == "wrong":
                    return 401, {"detail": "wrong name or password"}
                made = secrets.token_urlsafe(24)
                self.sessions[made] = str(given.get("user") or given.get("email") or "anonymous")
                return 200, {"token": made, "expires_in": 3600}
            case "GET", "me" if token in self.sessions:
                return 200, {"user": self.sessions[token]}
            case "POST", "logout" if token in self.sessions:
                del self.sessions[token]
                self.ended.add(token)
                return 204, None
            case (_, "me") | (_, "logout"):
                return 401, {"detail": "log in first"}
        return None

    def _get(self, table: str, rest: list[str]) -> Answer | None:
        seed, total = SEEDS[table]
        rows = self.tables[table]
        if not rest:
            return 200, {"items": [*reversed(rows.values()), seed], "total": total + len(rows)}
        if len(rest) > 1:
            return None
        number = _number(rest[0])
        if number in rows:
            return 200, rows[number]
        if number is not None and number > FleetApi().last_id:
            return 404, {"detail": "not found"}
        return 200, {"items": [seed], "total": total}

    def _write(self, method: str, table: str, rest: list[str], values: dict[str, Any]) -> Answer:
        rows = self.tables[table]
        if method == "POST" and not rest:
            missing = [key for key in _NEEDED[table] if not values.get(key)]
            if missing:
                return 422, {"detail": f"{', '.join(missing)} missing"}
            refused = self._refused(table, values)
            return refused or (201, self._add(table, {**values, "state": values.get("state") or _NEW[table]}))
        number = _number(rest[0]) if len(rest) == 1 else None
        if number not in rows or number is None:
            return 404, {"detail": "not found"}
        if method in {"PATCH", "PUT"}:
            rows[number] = {**rows[number], **values, "id": number}
            return 200, rows[number]
        if method == "DELETE":
            del rows[number]
            return 204, None
        return 405, {"detail": "method not allowed"}

    def _refused(self, table: str, values: dict[str, Any]) -> Answer | None:
        """What the business says: no two vehicles of one plate, no assignment of what is not there or busy."""
        if table == "vehicles" and any(v["plate"] == values["plate"] for v in self.tables["vehicles"].values()):
            return 409, {"detail": "there is a vehicle with this plate"}
        if table != "assignments":
            return None
        for kind, key in (("couriers", "courier_id"), ("vehicles", "vehicle_id")):
            if values[key] not in self.tables[kind]:
                return 422, {"detail": f"there is no {key} {values[key]}"}
        busy = any(
            a.get("vehicle_id") == values["vehicle_id"] and a["state"] == "assigned"
            for a in self.tables["assignments"].values()
        )
        return (409, {"detail": "the vehicle is in use"}) if busy else None

    def _attend(self, method: str, rest: list[str], values: dict[str, Any]) -> Answer:
        rows = self.tables["attendance"]
        number = _number(rest[0]) if rest else None
        match method, rest:
            case "POST", ["check-in"]:
                if values.get("courier_id") not in self.tables["couriers"]:
                    return 422, {"detail": f"there is no courier_id {values.get('courier_id')}"}
                return 201, self._add("attendance", {"courier_id": values["courier_id"], "checked_in": True})
            case "POST", [_, "check-out"] if number in rows and number is not None:
                rows[number] = {**rows[number], "checked_in": False}
                return 200, rows[number]
            case "DELETE", [_] if number in rows and number is not None:
                del rows[number]
                return 204, None
        return 404, {"detail": "not found"}

    def _add(self, table: str, values: dict[str, Any]) -> dict[str, Any]:
        self.last_id += 1
        rows = self.tables[table]
        rows[self.last_id] = {"id": self.last_id, **{k: v for k, v in values.items() if k != "id"}}
        while len(rows) > MOST_ROWS:
            del rows[next(iter(rows))]
        return rows[self.last_id]


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 12 else None


def _read(body: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(body) if body.strip() else {}
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
