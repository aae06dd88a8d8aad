#!/usr/bin/env python3
"""Checks the tree's formatting with clang-format 14, or mends it with --fix. Other versions format differently, so
exactly this one is used: installed, or else the PyPI wheel in a folder of its own."""

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys

WHEEL = "clang-format==14.0.6"
FOLDERS = ["include", "tests", "examples", "benchmarks"]
SKIPPED = 77  # what ctest counts as skipped


def is_version_14(program):
    if not program or not shutil.which(program):
        return False
    version = subprocess.run([program, "--version"], capture_output=True, text=True).stdout
    return re.search(r"version 14\.", version) is not None


def from_wheel():
    """The program from PyPI, installed on first use beside the user's other caches; None when that fails."""
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    folder = cache / "gradus" / "clang-format-14"
    program = folder / "bin" / "clang-format"
    if is_version_14(str(program)):
        return str(program)
    print(f"no clang-format 14 is installed; trying {WHEEL} in {folder}", flush=True)
    for command in ([sys.executable, "-m", "venv", str(folder)], [str(folder / "bin" / "pip"), "install", "-q", WHEEL]):
        try:
            if subprocess.run(command, timeout=300).returncode != 0:
                return None
        except (OSError, subprocess.TimeoutExpired):
            return None
    return str(program) if is_version_14(str(program)) else None


def find_program():
    names = [os.environ.get("CLANG_FORMAT", ""), "clang-format-14", "clang-format"]
    return next((name for name in names if is_version_14(name)), None) or from_wheel()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=pathlib.Path, help="the root of the sources")
    parser.add_argument("--fix", action="store_true", help="format the files instead of checking them")
    options = parser.parse_args()
    program = find_program()
    if program is None:
        print("THE FORMAT WAS NOT CHECKED: clang-format 14 is not installed and could not be.\n"
              "Install clang-format-14 with the system's packages, or set CLANG_FORMAT to it.")
        return 1 if options.fix else SKIPPED
    files = [str(path) for folder in FOLDERS for suffix in ("*.hpp", "*.cpp")
             for path in sorted((options.root / folder).rglob(suffix))]
    arguments = ["-i"] if options.fix else ["--dry-run", "-Werror"]
    result = subprocess.run([program, "--style=file", *arguments, *files])
    if result.returncode != 0:
        print("`./run format` mends it")
    print(f"{len(files)} files, {'formatted' if options.fix else 'checked'} with {program}")
    return result.returncode if files else 1


if __name__ == "__main__":
    sys.exit(main())
