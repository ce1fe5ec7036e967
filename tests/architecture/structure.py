"""The rules of docs/architecture.md that a program can check: who may include whom, and how large a folder may be."""

import re
from pathlib import Path

MOST_FILES = 25  # in one folder
SOURCES = {".h", ".cpp", ".cu", ".py", ".js"}
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)


class Room:
    def __init__(self, name, uses, alone, owner=None):
        self.name = name  # a folder and what is below it, but for rooms of their own: "worker/model/"
        self.owner = owner  # the name of the one room that may use it, of which it may use all; None: no such
        self.uses = uses  # folders ("parallel/") and files ("parallel/shard_plan.h") that it may include
        self.alone = alone  # beginnings of libraries' headers that nobody else includes


def in_code(cell):
    return re.findall(r"`([^`]+)`", cell)


def read_rooms(text):
    """The rooms of the table, lowest first: | `room/` | what it is | what it may use | what it alone includes |.

    "`room/` for `owner/`" is the inside of another room.
    """
    rooms = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("| `") and len(cells) == 4 and in_code(cells[0])[0].endswith("/"):
            name, *owner = in_code(cells[0])
            rooms.append(Room(name, in_code(cells[2]), in_code(cells[3]), *owner))
    return rooms


def within(path, places):
    return any(path == place or (place.endswith("/") and path.startswith(place)) for place in places)


def room_of(path, rooms):
    """The innermost room that the file stands in, or None."""
    holding = [room for room in rooms if path.startswith(room.name)]
    return max(holding, key=lambda room: len(room.name), default=None)


def sources_below(root, folder):
    return sorted(
        file.relative_to(root).as_posix()
        for file in (root / folder).rglob("*")
        if file.suffix in SOURCES and file.is_file()
    )


def wrong_order(rooms):
    """What a room may use stands above it in the table, so arrows only point down."""
    for i, room in enumerate(rooms):
        for place in room.uses:
            # A folder may hold rooms of its own: all of them have to come first.
            later = [other.name for other in rooms[i:] if other.name.startswith(place)]
            known = any(place.startswith(other.name) for other in rooms[:i])
            if later or not (known or any(other.name.startswith(place) for other in rooms[:i])):
                yield f"{room.name} may use {place}, which does not stand above it"


def wrong_includes(root, rooms):
    for folder in sorted({room.name.split("/")[0] for room in rooms}):
        for path in sources_below(root, folder):
            room = room_of(path, rooms)
            if room is None:
                yield f"{path}: its folder stands in no row of the table"
                continue
            for kind, included in INCLUDE.findall((root / path).read_text()):
                if kind == "<":
                    yield from wrong_library(path, room, included, rooms)
                elif not (root / included).is_file():
                    yield f'{path} includes "{included}", which is no path from the project\'s root'
                else:
                    yield from wrong_room(path, room, included, rooms)


def wrong_room(path, room, included, rooms):
    target = room_of(included, rooms)
    if target is room:
        return
    if target and target.owner and room.name != target.owner and room.owner != target.owner:
        yield f"{path} includes {included}; {target.name} is for {target.owner} alone"
        return
    if target and (target.owner == room.name or room.owner == target.name):
        return
    uses = room.uses + [place for other in rooms if other.name == room.owner for place in other.uses]
    if not within(included, uses):
        yield f"{path} includes {included}; {room.name} may use {', '.join(uses) or 'nothing'}"


def wrong_library(path, room, included, rooms):
    homes = [other.name for other in rooms if any(included.startswith(name) for name in other.alone)]
    if homes and not within(path, homes):
        yield f"{path} includes <{included}>, which only {' and '.join(homes)} may"


def large_folders(root, folders):
    counts = {}
    for folder in folders:
        for path in sources_below(root, folder):
            holder = Path(path).parent.as_posix()
            counts[holder] = counts.get(holder, 0) + 1
    for folder, count in sorted(counts.items()):
        if count > MOST_FILES:
            yield f"{folder}/ holds {count} sources; {MOST_FILES} are the most: give it rooms"
