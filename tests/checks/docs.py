#!/usr/bin/env python3
"""Turns the ```cpp blocks of a Markdown page into programs, so that what the documents show is compiled and run.

  - A block with `int main` is a program of its own.
  - Any other block is the body of a function, after `#include <gradus/gradus.hpp>` and `using namespace gradus;`.
    All such blocks of a page make one program, which runs them in turn. Their own #include lines move to its top; when
    these name headers of Gradus, gradus.hpp is left out, which compiles sooner.
  - A comment on the line before the opening fence changes that:
      <!-- continues -->      the block goes on in the function of the block before it
      <!-- declaration -->    the block stands at namespace scope (types, functions, templates)
      <!-- no run -->         compiled, but not run
      <!-- file PATH -->      the block is that file: a header that the page's other blocks may include, or, when it is
                              named *_test.cpp, a test program
  - Blocks of other languages, and ```cpp blocks marked <!-- not code -->, are left alone.

Writes <stem>.cpp files into the output folder and prints their paths; compilers report places in the page itself.
The page's own files go into <stem>_files/."""

import argparse
import pathlib
import re
import sys

MARKS = {"continues", "declaration", "no run", "not code"}
INCLUDE = re.compile(r"^\s*#\s*include\b.*$", re.MULTILINE)


class PageError(Exception):
    pass


class Block:
    def __init__(self, line, marks, text):
        self.line = line  # of the first line of code, from 1
        self.marks = marks
        self.text = text

    def file(self):
        """The path of the file that the block is, or None."""
        return next((mark.removeprefix("file ").strip() for mark in self.marks if mark.startswith("file ")), None)

    def is_program(self):
        return re.search(r"\bint\s+main\s*\(", self.text) is not None


def read_blocks(page, text):
    """The cpp blocks of a page, in order."""
    lines = text.split("\n")
    blocks, opened, marks = [], None, set()
    for number, line in enumerate(lines, 1):
        fence = re.match(r"\s*```\s*(\w*)", line)
        if opened is None and fence:
            mark = re.fullmatch(r"\s*<!-- (.*) -->\s*", lines[number - 2]) if number > 1 else None
            marks = {part.strip() for part in mark.group(1).split(",")} if mark else set()
            unknown = {mark for mark in marks - MARKS if not re.fullmatch(r"file [\w/]+\.[ch]pp", mark)}
            if fence.group(1) == "cpp" and unknown:
                raise PageError(f"{page}:{number - 1}: unknown mark '{mark.group(1)}'; known: {', '.join(sorted(MARKS))}")
            opened = (number + 1, fence.group(1))
        elif opened is not None and line.strip() == "```":
            if opened[1] == "cpp" and "not code" not in marks:
                blocks.append(Block(opened[0], marks, "\n".join(lines[opened[0] - 1 : number - 1])))
            opened = None
    if opened is not None:
        raise PageError(f"{page}:{opened[0] - 1}: this block is never closed")
    return blocks


def located(page, block, text):
    return f'#line {block.line} "{page}"\n{text}\n'


def fragments_program(page, blocks):
    """One program of all blocks that are not programs themselves."""
    includes, scope, functions = [], [], []
    for block in blocks:
        includes += [line.strip() for line in INCLUDE.findall(block.text)]
        body = INCLUDE.sub("", block.text)  # keeps the line's end, so places stay right
        if "declaration" in block.marks:
            scope.append(located(page, block, body))
        elif "continues" in block.marks:
            if not functions:
                raise PageError(f"{page}:{block.line - 1}: continues, but there is no block before it")
            functions[-1]["body"] += located(page, block, body)
            functions[-1]["run"] &= "no run" not in block.marks
        else:
            functions.append({"name": f"block_at_line_{block.line}", "body": located(page, block, body),
                              "run": "no run" not in block.marks})
            scope.append(functions[-1])
    if not any("<gradus/" in include for include in includes):
        includes.insert(0, "#include <gradus/gradus.hpp>")
    text = "\n".join(dict.fromkeys(includes)) + "\n\nusing namespace gradus;\n"
    for part in scope:
        text += part if isinstance(part, str) else f"\n[[maybe_unused]] static void {part['name']}() {{\n{part['body']}}}\n"
    calls = "".join(f"  {function['name']}();\n" for function in functions if function["run"])
    return f"{text}\n#line 1 \"main of {page}\"\nint main() {{\n{calls}}}\n"


def programs(page, text):
    """Pairs of (name suffix, source) for a page."""
    blocks = [block for block in read_blocks(page, text) if not block.file()]
    fragments = [block for block in blocks if not block.is_program()]
    if fragments:
        yield "", fragments_program(page, fragments)
    for block in blocks:
        if block.is_program():
            suffix = "_no_run" if "no run" in block.marks else ""
            yield f"_line_{block.line}{suffix}", located(page, block, block.text)


def files(page, text):
    """Pairs of (path, text) of the files that a page shows. No #line in them: a test is known by its own path."""
    return [(block.file(), block.text + "\n") for block in read_blocks(page, text) if block.file()]


def write(path, text):
    """Only when it differs, so that nothing is compiled again without need."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=pathlib.Path, help="folder that the page's name is relative to")
    parser.add_argument("page", help="such as docs/guide/getting-started.md")
    parser.add_argument("output", type=pathlib.Path, help="folder for the programs")
    options = parser.parse_args()
    stem = re.sub(r"\W+", "_", options.page.removesuffix(".md")).lower()
    try:
        text = (options.root / options.page).read_text(encoding="utf-8")
        for name, content in files(options.page, text):
            path = options.output / f"{stem}_files" / name
            write(path, content)
            if name.endswith("_test.cpp"):
                print(path)
        for suffix, source in programs(options.page, text):
            path = options.output / f"{stem}{suffix}.cpp"
            write(path, source)
            print(path)
    except PageError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
