"""Says what happens in a demo or a drill: sentences on a terminal, or JSON lines."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.panel import Panel

from watchdog.terminal import panel


def make_console() -> Console:
    """As wide as the terminal; wide enough for the tables where the output goes to a file or a CI log."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else 120)


@dataclass(slots=True, kw_only=True)
class Teller:
    """Says what happens: sentences above a live panel, or JSON lines."""

    as_json: bool
    name: str = "demo"
    console: Console = field(default_factory=make_console)
    live: Live | None = None
    told: int = 0
    tells: bool = True
    """Whether anybody listens."""

    def say(self, text: str, style: str = "", **fields: Any) -> None:
        """One step of the story."""
        if not self.tells:
            return
        if self.as_json:
            self.console.file.write(json.dumps({"event": self.name, "text": text, **fields}, ensure_ascii=False) + "\n")
            self.console.file.flush()
        else:
            self.console.print(f"[bold cyan]{self.name.ljust(8)}[/]  {escape(text)}", style=style, soft_wrap=True)

    def show(self, view: Mapping[str, Any]) -> None:
        """The watch as it stands, and what is new in its timeline."""
        for entry in view["timeline"][self.told :]:
            if self.as_json:
                line = {"event": entry["kind"], "at": entry["at"], "watch": view["id"], "reason": entry["text"]}
                self.console.file.write(json.dumps(line, ensure_ascii=False) + "\n")
                self.console.file.flush()
            else:
                style = {"decision": "bold red", "recovered": "bold green", "restored": "green", "ended": "bold"}
                self.console.print(
                    f"[dim]{entry['at'][11:19]}[/]  {escape(entry['text'])}",
                    style=style.get(entry["kind"], ""),
                    soft_wrap=True,
                )
        self.told = len(view["timeline"])
        if self.live is not None:
            self.live.update(Panel(panel(view), border_style="dim", expand=False))
