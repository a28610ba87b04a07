"""What is wrong with a policy, and where: collected, so that a person sees every mistake at once."""

from dataclasses import dataclass, field

Path = tuple[str | int, ...]
"""Keys and list positions from the top of the file, `("success_criteria", 0, "target")`."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One mistake or warning: a sentence that says what is wrong with the value at `path` and what to do."""

    path: Path
    message: str


@dataclass(slots=True)
class Findings:
    """Mistakes and warnings in the order in which they were found."""

    problems: list[Finding] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)

    def problem(self, path: Path, message: str) -> None:
        """Note a mistake: the policy cannot be used."""
        self.problems.append(Finding(path, message))

    def warning(self, path: Path, message: str) -> None:
        """Note something that a person should know, but that does no harm."""
        self.warnings.append(Finding(path, message))


def format_path(path: Path) -> str:
    """`success_criteria[0].target`; keys that are not plain words are quoted."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
            continue
        shown = (
            part if part and part.replace("_", "").replace("-", "").isalnum() else f'"{" ".join(part.split())[:60]}"'
        )
        text += f".{shown}" if text else shown
    return text
