"""Holds the tree against docs/architecture.md, and the checks against trees that break its rules."""

import subprocess
import tempfile
import unittest
from pathlib import Path

import structure

PROJECT = Path(__file__).resolve().parents[2]

TABLE = """
| room | what | may use | alone includes |
|---|---|---|---|
| `low/` | | | |
| `ranks/` | | `low/` | `mpi.h` |
| `ranks/watch/` | | `low/`, `ranks/plan.h` | |
| `high/` | | `ranks/` | |
"""


class TheTree(unittest.TestCase):
    def setUp(self):
        self.rooms = structure.read_rooms((PROJECT / "docs/architecture.md").read_text())
        self.assertGreater(len(self.rooms), 10, "the table was not found")

    def test_arrows_only_point_down(self):
        self.assertEqual([], list(structure.wrong_order(self.rooms)))

    def test_includes_are_allowed(self):
        self.assertEqual([], list(structure.wrong_includes(PROJECT, self.rooms)))

    def test_rooms_are_there(self):
        self.assertEqual([], [room.name for room in self.rooms if not (PROJECT / room.name).is_dir()])

    def test_every_folder_with_sources_is_a_room(self):
        folders = {path.parent.name for path in PROJECT.glob("*/CMakeLists.txt")} - {"tests", "build"}
        self.assertEqual(set(), folders - {room.name.split("/")[0] for room in self.rooms})

    def test_folders_are_small(self):
        folders = sorted({room.name.split("/")[0] for room in self.rooms} | {"launch", "tests"})
        self.assertEqual([], list(structure.large_folders(PROJECT, folders)))

    def test_no_ignored_file_is_tracked(self):
        """What .gitignore names is fetched or built on each machine; tracked, it would pass for that."""
        if not (PROJECT / ".git").exists():
            self.skipTest("not a git checkout")
        command = ["git", "-c", "safe.directory=*", "ls-files", "--cached", "--ignored", "--exclude-standard"]
        tracked = subprocess.run(command, cwd=PROJECT, check=True, capture_output=True, text=True).stdout
        self.assertEqual([], tracked.splitlines()[:10])


class TheChecks(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.root = Path(directory.name)
        self.rooms = structure.read_rooms(TABLE)
        self.put("low/a.h", "#include <vector>\n")
        self.put("ranks/plan.h", '#include "low/a.h"\n')
        self.put("ranks/group.cpp", '#include <mpi.h>\n\n#include "ranks/plan.h"\n')
        self.put("ranks/watch/watch.h", '#include "ranks/plan.h"\n')
        self.put("high/top.cpp", '#include "ranks/watch/watch.h"\n')

    def put(self, path, text):
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def complaints(self):
        return list(structure.wrong_includes(self.root, self.rooms))

    def test_a_good_tree_passes(self):
        self.assertEqual([], list(structure.wrong_order(self.rooms)))
        self.assertEqual([], self.complaints())

    def test_an_include_that_points_up(self):
        self.put("low/a.h", '#include "high/top.h"\n')
        self.put("high/top.h", "")
        self.assertEqual(["low/a.h includes high/top.h; low/ may use nothing"], self.complaints())

    def test_an_include_past_a_neighbour(self):
        self.put("high/top.cpp", '  # include "low/a.h" // not in its row\n')
        self.assertEqual(["high/top.cpp includes low/a.h; high/ may use ranks/"], self.complaints())

    def test_a_room_within_a_room(self):
        self.put("ranks/watch/watch.h", '#include "ranks/other.h"\n')
        self.put("ranks/other.h", "")
        self.assertEqual(1, len(self.complaints()))
        self.put("ranks/watch/watch.h", "")
        self.put("ranks/group.cpp", '#include "ranks/watch/watch.h"\n')
        self.assertEqual(1, len(self.complaints()))

    def test_the_inside_of_a_room(self):
        inner = "| `ranks/inner/` for `ranks/` | | | |\n| `ranks/other/` for `ranks/` | | `ranks/inner/` | |\n| `high/`"
        self.rooms = structure.read_rooms(TABLE.replace("| `high/`", inner))
        self.put("ranks/inner/i.h", '#include "low/a.h"\n#include "ranks/plan.h"\n')
        self.put("ranks/other/o.h", '#include "ranks/inner/i.h"\n')
        self.put("ranks/group.cpp", '#include "ranks/other/o.h"\n')
        self.test_a_good_tree_passes()
        self.put("high/top.cpp", '#include "ranks/inner/i.h"\n')
        self.assertEqual(["high/top.cpp includes ranks/inner/i.h; ranks/inner/ is for ranks/ alone"],
                         self.complaints())
        self.put("high/top.cpp", "")
        self.put("ranks/inner/i.h", '#include "ranks/other/o.h"\n')
        self.assertEqual(["ranks/inner/i.h includes ranks/other/o.h; ranks/inner/ may use low/"], self.complaints())

    def test_a_library_outside_its_home(self):
        self.put("high/top.cpp", "#include <mpi.h>\n")
        self.assertEqual(["high/top.cpp includes <mpi.h>, which only ranks/ may"], self.complaints())

    def test_an_include_beside_the_file(self):
        self.put("low/b.h", '#include "a.h"\n')
        self.assertIn('low/b.h includes "a.h", which is no path', self.complaints()[0])

    def test_a_table_whose_arrows_point_up(self):
        rooms = structure.read_rooms(TABLE.replace("| `low/` | | |", "| `low/` | | `high/` |"))
        self.assertEqual(["low/ may use high/, which does not stand above it"], list(structure.wrong_order(rooms)))

    def test_a_large_folder(self):
        for i in range(structure.MOST_FILES + 1):
            self.assertEqual([], list(structure.large_folders(self.root, ["high"])))
            self.put(f"high/room/{i}.h", "")
        self.assertIn("high/room/ holds 26 sources", list(structure.large_folders(self.root, ["high"]))[0])


if __name__ == "__main__":
    unittest.main(verbosity=2)  # which says why a test was skipped
