"""The Logging query language, as far as request logs are asked for: a misspelt filter fails here as at Google.

Syntax from cloud.google.com/logging/docs/view/logging-query-language: comparisons joined by AND, OR, NOT (or `-`) and
parentheses, where OR binds tighter than AND and two comparisons side by side mean AND; a list of values in parentheses
(`field=("a" OR "b")`); the functions `log_id("ID")` and `sample(FIELD, FRACTION)`. Strings are compared without case,
regular expressions with it. A search for bare words is refused here, since nothing of ours needs it.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

_TOKEN = re.compile(
    r"""\s*(?:(?P<string>"(?:[^"\\]|\\.)*")
          |(?P<operator>!=|>=|<=|=~|!~|=|:|>|<)
          |(?P<bracket>[(),])
          |(?P<number>-?\d+(?:\.\d+)?(?![\w.]))
          |(?P<minus>-)
          |(?P<star>\*)
          |(?P<word>[A-Za-z_][\w./]*))""",
    re.VERBOSE,
)
FIELDS = frozenset({
    "timestamp",
    "logName",
    "severity",
    "insertId",
    "resource.type",
    "resource.labels.project_id",
    "resource.labels.location",
    "resource.labels.service_name",
    "resource.labels.revision_name",
    "resource.labels.configuration_name",
    "httpRequest.status",
    "httpRequest.requestMethod",
    "httpRequest.requestUrl",
    "httpRequest.userAgent",
    "httpRequest.remoteIp",
})  # fmt: skip
"""Fields of a request's log entry that a filter may name; the real language knows every field."""
PAYLOAD = "jsonPayload."
SEVERITIES = ("DEFAULT", "DEBUG", "INFO", "NOTICE", "WARNING", "ERROR", "CRITICAL", "ALERT", "EMERGENCY")

Fields = Mapping[str, str]
Filter = Callable[[Fields], bool]


class InvalidFilterError(ValueError):
    """The filter is refused; the message is the one that goes to the client."""


def parse(text: str) -> Filter:
    """What `text` selects; empty text selects everything. Raises `InvalidFilterError`."""
    return _Parser(text).parse()


def sampled(value: str, fraction: float) -> bool:
    """Whether `sample(FIELD, fraction)` selects an entry whose FIELD is `value`: by a hash, hence always the same."""
    digest = hashlib.blake2b(value.encode(), digest_size=8).digest()
    return int.from_bytes(digest) < fraction * 2**64


def log_name(project: str, log_id: str) -> str:
    """The name of a log: its id is URL-encoded there."""
    return f"projects/{project}/logs/{log_id.replace('/', '%2F')}"


def _compare(field: str, operator: str, wanted: str) -> Filter:
    if operator in {"=~", "!~"}:
        pattern, positive = re.compile(wanted), operator == "=~"
        return lambda fields: (pattern.search(fields.get(field, "")) is not None) is positive
    if operator in {"=", "!="}:
        low, positive = wanted.lower(), operator == "="
        return lambda fields: (fields.get(field, "").lower() == low) is positive
    if operator == ":":
        low = wanted.lower()
        if low == "*":  # whether the field is there
            return lambda fields: field in fields
        return lambda fields: low in fields.get(field, "").lower()

    def ordered(fields: Fields) -> bool:
        if field not in fields:
            return False
        left, right = _rank(field, fields.get(field, "")), _rank(field, wanted)
        return {">": left > right, "<": left < right, ">=": left >= right, "<=": left <= right}[operator]

    return ordered


def _rank(field: str, value: str) -> float:
    """Where a value stands in the order of its field."""
    if field == "severity":
        return SEVERITIES.index(value.upper()) if value.upper() in SEVERITIES else 0
    if field == "timestamp":
        return datetime.fromisoformat(value).timestamp()
    return float(value)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    column: int


