#!/usr/bin/env python3
"""Checks that CTest can tell the test cases apart: test_names.py <root>.

A bracket, a semicolon or a backslash in a name breaks the lists that Catch2's CMake script makes: the case, and the cases after it, are
then asked for by names that nothing has, which passes. A name that two cases of one folder have would run both twice."""

import collections
import pathlib
import re
import sys

CASE = re.compile(r'^\s*(?:TEMPLATE_)?TEST_CASE\(\s*"((?:[^"\\]|\\.)*)"', re.MULTILINE)


def problems(root):
    seen = collections.defaultdict(list)
    for path in sorted((root / "tests").rglob("*_test.cpp")):
        place = path.relative_to(root).as_posix()
        for match in CASE.finditer(path.read_text(encoding="utf-8")):
            name = match.group(1)
            line = path.read_text(encoding="utf-8").count("\n", 0, match.start(1)) + 1
            if re.search(r"[][;\\]", name):
                yield f'{place}:{line}: the name "{name}" has a bracket, a semicolon or a backslash, which CTest takes apart'
            folder = place.split("/")[1]
            seen[folder, name].append(f"{place}:{line}")
    for (_, name), places in seen.items():
        if len(places) > 1:
            yield f'{", ".join(places)}: the name "{name}" is there {len(places)} times'


def main():
    found = list(problems(pathlib.Path(sys.argv[1])))
    print("\n".join(found) if found else "every test case has a name of its own that CTest understands")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
