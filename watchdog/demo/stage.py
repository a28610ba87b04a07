"""What a drill's script can do and ask: the world's mishaps, people's acts, and the watchdog's answers, from outside.

Revisions go by short names: `bad` is the revision `SERVICE-bad`.
"""

import asyncio
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from watchdog.demo.drill import BASE, Drill
from watchdog.demo.teller import Teller
from watchdog.demo.virtual import merge
from watchdog.demo.world import DemoError, World
from watchdog.terminal import percents

LOOK_EVERY_S = 0.25
Json = dict[str, Any]


class OffScriptError(Exception):
    """The drill did not go as its script says; the message is the difference."""


@dataclass(slots=True, kw_only=True)
class Stage:
    """One drill being played. `seed` 0 plays it as it is described, any other number varies it."""

    world: World
    drill: Drill
    teller: Teller
    seed: int = 0
    wrong: list[str] = field(default_factory=list)
    began_at: float = 0.0
    fault_at: float | None = None
    url: str = ""
    """The way in that users take, where it is not Cloud Run's own."""
    chance: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.chance = random.Random(f"{self.drill.name}/{self.seed}")  # noqa: S311 - variations, not secrets

    @property
    def service(self) -> str:
        """The service's name."""
        return str(self.policy["service"]["name"])

    @property
    def regions(self) -> list[str]:
        """The policy's regions."""
        service = self.policy["service"]
        return list(service.get("regions") or [service["region"]])

    @property
    def policy(self) -> Json:
        """The drill's policy: `BASE` and its changes."""
        made = merge(BASE, self.drill.policy)
        return merge(made, {"service": {"url": self.url}}) if self.url else made

    def policies(self) -> list[Json]:
        """The policy files that the daemon is given."""
        return [self.policy]

    def now(self) -> float:
        """Unix seconds."""
        return self.world.clock.now()

    def vary(self, value: float, low: float, high: float) -> float:
        """`value` in the drill as described; anything between the two in a variation of it."""
        return self.chance.uniform(low, high) if self.seed else value

    def pick(self, value: Any, *others: Any) -> Any:
        """`value` in the drill as described; it or one of the others in a variation."""
        return self.chance.choice((value, *others)) if self.seed else value

    # --- the world --------------------------------------------------------------------------------------------------

    def revision(self, name: str) -> str:
        """The revision's full name."""
        return f"{self.service}-{name}"

    def short(self, revision: str) -> str:
        """The short name; `again` for one that the watchdog has deployed."""
        name = revision.removeprefix(f"{self.service}-")
        return "again" if name.startswith("wd-") else name

    async def deploy(self, name: str, *faults: Mapping[str, Any], wait: bool = True, **release: Any) -> Json:
        """Deploy a revision with a fault script; `release` as `POST /emulator/deploy` takes it."""
        body = {
            "service": self.service,
            "region": self.regions[0],
            "revision": self.revision(name),
            "image": f"us-docker.pkg.dev/barq-fleet/api/api:{name}",
            "faults": list(faults),
            "wait": wait,
            **release,
        }
        made: Json = await self.world.emulator("POST", "/emulator/deploy", body)
        self.teller.say(f"Deployed {made['revision']}; Cloud Run serves {percents(made['split'])}.")
        return made

    async def faults(self, name: str, *faults: Mapping[str, Any]) -> None:
        """Replace a revision's faults, from now on; none cures it."""
        body = {"faults": list(faults), "restart_clock": True}
        await self.world.emulator("PUT", f"/emulator/revisions/{self.revision(name)}/faults", body)

    async def move(
        self,
        *,
        tags: Mapping[str, str] | None = None,
        wait: bool = True,
        who: Mapping[str, str] | None = None,
        region: str = "",
        **traffic: int,
    ) -> None:
        """Somebody moves traffic: `good=90, bad=10`; `LATEST` follows the newest revision. `who`: `by`, `client`,
        `client_version`."""
        body: Json = {
            "service": self.service,
            "region": region or self.regions[0],
            "traffic": {n if n == "LATEST" else self.revision(n): p for n, p in traffic.items()},
            "wait": wait,
            **(who or {}),
        }
        if tags is not None:
            body["tags"] = {tag: self.revision(name) for tag, name in tags.items()}
        await self.world.emulator("POST", "/emulator/traffic", body)

    async def condemn(self, name: str) -> None:
        """A revision can't be Ready any more: its image or a secret is gone."""
        await self.world.emulator("POST", f"/emulator/revisions/{self.revision(name)}/condemn", {})
        self.teller.say(f"{self.revision(name)} is not Ready any more.")

    async def delete(self, name: str) -> None:
        """Somebody deletes a revision."""
        project = self.policy["service"]["project"]
        path = f"/v1/projects/{project}/locations/{self.regions[0]}/revisions/{self.revision(name)}"
        await self.world.emulator("DELETE", path)
        self.teller.say(f"{self.revision(name)} is deleted.")

    async def admin_fault(self, **fault: Any) -> None:
        """A fault of the Admin API, as `POST /emulator/admin-faults` takes it."""
        await self.world.emulator("POST", "/emulator/admin-faults", fault)

    async def calm(self) -> None:
        """The Admin API is well again."""
        await self.world.emulator("DELETE", "/emulator/admin-faults")

    async def iam(self, **rights: Any) -> None:
        """Who may read and write by the Admin API: `read`, `write`, `impersonate`, `writers`, `revoke`."""
        await self.world.emulator("PUT", "/emulator/iam", rights)

    async def entrance(self, **plan: Any) -> None:
        """The way in that users take, before Cloud Run, and what is wrong with it (`PUT /emulator/entrance`)."""
        made = await self.world.emulator("PUT", "/emulator/entrance", {"service": self.service, **plan})
        self.url = made["url"]
        self.world.environment |= made["env"]

    async def invokers(self, **callers: bool) -> None:
        """Who may call the service (`PUT /emulator/invokers`)."""
        made = await self.world.emulator("PUT", "/emulator/invokers", {"service": self.service, **callers})
        self.world.environment |= made["env"]

    async def load(self, rate_per_s: float, **plan: Any) -> None:
        """Users send so many requests a second."""
        body = {"service": self.service, "region": self.regions[0], "rate_per_s": rate_per_s, **plan}
        await self.world.emulator("PUT", "/emulator/load", body)

    async def maximum(self, instances: int) -> None:
        """Somebody sets the service's maximum of instances."""
        body = {"service": self.service, "region": self.regions[0], "max_instances": instances, "wait": True}
        await self.world.emulator("PUT", "/emulator/scaling", body)

    async def usage(self, name: str, **usage: float) -> None:
        """What a revision's instances use from now on, as `PUT /emulator/revisions/{name}/usage` takes it."""
        await self.world.emulator("PUT", f"/emulator/revisions/{self.revision(name)}/usage", usage)

    async def allowed(self) -> int:
        """The service's maximum of instances; 0 where none is set."""
        found = (await self.world.emulator("GET", "/emulator/services"))["services"]
        service = next(s for s in found if (s["name"], s["region"]) == (self.service, self.regions[0]))
        return int(service["annotations"].get("run.googleapis.com/maxScale", 0))

    async def requests(self, name: str) -> list[Json]:
        """Every request that a revision answered, oldest first."""
        found = (await self.world.emulator("GET", "/emulator/requests?since=0"))["requests"]
        return [r for r in found if r["revision"] == self.revision(name)]

    async def split(self, region: str = "") -> dict[str, int]:
        """Short name → percent that Cloud Run serves, in the first region unless another is named."""
        found = (await self.world.emulator("GET", "/emulator/services"))["services"]
        service = next(s for s in found if (s["name"], s["region"]) == (self.service, region or self.regions[0]))
        return {self.short(name): percent for name, percent in service["split"].items()}

    async def writes(self) -> list[Json]:
        """The watchdog's traffic writes that took effect, oldest first."""
        log = await self.world.emulator("GET", "/emulator/admin-log")
        return [w for w in log["writes"] if w["applied"] and w["method"] == "PUT"]

    async def pages(self) -> list[Json]:
        """PagerDuty's triggers, oldest first: `at` and `title`."""
        received = (await self.world.emulator("GET", "/emulator/collectors/pagerduty"))["received"]
        return [
            {"at": r["at"], "title": str(r["body"]["payload"]["summary"])}
            for r in received
            if r["accepted"] and r["body"].get("event_action") == "trigger"
        ]

    async def threads(self) -> dict[str, list[str]]:
        """Slack's root messages, by their text, and what was said in the thread of each."""
        said = (await self.world.emulator("GET", "/emulator/collectors/slack"))["messages"]
        roots = {m["ts"]: str(m["text"]) for m in said if not m["thread_ts"] or m["thread_ts"] == m["ts"]}
        return {
            text: [str(m["text"]) for m in said if m["thread_ts"] == ts and m["ts"] != ts] for ts, text in roots.items()
        }

    async def incidents(self) -> list[Json]:
        """PagerDuty's incidents, as its own list has them."""
        found = await self.world.emulator("GET", "/emulator/collectors/pagerduty")
        return list(found["incidents"])

    async def paged(self, title: str, *words: str, within_s: float = 60.0) -> None:
        """Until somebody was paged under this title; the page must have these words."""
        give_up = self.now() + within_s
        while True:
            received = (await self.world.emulator("GET", "/emulator/collectors/pagerduty"))["received"]
            found = [json.dumps(r["body"]) for r in received if r["body"].get("event_action") == "trigger"]
            page = next((text for text in reversed(found) if title in text), None)
            if page is not None:
                self.check(f"the page {title!r}", page, *words)
                return
            if self.now() > give_up:
                raise OffScriptError(f"nobody was paged {title!r} within {within_s:.0f} s")
            await self.pass_time(LOOK_EVERY_S)

    async def pass_time(self, seconds: float) -> None:
        """Nothing is done for so long."""
        await asyncio.sleep(seconds)

    def fault_now(self) -> None:
        """From here on what the watchdog does is timed."""
        self.fault_at = self.now()

    def say(self, text: str) -> None:
        """A step of the story."""
        self.teller.say(text)

    # --- the watchdog -----------------------------------------------------------------------------------------------

    async def watch(self, name: str) -> Json | None:
        """The last watch of a revision; None where there is none."""
        rows = (await self.world.watchdog("GET", "/api/v1/watches"))["watches"]
        row = next((r for r in rows if r["revision"] == self.revision(name)), None)
        return None if row is None else dict(await self.world.watchdog("GET", f"/api/v1/watches/{row['id']}"))

    async def outcome(self, name: str) -> str:
        """How the last watch of a revision ended: `open` where it has not, `none` where there is none."""
        view = await self.watch(name)
        if view is None:
            return "none"
        return str(view["outcome"]) if view["state"] == "ended" else "open"

    async def until(self, name: str, *states: str, within_s: float = 60.0) -> Json:
        """Until the revision's watch is in one of these states; any, where none is named."""
        seen = "has no watch"
        give_up = self.now() + within_s
        while self.now() < give_up:
            view = await self.watch(name)
            if view is not None:
                if not states or view["state"] in states:
                    return view
                seen = f"is {view['state']}"
            await self.pass_time(LOOK_EVERY_S)
        wanted = " or ".join(states) or "watched"
        raise OffScriptError(f"{name} {seen} after {within_s:.0f} s, expected {wanted}")

    async def served(self, *, within_s: float = 60.0, region: str = "", **split: int) -> None:
        """Until Cloud Run serves this split."""
        give_up = self.now() + within_s
        while (found := await self.split(region)) != split:
            if self.now() > give_up:
                where = f" in {region}" if region else ""
                raise OffScriptError(
                    f"Cloud Run serves {percents(found)}{where} after {within_s:.0f} s, not {percents(split)}"
                )
            await self.pass_time(LOOK_EVERY_S)

    async def armed(self) -> None:
        """Until the daemon has seen the service and its probes have passed once: as on any day before a deploy."""
        await self.pass_time(3.0)

    async def act(self, verb: str, name: str, **body: Any) -> None:
        """A person acts on the revision's watch: `ack`, `hold`, `pause`, `resume`, `finish`, `rollback`, `signals`."""
        view = await self.until(name)
        self.teller.say(f"Somebody says: {verb} {name}.")
        await self.world.watchdog("POST", f"/api/v1/watches/{view['id']}/{verb}", body)

    async def release(self, *, on_next: bool = False) -> str:
        """`watchdog release`; empty, or why it was refused."""
        try:
            await self.world.watchdog("POST", f"/api/v1/services/{self.service}/release", {"on_next": on_next})
        except DemoError as error:
            return str(error)
        return ""

    async def gate(self, image: str) -> Json:
        """`watchdog gate --image`."""
        return dict(await self.world.watchdog("GET", f"/api/v1/gate?service={self.service}&image={image}"))

    def check(self, what: str, found: Sequence[str] | str, *wanted: str) -> None:
        """Hold what was found against words that must be in it."""
        text = found if isinstance(found, str) else " · ".join(found)
        self.wrong += [f"{what}: no {word!r} in {text!r}" for word in wanted if word not in text]

    def require(self, what: str, ok: bool) -> None:  # noqa: FBT001 - reads as a sentence
        """Anything else that must be so."""
        if not ok:
            self.wrong.append(what)
