#!/usr/bin/env python3
"""Checks one case of tests/compile_fail/*.cpp (README.md tells how they are written).

  run.py --list FILE                          prints the names of the file's cases
  run.py --build FOLDER FILE                  the file must compile
  run.py --build FOLDER FILE --case NAME      with GRADUS_FAIL_NAME it must not, and the compiler must say why"""

import argparse
import json
import pathlib
import re
import shlex
import subprocess
import sys

CASE = re.compile(r"^#ifdef GRADUS_FAIL_(\w+)(?:\s*//\s*expect: *(.*\S))?\s*$", re.MULTILINE)


def compiler_command(build):
    """How the build compiles a test, without its files, its output and its warnings."""
    entries = json.loads((build / "compile_commands.json").read_text(encoding="utf-8"))
    entry = next(entry for entry in entries if entry["file"].endswith("/tests/main.cpp"))
    words = shlex.split(entry["command"])
    while words and not re.search(r"(\+\+|clang|gcc|cc)[-.\d]*$", words[0]):
        words.pop(0)  # the compiler cache and its settings: there is no output to keep
    if words and words[0].endswith("ccache"):
        words.pop(0)
    command, skip = [], False
    for word in words:
        if not skip and word not in ("-c", "-o") and not word.startswith("-W") and word != entry["file"]:
            command.append(word)
        skip = word == "-o"
    return command, entry["directory"]


def check(build, path, case):
    """None, or what is wrong."""
    command, folder = compiler_command(build)
    expected = dict(CASE.findall(path.read_text(encoding="utf-8")))
    if case is not None:
        if not expected.get(case):
            return f"{path}: no line `#ifdef GRADUS_FAIL_{case}  // expect: <text>`"
        command.append(f"-DGRADUS_FAIL_{case}")
    result = subprocess.run([*command, "-fsyntax-only", str(path)], cwd=folder, capture_output=True, text=True)
    output = result.stdout + result.stderr
    if case is None:
        return None if result.returncode == 0 else f"{output}\n{path}: the correct twin must compile"
    if result.returncode == 0:
        return f"{path}: compiles with GRADUS_FAIL_{case}, but must not"
    if not any(text in output for text in expected[case].split(" | ")):
        return f"{output}\n{path}: GRADUS_FAIL_{case} fails, but not with the words: {expected[case]}"
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=pathlib.Path)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--build", type=pathlib.Path)
    parser.add_argument("--case")
    options = parser.parse_args()
    if options.list:
        print("\n".join(name for name, _ in CASE.findall(options.file.read_text(encoding="utf-8"))))
        return 0
    problem = check(options.build, options.file.resolve(), options.case)
    print(problem or "as it must be")
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main())
