"""Two entries are of one kind when they differ only in numbers, ids and values."""

import time
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchdog.sources.log_fingerprint import kind_of, normal
from watchdog.sources.stack_trace import read

PYTHON = """Traceback (most recent call last):
  File "/srv/app/main.py", line {a}, in handle
    return await couriers.create(body)
  File "/srv/app/couriers.py", line {b}, in create
    plate = body["plate"]
  File "/usr/local/lib/python3.11/site-packages/thing/core.py", line 9, in __getitem__
    raise KeyError(key)
KeyError: '{key}'"""
JAVA = """com.acme.OrderException: order {key} failed
\tat org.springframework.web.Dispatcher.run(Dispatcher.java:{a})
\tat com.acme.web.Orders.post(Orders.java:{b})
Caused by: java.lang.IllegalStateException: no stock for {key}
\tat com.acme.stock.Shelf.take(Shelf.java:{a})
\tat com.acme.web.Orders.post(Orders.java:{b})
\t... 12 more"""
NODE = """TypeError: Cannot read properties of undefined (reading '{key}')
    at Object.create (/app/src/couriers.js:{a}:17)
    at async /app/src/server.js:{b}:3
    at Layer.handle (/app/node_modules/express/lib/router/layer.js:95:5)"""
GO = """panic: runtime error: index out of range [{a}]

goroutine {b} [running]:
runtime.gopanic(0xc000{a})
\t/usr/local/go/src/runtime/panic.go:770 +0x132
main.(*Server).assign(0xc000{b})
\t/src/cmd/server/assign.go:{a} +0x1d"""
NET = """System.InvalidOperationException: no vehicle {key}
   at Acme.Fleet.Vehicles.Take(String id) in /src/Fleet/Vehicles.cs:line {a}
   at Microsoft.AspNetCore.Mvc.Run(Object o) in /_/src/Mvc.cs:line {b}"""
RUBY = """RuntimeError: no shift {key}
\tfrom /app/models/shift.rb:{a}:in `close'
\tfrom /usr/local/bundle/gems/rack-3.0/lib/rack.rb:{b}:in `call'"""
PHP = """PHP Fatal error: Uncaught RuntimeException: no shift {key}
#0 /app/src/Shift.php({a}): close()
#1 /app/vendor/slim/App.php({b}): run()"""


@pytest.mark.parametrize(
    "trace, kind, where",
    [
        (PYTHON, "KeyError", "app/couriers.py in create, called from app/main.py in handle"),
        (
            JAVA,
            "java.lang.IllegalStateException",
            "com.acme.stock.Shelf in take, called from com.acme.web.Orders in post",
        ),
        (NODE, "TypeError", "src/couriers.js in Object.create, called from src/server.js"),
        (GO, "runtime error", "server/assign.go in main."),
        (NET, "System.InvalidOperationException", "Fleet/Vehicles.cs in Acme.Fleet.Vehicles.Take"),
        (RUBY, "RuntimeError", "models/shift.rb in close"),
        (PHP, "RuntimeException", "src/Shift.php in close"),
    ],
    ids=["python", "java", "node", "go", "net", "ruby", "php"],
)
def test_a_stack_trace_is_told_by_what_was_thrown_and_its_own_calls(trace: str, kind: str, where: str) -> None:
    one, other = (trace.format(a=a, b=b, key=key) for a, b, key in ((17, 4, "plate"), (2048, 99, "courier-7")))
    assert kind_of(one).key == kind_of(other).key, "lines move with every deploy, and values with every request"
    assert kind_of(one).key == kind_of("could not handle 17", trace=one).key, "apart or inside the message"
    assert kind_of(one).where == where
    found = read(one)
    assert found is not None
    assert found.kind == kind or kind in found.header


def test_another_call_or_another_exception_is_another_kind() -> None:
    base = kind_of(PYTHON.format(a=1, b=2, key="x")).key
    assert kind_of(PYTHON.format(a=1, b=2, key="x").replace("in create", "in remove")).key != base
    assert kind_of(PYTHON.format(a=1, b=2, key="x").replace("KeyError:", "ValueError:")).key != base


@pytest.mark.parametrize(
    "one, other",
    [
        ("order 17 of customer 4 failed", "order 2048 of customer 9 failed"),
        ("GET /api/v1/couriers/17/shifts?day=3 answered 500", "GET /api/v1/couriers/9/shifts answered 503"),
        ("2026-09-21T14:13:20.123Z worker 3: timeout after 3.2s", "2026-11-01T01:00:00Z worker 4: timeout after 12.9s"),
        ('no column "plate" in relation `v_1`', 'no column "courier" in relation `v_22`'),
        ("no such key 'plate'", "no such key 'a longer one'"),
        ("cannot reach 10.0.3.17:5432", "cannot reach 10.99.0.1:5432"),
        ("token eyJhbGciOi9 of ada@example.com expired", "token eyJzdWIiOi1 of bob.b@mail.example.org expired"),
        ("charge cus_9s6XKzkNRiz8i3 declined", "charge cus_1aBcD2eFgH3iJk declined"),
        ("object at 0x7f2a31 leaked", "object at 0xdeadbeef leaked"),
        ("ids [1, 2, 3] are gone", "ids [4, 5] are gone"),
        ("cannot open /var/data/a1b2c3/part-0001.csv", "cannot open /var/data/ff00aa/part-0002.csv"),
        ("\x1b[31mERROR\x1b[0m retry 3", "ERROR retry 4"),
    ],
)
def test_numbers_ids_values_and_variable_parts_of_paths_do_not_count(one: str, other: str) -> None:
    assert normal(one) == normal(other)
    assert kind_of(one).key == kind_of(other).key


@pytest.mark.parametrize(
    "one, other",
    [
        ("GET /api/v1/couriers/17 failed", "GET /api/v1/vehicles/17 failed"),
        ("disk full", "disk failing"),
        ("Bob's cart isn't empty", "Bob's cart isn't there"),
        ("timeout talking to redis", "timeout talking to postgres"),
    ],
)
def test_what_names_something_counts(one: str, other: str) -> None:
    assert kind_of(one).key != kind_of(other).key


@given(st.uuids(), st.uuids(), st.integers(0, 10**12), st.integers(0, 10**12))
def test_whatever_the_ids_and_numbers(a: uuid.UUID, b: uuid.UUID, n: int, m: int) -> None:
    text = "assignment {id} of shift {n}: no vehicle for /v1/shifts/{id}/vehicles/{n}"
    assert kind_of(text.format(id=a, n=n)).key == kind_of(text.format(id=b, n=m)).key


@given(st.text(max_size=2000))
def test_no_text_is_too_strange(text: str) -> None:
    kind = kind_of(text)
    assert kind == kind_of(text)
    assert len(kind.text) <= 400


@pytest.mark.parametrize("text", ["/" * 8000, "a" * 8000, '"' * 8000, "at a(" * 1600, "1:" * 4000, "<n>, " * 1600])
def test_no_text_takes_long(text: str) -> None:
    began = time.process_time()
    kind_of("at " + text, trace="x\n" + text)
    assert time.process_time() - began < 0.2
