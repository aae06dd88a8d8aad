#!/usr/bin/env python3
"""Checks that gradus.hpp names every public header, in order; --write rewrites its list.

A header is public when it opens namespace gradus itself (gradus::detail alone does not count) or defines a macro for
users, outside device/, which holds kernels."""

import argparse
import pathlib
import re
import sys

OPENS_GRADUS = re.compile(r"^namespace gradus(::(?!detail)\w+)*?::inline \w+ \{", re.MULTILINE)
USER_MACRO = re.compile(r"^/// [^\n]*\n#define GRADUS_\w+\(", re.MULTILINE)
INCLUDE = re.compile(r'^#include "gradus/([^"]+)"[^\n]*\n', re.MULTILINE)


def public_headers(root):
    for path in sorted(root.rglob("*.hpp"), key=lambda path: path.relative_to(root).as_posix()):
        name = path.relative_to(root).as_posix()
        if "/" not in name or name.startswith("device/"):
            continue
        text = path.read_text(encoding="utf-8")
        if OPENS_GRADUS.search(text) or USER_MACRO.search(text):
            yield name


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=pathlib.Path, help="the folder include/gradus")
    parser.add_argument("--write", action="store_true", help="rewrite the list in gradus.hpp")
    options = parser.parse_args()
    umbrella = options.root / "gradus.hpp"
    text = umbrella.read_text(encoding="utf-8")
    wanted = list(public_headers(options.root))
    named = INCLUDE.findall(text)
    if options.write:
        listing = "".join(f'#include "gradus/{name}"\n' for name in wanted)
        umbrella.write_text(INCLUDE.sub("", text).rstrip("\n") + "\n\n" + listing, encoding="utf-8")
        named = wanted
    for name in sorted(set(wanted) - set(named)):
        print(f'{umbrella}: missing: #include "gradus/{name}"')
    # A private header that users happen to want may be named too; one that is gone may not.
    gone = [name for name in named if not (options.root / name).is_file()]
    for name in gone:
        print(f"{umbrella}: there is no gradus/{name}")
    if named != sorted(named):
        print(f"{umbrella}: the list is not sorted")
    ok = set(wanted) <= set(named) and not gone and named == sorted(named)
    print(f"{len(wanted)} public headers, {len(named)} named" + ("" if ok else "; `umbrella.py --write` mends it"))
    return 0 if ok and wanted else 1


if __name__ == "__main__":
    sys.exit(main())
