#!/usr/bin/env python3
"""Instructions of one training step of each model, counted by valgrind: instructions.py PROGRAM [--write | --check]

PROGRAM is gradus_instructions. Unlike seconds, these counts do not depend on what else the machine does, so a step that
grew by more than 5 % against baseline.txt is an error. --write makes the table anew: on purpose only, in the commit that
says why. Counts depend on compiler, Eigen and C library: where they are not the table's, nothing is compared."""

import argparse
import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys

TABLE = pathlib.Path(__file__).with_name("baseline.txt")
HEAD = """# Instructions of one steady training step on one thread, built for x86-64-v3, counted by callgrind. What was counted:
# benchmarks/instructions/steps.cpp. ./run instructions --write makes this table anew; ./run test allows 5 % more.
"""
ALLOWED = 1.05


def skip(why):
    print(f"SKIPPED: instructions were not compared: {why}")
    sys.exit(77)


def count(program, model, steps):
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=gradus_counted_steps",
               program, model]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    found = re.search(r"Collected : (\d+)", done.stdout)
    if done.returncode != 0 or not found or found[1] == "0":
        sys.exit(f"{done.stdout}\ninstructions: {' '.join(command)} counted nothing")
    return int(found[1]) // steps


def read_table():
    """The line that says what made the program, and model -> count."""
    lines = TABLE.read_text().splitlines() if TABLE.exists() else []
    counts = dict(line.split() for line in lines if line and not line.startswith("#"))
    return next((line[len("# with "):] for line in lines if line.startswith("# with ")), ""), counts


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("--write", action="store_true", help="make the table anew")
    parser.add_argument("--check", action="store_true", help="count nothing where the table was made with something else")
    options = parser.parse_args()
    if not shutil.which("valgrind"):
        skip("valgrind is not installed")
    listed = subprocess.run([options.program, "--list"], check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    made_with, models = listed[-1], [line.split() for line in listed[:-1]]
    kept_with, kept = read_table()
    comparable = made_with == kept_with
    different = f"this program was made with {made_with}, {TABLE.name} with {kept_with or 'nothing'}"
    if options.check and not comparable:
        skip(different)

    with concurrent.futures.ThreadPoolExecutor(min(len(models), os.cpu_count() or 1)) as pool:
        counts = list(pool.map(lambda one: count(options.program, one[0], int(one[1])), models))
    grown, shrunk = [], []
    for (model, _), now in zip(models, counts):
        before = int(kept.get(model, 0)) if comparable else 0
        print(f"{model:10} {now:>12,}" + (f" {before:>12,} {100 * (now / before - 1):+7.2f} %" if before else "  (not in the table)"))
        if not before or now > ALLOWED * before:
            grown.append(model)
        elif now * ALLOWED < before:
            shrunk.append(model)
    if options.write:
        rows = "".join(f"{model} {now}\n" for (model, _), now in zip(models, counts))
        TABLE.write_text(f"{HEAD}# with {made_with}\n{rows}")
        return
    if not comparable:
        print(different)
        return
    if shrunk:
        print(f"{', '.join(shrunk)}: over 5 % fewer. Keep that: ./run instructions --write")
    if grown:
        sys.exit(f"instructions: {', '.join(grown)}: over 5 % more than {TABLE.name} has. Where that is worth it: "
                 "./run instructions --write, in the commit that says why")


if __name__ == "__main__":
    main()
