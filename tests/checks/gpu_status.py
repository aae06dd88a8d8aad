#!/usr/bin/env python3
"""Makes docs/gpu-status.md, the table of what is checked where: gpu_status.py <root> [--write] [--compiled FOLDER LOG]. Without
--write it only compares. --compiled first takes the kernels' texts and graphs in FOLDER, about which LOG says that none failed,
into tests/cuda/plans/compiled.txt.

Nothing is ticked by hand. Operators are the files of tests/ops that are named after a header, models the cases of tests/models about losses,
examples the programs of examples/. On the simulated card runs what CMake registers there: all of tests/ops, the losses of
tests/models, the examples that examples/CMakeLists.txt names. Plan-checked is an operator all of whose own kernels and graphs are
among those compiled; models and examples leave all their texts to ./run plans. tests/cuda/card_runs.txt holds what ran on a card."""

import argparse
import pathlib
import re
import sys

CHECKED = re.compile(r'check_(?:operator|comparison)(?:<[^>("]*>)?\(\s*"([^"]+)"')
CASE = re.compile(r'^TEST_CASE\("([^"]*)"', re.MULTILINE)
INCLUDE = re.compile(r'^#include "(gradus/ops/[^"]+)"', re.MULTILINE)
# Names of kernels' texts and of cuDNN's graphs, as they stand in headers.
KERNELS = re.compile(r'pointwise\("(\w+)"|KernelText \w+\{"(\w+)"|"(\w+)", cuda_\w+\(\)|\? "(convolution\w*)"|find\(name, "(attention\w*)"')
PAGE = """# What is checked where on GPUs

`./run status` makes this page from the tests; nothing on it is written by hand. [How](../tests/checks/gpu_status.py).

- **CPU**: has a test there, which `./run test` runs.
- **Simulated**: the same test runs on the simulated card, in `./run simulate` and `./run test`.
- **Plan-checked**: NVIDIA's own compiler and cuDNN took its kernels and graphs, without a card (`./run plans`: {summary}).
  "of others": it has no kernel of its own, but is made of other operators, views and cuBLASLt.
- **Run on a card**: what [GPU results](gpu-results.md) report, at the commit that stands there; "no" where nothing is reported. What failed is told there.

## Operators

| operator | cases checked | CPU | simulated | plan-checked | run on a card |
| --- | --- | --- | --- | --- | --- |
{operators}

## Models

| training | CPU | simulated | plan-checked | run on a card |
| --- | --- | --- | --- | --- |
{models}

## Examples

| example | CPU | simulated | plan-checked | run on a card |
| --- | --- | --- | --- | --- |
{examples}
"""


def read(path):
    return path.read_text(encoding="utf-8")


def kernels_of(root, header, seen):
    """Names of the kernels in a header of an operator, and in those of its own folder that it includes."""
    if header in seen or not (root / "include" / header).exists():
        return set()
    seen.add(header)
    text = read(root / "include" / header)
    names = {next(filter(None, groups)) for groups in KERNELS.findall(text)}
    for other in INCLUDE.findall(text):
        if pathlib.PurePath(other).parent == pathlib.PurePath(header).parent and header.count("/") > 2:
            names |= kernels_of(root, other, seen)
    return names


class Status:
    def __init__(self, root):
        self.root = root
        lines = read(root / "tests/cuda/plans/compiled.txt").splitlines()
        self.summary, self.compiled = lines[0].lstrip("# "), set(lines[1:])
        programs = re.search(r'set\(simulated "\^\(([\w|]+)\)\$"\)', read(root / "cmake/programs.cmake"))
        self.on_simulated_card = programs.group(1).split("|")
        self.runs = [[part.strip() for part in line.split("|")]
                     for line in read(root / "tests/cuda/card_runs.txt").splitlines() if not line.startswith("#")]

    def on_card(self, path):
        folder, name = path.removesuffix("_test.cpp").rsplit("/", 1)
        found = "no"
        for date, card, commit, files, result in self.runs:
            where, names = files.split(": ")
            if where == folder and name in names.split():
                found = f"{card.split()[0]} {date}, {commit}: {result}"
        return found

    def simulated(self, program):
        """Whether CMake registers a folder's cases for the simulated card."""
        return "yes" if program in self.on_simulated_card else "no"

    def operators(self):
        for path in sorted((self.root / "tests/ops").rglob("*_test.cpp")):
            text = read(path)
            groups = sorted(set(CHECKED.findall(text)))
            stem = path.stem.removesuffix("_test")
            headers = [one for one in INCLUDE.findall(text) if pathlib.PurePath(one).stem == stem]
            if not headers:
                continue
            kernels = kernels_of(self.root, headers[0], set())
            missing = sorted(kernels - self.compiled)
            plans = "of others" if not kernels else "no: " + ", ".join(missing) if missing else "yes"
            place = path.relative_to(self.root).as_posix()
            yield f"| {stem} | {', '.join(groups) or 'its own tests'} | yes | {self.simulated('ops')} | {plans} | {self.on_card(place)} |"

    def models(self):
        for path in sorted((self.root / "tests/models").glob("*_test.cpp")):
            for case in CASE.findall(read(path)):
                if "losses" in case:
                    place = path.relative_to(self.root).as_posix()
                    simulated = self.simulated("models")
                    yield f"| {case} | yes | {simulated} | {simulated} | {self.on_card(place)} |"

    def examples(self):
        text = read(self.root / "examples/CMakeLists.txt")
        simulated = set(re.search(r"foreach\(name ([^)]*)\)", text).group(1).split())
        tested = set(re.findall(r"\w+", " ".join(re.findall(r'gradus_add_example_test\("[^"]*" \w+\.py ([^)]*)\)', text))))
        for path in sorted((self.root / "examples").glob("*.cpp")):
            on_simulated = "yes" if path.stem in simulated else "no"
            place = path.relative_to(self.root).as_posix()
            cpu = "yes" if path.stem in tested else "no"
            yield f"| {path.stem} | {cpu} | {on_simulated} | {on_simulated} | {self.on_card(place)} |"

    def page(self):
        return PAGE.format(summary=self.summary, operators="\n".join(self.operators()), models="\n".join(self.models()),
                           examples="\n".join(self.examples()))


def keep_compiled(root, folder, log):
    summary = re.findall(r"kernels: \d+, architectures: .*, failed: 0\b", read(log))
    if not summary:
        sys.exit(f"{log} does not say that all kernels and plans passed")
    names = {path.name.split(".")[0] for ending in ("cu", "graph") for path in folder.glob(f"*.{ending}")}
    (root / "tests/cuda/plans/compiled.txt").write_text("# " + "\n".join([summary[-1], *sorted(names)]) + "\n", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=pathlib.Path)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--compiled", nargs=2, type=pathlib.Path, metavar=("FOLDER", "LOG"))
    chosen = parser.parse_args()
    if chosen.compiled:
        keep_compiled(chosen.root, *chosen.compiled)
    page, wanted = chosen.root / "docs/gpu-status.md", Status(chosen.root).page()
    if chosen.write:
        page.write_text(wanted, encoding="utf-8")
    elif not page.exists() or read(page) != wanted:
        sys.exit("docs/gpu-status.md is not what the tests say: ./run status makes it anew")


if __name__ == "__main__":
    main()
