"""The text of a spec as a tree of pieces to lay out anew: scalars verbatim, comments attached.

Made from the same libyaml events the reader uses, after the reader has accepted the text (so it is
small, shallow, and free of anchors, tags and directives).
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

Place = tuple[int, int]  # line and column, both from 0


@dataclass(slots=True)
class Leaf:
    """A scalar: its lines as they stand in the file; empty for a value left out."""

    start: Place
    end: Place
    lines: list[str]

    @property
    def block(self) -> bool:
        """A literal or folded block: `|` or `>` and indented lines."""
        return self.lines[0][:1] in ("|", ">") and len(self.lines) > 1


@dataclass(slots=True)
class Entry:
    """A key with its value (`key` None: an item of a list) and the comments that go with it."""

    key: Leaf | None
    value: Piece
    lead: list[str] = field(default_factory=list)  # lines before it; "" is a blank line
    trail: str = ""  # comment at the end of its line

    @property
    def start(self) -> Place:
        return self.key.start if self.key else self.value.start


@dataclass(slots=True)
class Group:
    """A mapping or a list. `foot` are comments after its last entry."""

    mapping: bool
    flow: bool
    start: Place
    end: Place = (0, 0)
    entries: list[Entry] = field(default_factory=list)
    foot: list[str] = field(default_factory=list)
    verbatim: list[str] | None = None  # a flow collection that holds comments: its lines


Piece = Leaf | Group


@dataclass(slots=True)
class Comment:
    """A comment; `own` if nothing else stands on its line."""

    place: Place
    text: str
    own: bool


@dataclass(slots=True)
class Document:
    """A whole file. `header` are the lines before the first entry."""

    root: Group
    header: list[str]


def document(text: str) -> Document:
    """The tree of a text the reader accepts."""
    lines = text.split("\n")
    root, leaves = _pieces(text, lines)
    comments = find_comments(lines, leaves)
    _keep_verbatim(root, comments, lines)
    header = _attach(root, comments, lines)
    return Document(root, header)


def comments_of(text: str) -> list[str]:
    """The comments of a text, in order."""
    lines = text.split("\n")
    return [c.text for c in find_comments(lines, _pieces(text, lines)[1])]


# --- events to pieces -----------------------------------------------------------------------------
def _pieces(text: str, lines: list[str]) -> tuple[Group, list[Leaf]]:
    events: Iterator[Any] = iter(yaml.parse(text, Loader=getattr(yaml, "CLoader", yaml.Loader)))
    leaves: list[Leaf] = []
    for event in events:
        if isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            return _group(event, events, lines, leaves), leaves
    raise ValueError("not a mapping")  # the reader has refused it before


def _group(event: Any, events: Iterator[Any], lines: list[str], leaves: list[Leaf]) -> Group:
    mapping = isinstance(event, yaml.MappingStartEvent)
    group = Group(mapping, bool(event.flow_style), _place(event.start_mark))
    key: Leaf | None = None
    for inner in events:
        if isinstance(inner, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            group.end = _place(inner.end_mark)
            return group
        piece = _piece(inner, events, lines, leaves)
        if mapping and key is None and isinstance(piece, Leaf):
            key = piece
        else:
            group.entries.append(Entry(key, piece))
            key = None
    raise ValueError("unfinished")  # libyaml closes what it opens


def _piece(event: Any, events: Iterator[Any], lines: list[str], leaves: list[Leaf]) -> Piece:
    if not isinstance(event, yaml.ScalarEvent):
        return _group(event, events, lines, leaves)
    start, end = _place(event.start_mark), _place(event.end_mark)
    leaf = Leaf(start, end, _between(lines, start, end))
    leaves.append(leaf)
    return leaf


def _place(mark: Any) -> Place:
    return mark.line, mark.column


def _between(lines: list[str], start: Place, end: Place) -> list[str]:
    (first, left), (last, right) = start, end
    if first == last:
        return [lines[first][left:right]]
    tail = [lines[last][:right]] if last < len(lines) and right else []
    return [lines[first][left:], *lines[first + 1 : last], *tail]


# --- comments -------------------------------------------------------------------------------------
def find_comments(lines: list[str], leaves: list[Leaf]) -> list[Comment]:
    """Every `#` that starts a comment: outside scalars, at the start of a line or after a space."""
    starts = [leaf.start for leaf in leaves]
    found = []
    for number, line in enumerate(lines):
        column = line.find("#")
        while column >= 0:
            if (column == 0 or line[column - 1] in " \t") and not _inside(
                (number, column), leaves, starts
            ):
                own = not line[:column].strip()
                found.append(Comment((number, column), line[column:].rstrip(), own))
                break
            column = line.find("#", column + 1)
    return found


def _inside(place: Place, leaves: list[Leaf], starts: list[Place]) -> bool:
    at = bisect.bisect_right(starts, place) - 1
    return at >= 0 and leaves[at].start <= place < leaves[at].end


def _keep_verbatim(group: Group, comments: list[Comment], lines: list[str]) -> None:
    """Mark the outermost flow collections that hold comments or lines that cannot be joined."""
    places = [c.place for c in comments]
    for entry in group.entries:
        value = entry.value
        if isinstance(value, Leaf):
            continue
        if not value.flow:
            _keep_verbatim(value, comments, lines)
        elif value.start[0] != value.end[0]:
            first = bisect.bisect_left(places, value.start)
            if (first < len(places) and places[first] < value.end) or not _joinable(value):
                value.verbatim = _between(lines, value.start, value.end)


def _joinable(piece: Piece) -> bool:
    """No scalar of a flow collection has an empty line, which would mean a line break."""
    if isinstance(piece, Leaf):
        return all(line.strip() for line in piece.lines[1:])
    return all(_joinable(e.value) and (not e.key or _joinable(e.key)) for e in piece.entries)


@dataclass(slots=True)
class _Stop:
    """A block entry in the order of the file, and the block groups it lies in, outermost first."""

    entry: Entry
    within: list[Group]


def _attach(root: Group, comments: list[Comment], lines: list[str]) -> list[str]:
    """Give every comment and blank line to an entry or a group; the lines before the first."""
    stops = list(_stops(root, []))
    free = [c for c in comments if not _in_verbatim(c, stops)]
    for comment in free:
        if not comment.own:
            _stop_before(comment.place, stops).entry.trail = comment.text
    occupied = _occupied(stops)
    own = {c.place[0]: c for c in free if c.own}
    header: list[str] = []
    for before, after in zip([None, *stops], [*stops, None], strict=True):
        gap = _gap(before, after, occupied, own, lines)
        if before is None:
            header = [c.text if isinstance(c, Comment) else "" for c in gap]
        else:
            _distribute(gap, before, after)
    return header


def _stops(group: Group, within: list[Group]) -> Iterator[_Stop]:
    path = [*within, group]
    for entry in group.entries:
        stop = _Stop(entry, path)
        inner = entry.value
        if isinstance(inner, Group) and not inner.flow:
            if entry.key:
                yield stop
            yield from _stops(inner, path)
        else:
            yield stop


def _in_verbatim(comment: Comment, stops: list[_Stop]) -> bool:
    value = _stop_before(comment.place, stops).entry.value
    if isinstance(value, Leaf) or value.verbatim is None:
        return False
    return value.start <= comment.place < value.end


def _stop_before(place: Place, stops: list[_Stop]) -> _Stop:
    at = bisect.bisect_right(stops, place, key=lambda s: s.entry.start) - 1
    return stops[max(at, 0)]


def _occupied(stops: list[_Stop]) -> list[int]:
    """The last line of each entry's own text (its key line, if the value is a block group)."""
    ends = []
    for stop in stops:
        value = stop.entry.value
        if isinstance(value, Group) and not value.flow:
            ends.append(stop.entry.start[0])
        elif isinstance(value, Leaf) and value.block:
            ends.append(value.start[0] + len(value.lines) - 1)
        else:
            ends.append(value.end[0])
    return ends