class _Parser:
    """Recursive descent over the tokens of one filter."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(self._scan())
        self._at = 0

    def parse(self) -> Filter:
        if not self._tokens:
            return lambda _fields: True
        found = self._all()
        if self._peek() is not None:
            raise self._error()
        return found

    def _scan(self) -> Iterator[_Token]:
        position = 0
        while self._text[position:].strip():
            found = _TOKEN.match(self._text, position)
            if found is None or found.lastgroup is None:
                raise self._error(_Token("", self._text[position:].strip()[0], position))
            yield _Token(found.lastgroup, found[found.lastgroup], found.start(found.lastgroup))
            position = found.end()

    def _peek(self) -> _Token | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def _accept(self, *texts: str) -> bool:
        token = self._peek()
        if token is not None and token.kind != "string" and token.text in texts:
            self._at += 1
            return True
        return False

    def _take(self, *kinds: str) -> _Token:
        token = self._peek()
        if token is None or token.kind not in kinds:
            raise self._error()
        self._at += 1
        return token

    def _expect(self, bracket: str) -> None:
        if not self._accept(bracket):
            raise self._error()

    def _error(self, token: _Token | None = None) -> InvalidFilterError:
        token = token or self._peek() or _Token("", "<EOF>", len(self._text))
        return InvalidFilterError(
            f"Unparseable filter: syntax error at line 1, column {token.column + 1}, token '{token.text}'"
        )

    def _all(self) -> Filter:
        parts = [self._any()]
        while (token := self._peek()) is not None and token.text != ")":
            self._accept("AND")
            parts.append(self._any())
        return parts[0] if len(parts) == 1 else lambda fields: all(part(fields) for part in parts)

    def _any(self) -> Filter:
        parts = [self._one()]
        while self._accept("OR"):
            parts.append(self._one())
        return parts[0] if len(parts) == 1 else lambda fields: any(part(fields) for part in parts)

    def _one(self) -> Filter:
        if self._accept("NOT", "-"):
            inner = self._one()
            return lambda fields: not inner(fields)
        if self._accept("("):
            inner = self._all()
            self._expect(")")
            return inner
        return self._comparison()

    def _comparison(self) -> Filter:
        word = self._take("word")
        if word.text == "log_id":
            self._expect("(")
            name = _unquote(self._take("string").text)
            self._expect(")")
            end = log_name("", name).removeprefix("projects/")
            return lambda fields: fields.get("logName", "").endswith(end)
        if word.text == "sample":
            return self._sample()
        field = self._field(word)
        operator = self._take("operator")
        if self._accept("("):
            values = [self._value()]
            while self._accept("OR"):
                values.append(self._value())
            self._expect(")")
        else:
            values = [self._value()]
        tests = [self._test(field, operator, value) for value in values]
        return tests[0] if len(tests) == 1 else lambda fields: any(test(fields) for test in tests)

    def _sample(self) -> Filter:
        self._expect("(")
        field = self._field(self._take("word"))
        self._expect(",")
        token = self._take("number")
        fraction = float(token.text)
        self._expect(")")
        if not 0.0 <= fraction <= 1.0:
            raise self._error(token)
        return lambda fields: sampled(fields.get(field, ""), fraction)

    def _field(self, word: _Token) -> str:
        if word.text == PAYLOAD:  # a name with dots of its own stands in quotes
            return PAYLOAD + _unquote(self._take("string").text)
        if word.text not in FIELDS and not word.text.startswith(PAYLOAD):
            raise self._error(word)
        return word.text

    def _value(self) -> str:
        return _unquote(self._take("string", "number", "word", "star").text)

    def _test(self, field: str, operator: _Token, value: str) -> Filter:
        try:
            if operator.text in {"<", ">", "<=", ">="}:
                _rank(field, value)
            return _compare(field, operator.text, value)
        except (ValueError, re.error) as error:
            raise self._error(operator) from error


def _unquote(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1]) if text.startswith('"') else text
