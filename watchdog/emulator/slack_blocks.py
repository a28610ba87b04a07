"""Block Kit's limits, so that a message which Slack would refuse is refused here.

Limits from docs.slack.dev/reference/block-kit; the sentences are those that Slack's `invalid_blocks` answers carry
(adobe/spacecat-api-service issue 176, ryanrosello-og/playwright-slack-report issue 180).
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

MOST_BLOCKS = 50
MOST_ID = 255
_TYPES = frozenset(
    {
        "actions",
        "context",
        "context_actions",
        "divider",
        "file",
        "header",
        "image",
        "input",
        "markdown",
        "rich_text",
        "section",
        "table",
        "video",
    }
)


def check_blocks(blocks: object) -> list[str]:
    """What is wrong with `blocks`, a sentence with a JSON pointer each; empty when Slack would take them."""
    return list(_check(blocks))


def _check(blocks: object) -> Iterator[str]:
    if not isinstance(blocks, list):
        yield "must be an array [json-pointer:/blocks]"
        return
    if len(blocks) > MOST_BLOCKS:
        yield _too_many(MOST_BLOCKS, "/blocks")
    for index, block in enumerate(blocks):
        at = f"/blocks/{index}"
        if not isinstance(block, Mapping):
            yield f"must be an object [json-pointer:{at}]"
        elif block.get("type") not in _TYPES:
            yield f"unsupported type: {block.get('type')} [json-pointer:{at}/type]"
        else:
            yield from _short(block.get("block_id", ""), MOST_ID, f"{at}/block_id")
            check = _CHECKS.get(str(block["type"]))
            if check is not None:
                yield from check(block, at)


def _section(block: Mapping[str, Any], at: str) -> Iterator[str]:
    text, fields = block.get("text"), block.get("fields")
    if text is None and fields is None:
        yield f"missing required field: text [json-pointer:{at}]"
    if text is not None:
        yield from _text(text, 3000, f"{at}/text")
    yield from _items(fields, 10, f"{at}/fields", lambda item, where: _text(item, 2000, where))
    if "accessory" in block:
        yield from _element(block["accessory"], f"{at}/accessory")


def _header(block: Mapping[str, Any], at: str) -> Iterator[str]:
    text = block.get("text")
    if not isinstance(text, Mapping) or text.get("type") != "plain_text":
        yield f"must be of type plain_text [json-pointer:{at}/text]"
    else:
        yield from _text(text, 150, f"{at}/text")


def _context(block: Mapping[str, Any], at: str) -> Iterator[str]:
    yield from _required(block, "elements", at)
    yield from _items(block.get("elements"), 10, f"{at}/elements", lambda *_: iter(()))


def _actions(block: Mapping[str, Any], at: str) -> Iterator[str]:
    yield from _required(block, "elements", at)
    yield from _items(block.get("elements"), 25, f"{at}/elements", _element)


def _markdown(block: Mapping[str, Any], at: str) -> Iterator[str]:
    yield from _required(block, "text", at)
    yield from _short(block.get("text", ""), 12_000, f"{at}/text")


def _element(element: object, at: str) -> Iterator[str]:
    if not isinstance(element, Mapping):
        yield f"must be an object [json-pointer:{at}]"
        return
    yield from _short(element.get("action_id", ""), MOST_ID, f"{at}/action_id")
    if element.get("type") == "button":
        text = element.get("text")
        if not isinstance(text, Mapping) or text.get("type") != "plain_text":
            yield f"must be of type plain_text [json-pointer:{at}/text]"
        else:
            yield from _text(text, 75, f"{at}/text")
        yield from _short(element.get("value", ""), 2000, f"{at}/value")
        yield from _short(element.get("url", ""), 3000, f"{at}/url")
        if element.get("style", "primary") not in {"primary", "danger"}:
            yield f"must be one of: primary, danger [json-pointer:{at}/style]"


def _text(text: object, most: int, at: str) -> Iterator[str]:
    if not isinstance(text, Mapping) or text.get("type") not in {"plain_text", "mrkdwn"}:
        yield f"must be a text object [json-pointer:{at}]"
    elif not text.get("text"):
        yield f"must be more than 0 characters [json-pointer:{at}/text]"
    else:
        yield from _short(text["text"], most, f"{at}/text")


def _items(items: object, most: int, at: str, check: Callable[[object, str], Iterator[str]]) -> Iterator[str]:
    if items is None:
        return
    if not isinstance(items, list):
        yield f"must be an array [json-pointer:{at}]"
        return
    if len(items) > most:
        yield _too_many(most, at)
    for index, item in enumerate(items):
        yield from check(item, f"{at}/{index}")


def _required(block: Mapping[str, Any], key: str, at: str) -> Iterator[str]:
    if not block.get(key):
        yield f"missing required field: {key} [json-pointer:{at}]"


def _short(text: object, most: int, at: str) -> Iterator[str]:
    if not isinstance(text, str):
        yield f"must be a string [json-pointer:{at}]"
    elif len(text) > most:
        yield f"must be less than {most + 1} characters [json-pointer:{at}]"


def _too_many(most: int, at: str) -> str:
    return f"no more than {most} items allowed [json-pointer:{at}]"


_CHECKS: Mapping[str, Callable[[Mapping[str, Any], str], Iterator[str]]] = {
    "section": _section,
    "header": _header,
    "context": _context,
    "actions": _actions,
    "markdown": _markdown,
}