def _gap(
    before: _Stop | None,
    after: _Stop | None,
    occupied: list[int],
    own: dict[int, Comment],
    lines: list[str],
) -> list[Comment | None]:
    """Comments (None: a blank line) between two neighbours."""
    first = 0 if before is None else occupied.pop(0) + 1
    last = len(lines) if after is None else after.entry.start[0]
    gap: list[Comment | None] = []
    for number in range(first, last):
        if number in own:
            gap.append(own[number])
        elif not lines[number].strip() and (gap and gap[-1] is not None or not gap):
            gap.append(None)
    return gap


def _distribute(gap: list[Comment | None], before: _Stop, after: _Stop | None) -> None:
    """Comments deeper than what follows end the groups they are indented with; the rest lead it."""
    column = after.entry.start[1] if after else 0
    inner = [g for g in before.within if g.start[1] > column]
    follows = after.entry.lead if after else before.within[0].foot
    waiting: list[str] = []
    deeper = bool(inner)
    for comment in gap:
        if comment is None:
            waiting.append("")
            continue
        deeper = deeper and comment.place[1] > column
        at_home = [g for g in inner if g.start[1] <= comment.place[1]] or inner[:1]
        target = at_home[-1].foot if deeper else follows
        target += [*waiting, comment.text]
        waiting = []
    if after is not None:
        after.entry.lead += waiting
