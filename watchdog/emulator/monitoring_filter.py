"""The filter language of Cloud Monitoring, so that a misspelt query fails here as it would fail against Google.

Syntax from cloud.google.com/monitoring/api/v3/filters: comparisons joined by AND, OR, NOT and parentheses (OR binds
tighter than AND, and two comparisons side by side mean AND), with `starts_with`, `ends_with`, `has_substring`, `one_of`
and `monitoring.regex.full_match` on the right-hand side. A filter for time series names exactly one metric type; that
has to be an equality, since no function can promise to match one type only.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from watchdog.emulator.descriptors import Metric
from watchdog.emulator.shared_metrics import ALL

_TOKEN = re.compile(
    r"""\s*(?:(?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
          |(?P<operator>!=|>=|<=|=|:|>|<)
          |(?P<bracket>[(),])
          |(?P<number>-?\d+(?:\.\d+)?(?![\w.]))
          |(?P<minus>-)
          |(?P<word>[A-Za-z_][\w./]*))""",
    re.VERBOSE,
)
_LABEL_FIELD = re.compile(r"(metric|resource)\.labels?\.(\w+)")
_FUNCTIONS = ("starts_with", "ends_with", "has_substring", "one_of", "monitoring.regex.full_match")


class InvalidFilterError(ValueError):
    """The filter is refused; the message is the one that goes to the client."""


class UnknownMetricError(LookupError):
    """The filter names a metric type that does not exist."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One comparison: `field operator function(values)`; `function` is empty for a plain value."""

    field: str
    operator: str
    values: tuple[str, ...]
    function: str = ""
    numeric: bool = False
    """The value was written without quotes, so `<` and `>` compare numbers."""


@dataclass(frozen=True, slots=True)
class Every:
    """All of `parts` hold."""

    parts: tuple["Expression", ...]


@dataclass(frozen=True, slots=True)
class Some:
    """At least one of `parts` holds."""

    parts: tuple["Expression", ...]


@dataclass(frozen=True, slots=True)
class Negation:
    """`part` does not hold."""

    part: "Expression"


Expression = Term | Every | Some | Negation


def parse(text: str) -> Expression:
    """The expression that `text` means; empty text matches everything. Raises `InvalidFilterError`."""
    return _Parser(text).parse()


def matches(expression: Expression, fields: Mapping[str, str]) -> bool:
    """Whether `fields` (`metric.type`, `metric.labels.KEY`, `resource.type`, `resource.labels.KEY`, `project`) pass."""
    match expression:
        case Every(parts):
            return all(matches(part, fields) for part in parts)
        case Some(parts):
            return any(matches(part, fields) for part in parts)
        case Negation(part):
            return not matches(part, fields)
        case Term():
            return _compare(expression, fields.get(expression.field, ""))


def metric_of(text: str, expression: Expression) -> Metric:
    """The one metric that a `ListTimeSeries` filter is about; `text` is quoted in errors.

    Raises `InvalidFilterError` when it names none, several, or labels and resources that the metric does not have, and
    `UnknownMetricError` when there is no such metric.
    """
    terms = tuple(_terms(expression))
    about_type = [term for term in terms if term.field == "metric.type"]
    required = expression.parts if isinstance(expression, Every) else (expression,)
    if len(about_type) != 1 or about_type[0] not in required or about_type[0].function or about_type[0].operator != "=":
        raise InvalidFilterError(
            f'Field filter had an invalid value of "{text}": The filter must specify a single metric type, with '
            '`metric.type = "TYPE"`.'
        )
    name = about_type[0].values[0]
    if name not in ALL:
        raise UnknownMetricError(
            f'Cannot find metric(s) that match type = "{name}". If a metric was created recently, it could take up to '
            "10 minutes to become available. Please try again soon."
        )
    metric = ALL[name]
    known = {"metric.type", "resource.type", "project"}
    known.update(f"metric.labels.{key}" for key in metric.labels)
    known.update(f"resource.labels.{key}" for key in metric.resource_labels)
    wrong_resource = any(
        term.field == "resource.type" and term.operator == "=" and not _compare(term, metric.resource) for term in terms
    )
    if wrong_resource or any(term.field not in known for term in terms):
        raise InvalidFilterError(
            "The supplied filter does not specify a valid combination of metric and monitored resource descriptors. "
            "The query will not return any time series."
        )
    return metric


def canonical_field(name: str) -> str | None:
    """`metric.label.x` and `metric.labels.x` are one field; None when `name` is no field that a filter can use."""
    if name in {"metric.type", "resource.type", "project"}:
        return name
    found = _LABEL_FIELD.fullmatch(name)
    return f"{found[1]}.labels.{found[2]}" if found else None


def _terms(expression: Expression) -> Iterator[Term]:
    match expression:
        case Term():
            yield expression
        case Negation(part):
            yield from _terms(part)
        case Every(parts) | Some(parts):
            for part in parts:
                yield from _terms(part)


def _compare(term: Term, value: str) -> bool:
    if term.function:
        found = _apply(term, value)
        return found if term.operator != "!=" else not found
    wanted = term.values[0]
    if term.operator in {"=", "!="}:
        return (value == wanted) is (term.operator == "=")
    if term.operator == ":":
        return wanted in value
    left: float | str = value
    right: float | str = wanted
    if term.numeric:
        try:
            left, right = float(value), float(wanted)
        except ValueError:
            return False
    order = (left > right) - (left < right)  # type: ignore[operator]
    return {">": order > 0, "<": order < 0, ">=": order >= 0, "<=": order <= 0}[term.operator]


def _apply(term: Term, value: str) -> bool:
    match term.function:
        case "starts_with":
            return value.startswith(term.values[0])
        case "ends_with":
            return value.endswith(term.values[0])
        case "has_substring":
            return term.values[0] in value
        case "one_of":
            return value in term.values
        case _:
            return re.fullmatch(term.values[0], value) is not None


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

    def parse(self) -> Expression:
        if not self._tokens:
            return Every(())
        expression = self._conjunction()
        if self._peek() is not None:
            raise self._error()
        return expression

    def _scan(self) -> Iterator[_Token]:
        position = 0
        while self._text[position:].strip():
            found = _TOKEN.match(self._text, position)
            if found is None or found.lastgroup is None:
                column = position + len(self._text[position:]) - len(self._text[position:].lstrip())
                raise self._error(_Token("", self._text[column], column))
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

    def _error(self, token: _Token | None = None) -> InvalidFilterError:
        token = token or self._peek() or _Token("", "<EOF>", len(self._text))
        return InvalidFilterError(
            f'Field filter had an invalid value of "{self._text}": Could not parse filter "{self._text}"; '
            f"syntax error at line 1, column {token.column}, token '{token.text}'"
        )

    def _conjunction(self) -> Expression:
        parts = [self._disjunction()]
        while (token := self._peek()) is not None and token.text != ")":
            self._accept("AND")
            parts.append(self._disjunction())
        # A nested AND says no more than a flat one, and the flat one shows which terms every series must meet.
        flat = [inner for part in parts for inner in (part.parts if isinstance(part, Every) else (part,))]
        return flat[0] if len(flat) == 1 else Every(tuple(flat))

    def _disjunction(self) -> Expression:
        parts = [self._negation()]
        while self._accept("OR"):
            parts.append(self._negation())
        return parts[0] if len(parts) == 1 else Some(tuple(parts))

    def _negation(self) -> Expression:
        if self._accept("NOT", "-"):
            return Negation(self._negation())
        if self._accept("("):
            inner = self._conjunction()
            if not self._accept(")"):
                raise self._error()
            return inner
        return self._comparison()

    def _comparison(self) -> Expression:
        word = self._take("word")
        name = word.text + (_unquote(self._take("string").text) if word.text.endswith(".") else "")
        field = canonical_field(name)
        if field is None:
            raise self._error(word)
        operator = self._take("operator").text
        value = self._take("string", "number", "word")
        if value.kind != "word":
            return Term(field=field, operator=operator, values=(_unquote(value.text),), numeric=value.kind == "number")
        if not self._accept("("):
            return Term(field=field, operator=operator, values=(value.text,))
        if value.text not in _FUNCTIONS or operator not in {"=", "!="}:
            raise self._error(value)
        values = [_unquote(self._take("string", "number").text)]
        while self._accept(","):
            values.append(_unquote(self._take("string", "number").text))
        if not self._accept(")") or (len(values) > 1 and value.text != "one_of"):
            raise self._error()
        if value.text == "monitoring.regex.full_match":
            self._check_pattern(values[0], value)
        return Term(field=field, operator=operator, values=tuple(values), function=value.text)

    def _check_pattern(self, pattern: str, token: _Token) -> None:
        try:
            re.compile(pattern)
        except re.error as error:
            raise self._error(token) from error


def _unquote(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1]) if text[:1] in {'"', "'"} else text
