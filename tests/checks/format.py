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
import tempfile

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


def formatted(program, root, names):
    """The files' texts as they should be. One run over copies: the program is slow to start, and version 14's
    --dry-run complains of namespaces that -i leaves as they are."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(root / ".clang-format", folder)
        copies = [pathlib.Path(folder) / name for name in names]
        for name, copy in zip(names, copies):
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / name, copy)
        subprocess.run([program, "--style=file", "-i", *map(str, copies)], check=True)
        return [copy.read_bytes() for copy in copies]


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
    root = options.root
    names = [path.relative_to(root) for folder in FOLDERS for suffix in ("*.hpp", "*.cpp")
             for path in sorted((root / folder).rglob(suffix))]
    problems = 0
    for name, text in zip(names, formatted(program, root, names)):
        if (root / name).read_bytes() == text:
            continue
        problems += 1
        if options.fix:
            (root / name).write_bytes(text)
        print(f"{name} {'was formatted' if options.fix else 'is not formatted; `./run format` mends it'}")
    print(f"{len(names)} files, {problems} {'were formatted' if options.fix else 'not formatted'} ({program})")
    return 1 if not names or (problems and not options.fix) else 0


if __name__ == "__main__":
    sys.exit(main())
