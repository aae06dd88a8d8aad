#!/usr/bin/env python3
"""Checks the archive of gradus::compiled: what a kernel unit shares with a program is its table, the program's thread pool
and memory, and the C and C++ libraries. A function of the standard library or of Eigen that was compiled there, in the
unit's instructions, must not be one that the linker could take for the program's own; nothing of it may run at start."""

import re
import subprocess
import sys

NM, READELF, ARCHIVE = sys.argv[1:]
SERVICES = ("run_in_program", "threads_of_program", "scratch_of_program", "scratch_to_program")
problems = []


def lines_of(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


member, kernel_units = "", 0
for line in lines_of(NM, "-C", "-P", ARCHIVE):
    header = re.match(r".*\[(.*)\]:$", line)
    if header:
        member = header.group(1)
        kernel_units += member.startswith("gradus_kernels_")
        continue
    match = re.match(r"(.*) ([A-Za-z?]) [0-9a-f ]*$", line)
    if not match or not member.startswith("gradus_kernels_"):
        continue
    name, kind = match.groups()
    if kind == "U":
        if "gradus" in name and not any(service in name for service in SERVICES):
            problems.append(f"{member} takes {name} from the program")
    elif kind.isupper() or kind in "uvw":  # all that is not local
        if name != member.removesuffix(".o"):
            problems.append(f"{member} offers {name} to the program")
    if re.search(r"(ThreadPool|CachingAllocator)::instance", name):
        problems.append(f"{member} has its own {name}")
    if re.search(r"(^|[^\w:])Eigen::", name):
        problems.append(f"{member} has Eigen under its own name: {name}")

member = ""
for line in lines_of(READELF, "-SW", ARCHIVE):
    if line.startswith("File: "):
        member = re.search(r"\((.*)\)", line).group(1)
    elif member.startswith("gradus_kernels_") and re.search(r"\.(init_array|ctors|preinit_array)", line):
        problems.append(f"{member} runs code when a program starts")

if kernel_units < 3:
    problems.append(f"the archive holds {kernel_units} kernel units")
print("\n".join(problems) or f"{kernel_units} kernel units share nothing but their tables")
sys.exit(1 if problems else 0)
