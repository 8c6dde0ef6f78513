"""What the frameworks are given to keep: some fifty memories, the odd ones among them."""

from __future__ import annotations

import math
import random
import uuid
from dataclasses import dataclass, field
from typing import Any

SIZE = 48
# What Outrigger makes ids of that Qdrant has no form for.
NAMESPACE = uuid.UUID("7c5b0d5e-3c0e-5d0a-9b1e-6f7574726967")

TEXTS = [
    "Grüße aus Köln, 你好, שלום, مرحبا, 🦀👩‍👩‍👧",
    "it's \"quoted\", `ticked` and 'twice ''quoted'''",
    "'; drop table memories; --",
    "$1 %s %(name)s {} {0} ${x} \\ \\n \\u0041 C:\\new\\table",
    "two lines\nand a tab\tand a return\r\n",
    "  blanks around  ",
    '{"json": [1, 2.0, null], "text": "in a text"}',
    "e\u0301 is not \u00e9, and \u2028 is no line break",
    "<b>markup &amp; more</b>",
    "long " * 1200,
]
METADATA = [
    {"nested": {"deep": {"deeper": [{"a": 1}, {"b": [None, True, "x"]}]}}},
    {"a key with blanks": 1, "a.dotted.key": 2, 'a "quoted" key': 3, "ключ": 4, "slash/key": 5},
    {"whole": 1.0, "small": 1e-7, "sum": 0.30000000000000004, "minus": -7, "big": 2**53 + 1},
    {"nothing": None, "empty_list": [], "empty_map": {}, "empty_text": ""},
    {"quote": 'a "quote" and a \\', "line": "one\ntwo", "emoji": "🦀"},
    {"tags": ["x", "y", "ü"], "numbers": [1, 2.5, -3]},
    {"date": "2024-02-29T12:00:00+01:00", "looks_like_a_number": "42", "looks_null": "null"},
    {"page_content": "not the text", "metadata": {"metadata": 1}, "text": "nor this"},
]


@dataclass
class Memory:
    id: str
    text: str
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def vector(self) -> list[float]:
        return embed(self.text)


def embed(text: str) -> list[float]:
    """A direction of the text's own: no two are equally far from a third. Not of length one, as
    pgvector keeps what it is given and Qdrant does not."""
    chance = random.Random(text)
    return [round(chance.gauss(0.0, 1.5), 6) for _ in range(SIZE)]


def memories(odd_ids: bool = False) -> list[Memory]:
    """The same every time. Most ids are UUIDs, some of them written as 32 digits; with `odd_ids`
    there are some that are neither."""
    chance = random.Random(7)
    made = []
    for number in range(50):
        text = TEXTS[number // 5] if number % 5 == 0 else f"memory number {number}"
        own = METADATA[number // 6] if number % 6 == 0 and number // 6 < len(METADATA) else {}
        shared = {"kind": "abc"[number % 3], "number": number, "even": number % 2 == 0}
        made.append(
            Memory(str(uuid.UUID(int=chance.getrandbits(128), version=4)), text, shared | own)
        )
    if odd_ids:
        for memory, odd in zip(made[3::10], ODD_IDS, strict=True):
            memory.id = odd
    return made


ODD_IDS = ["notes/2024 #1", "O'Reilly", "42", "größe", "a" * 200]


def shown_id(written: str) -> str:
    """The id under which a client of Qdrant sees a row whose id is this text."""
    try:
        return str(uuid.UUID(written))
    except ValueError:
        return str(uuid.uuid5(NAMESPACE, written))


def cosine(one: list[float], other: list[float]) -> float:
    dot = sum(a * b for a, b in zip(one, other, strict=True))
    return dot / math.hypot(*one) / math.hypot(*other)
