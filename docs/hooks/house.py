"""The picture of the house, drawn from the arrows that docs/architecture.md has as text: rooms in rows, arrows down."""

from __future__ import annotations

import re
from collections import defaultdict
from itertools import pairwise

WIDE, HIGH, GAP = 92, 30, 14  # of a room, and between two beside each other
PASSING = 22  # the width that an arrow takes in a row that it passes
STEP = 66  # from one row to the next
ARROW = re.compile(r"^ +(\w+) (-\.?->) (.*)$", re.MULTILINE)

Edges = list[tuple[str, str, bool]]


def draw(text: str) -> str:
    """The picture as SVG; dotted arrows stay dotted."""
    edges = [(room, one, "." in kind) for room, kind, below in ARROW.findall(text) for one in below.split(" & ")]
    floors = floor_of(edges)
    rows, ways = rowed(edges, floors)
    order(rows, ways)
    width = max(sum(map(room_for, row)) for row in rows)
    at = {}
    for number, row in enumerate(rows):
        left = (width - sum(map(room_for, row))) / 2
        for name in row:
            at[name] = (left + room_for(name) / 2, GAP + number * STEP)
            left += room_for(name)
    lines = [path([at[one] for one in way], dotted) for way, dotted in ways]
    rooms = [room(name, *at[name]) for row in rows for name in row if isinstance(name, str)]
    height = len(rows) * STEP - STEP + HIGH + 2 * GAP
    said = "The rooms of the house, each above those that it imports"
    head = f'<svg class="drawing house" role="img" aria-label="{said}" viewBox="0 0 {width:.0f} {height:.0f}"'
    marker = (
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 1L7 4L0 7" fill="none" stroke="currentColor"/></marker></defs>'
    )
    return f'{head} xmlns="http://www.w3.org/2000/svg">{marker}{"".join(lines)}{"".join(rooms)}</svg>'


def room_for(name: object) -> int:
    """How wide a place in a row is: that of a room, or of an arrow that passes."""
    return WIDE + GAP if isinstance(name, str) else PASSING


def floor_of(edges: Edges) -> dict[str, int]:
    """Of each room its row: the longest way from the top."""
    above = defaultdict(set)
    for room_, below, _ in edges:
        above[below].add(room_)
        above[room_] |= set()
    floors: dict[str, int] = {}

    def walk(name: str) -> int:
        if name not in floors:
            floors[name] = max((walk(one) + 1 for one in above[name]), default=0)
        return floors[name]

    for name in list(above):
        walk(name)
    return floors


def rowed(edges: Edges, floors: dict[str, int]) -> tuple[list[list[object]], list[tuple[list[object], bool]]]:
    """The rooms by row, and each arrow's way: a place of its own in every row that it only passes."""
    rows: list[list[object]] = [[] for _ in range(max(floors.values()) + 1)]
    for name, floor in floors.items():
        rows[floor].append(name)
    ways: list[tuple[list[object], bool]] = []
    for above, below, dotted in edges:
        passed: list[tuple[str, str, int]] = [
            (above, below, floor) for floor in range(floors[above] + 1, floors[below])
        ]
        for one in passed:
            rows[one[2]].append(one)
        ways.append(([above, *passed, below], dotted))
    return rows, ways


def order(rows: list[list[object]], ways: list[tuple[list[object], bool]]) -> None:
    """Sort each row by where its neighbours stand, down and up again, until few arrows cross."""
    beside: dict[tuple[object, int], list[object]] = defaultdict(list)
    for way, _ in ways:
        for one, other in pairwise(way):
            beside[other, -1].append(one)
            beside[one, 1].append(other)
    for turn in range(24):
        side = -1 if turn % 2 == 0 else 1
        numbers = range(1, len(rows)) if side == -1 else range(len(rows) - 2, -1, -1)
        for number in numbers:
            there = {name: (place + 0.5) / len(rows[number + side]) for place, name in enumerate(rows[number + side])}
            here = {name: (place + 0.5) / len(rows[number]) for place, name in enumerate(rows[number])}

            def middle(name: object, there: dict = there, here: dict = here, side: int = side) -> float:
                found = [there[one] for one in beside[name, side]]
                return sum(found) / len(found) if found else here[name]

            rows[number].sort(key=middle)


def path(points: list[tuple[float, float]], dotted: bool) -> str:
    """An arrow from the bottom of one room to the top of another, through the places that it passes."""
    (x, y), *others = points
    made = f"M{x:.0f} {y + HIGH:.0f}"
    y += HIGH
    for number, (to_x, to_y) in enumerate(others):
        bend = (to_y - y) / 2
        made += f"C{x:.0f} {y + bend:.0f} {to_x:.0f} {to_y - bend:.0f} {to_x:.0f} {to_y:.0f}"
        if number < len(others) - 1:
            made += f"V{to_y + HIGH:.0f}"
        x, y = to_x, to_y + HIGH
    dashes = ' stroke-dasharray="3 4"' if dotted else ""
    return f'<path d="{made}" fill="none" stroke="currentColor" opacity="0.45"{dashes} marker-end="url(#tip)"/>'


def room(name: str, x: float, y: float) -> str:
    """A room with its name."""
    box = f'<rect class="room" x="{x - WIDE / 2:.0f}" y="{y:.0f}" width="{WIDE}" height="{HIGH}" rx="5"/>'
    return f'{box}<text x="{x:.0f}" y="{y + 20:.0f}" text-anchor="middle">{name}</text>'
