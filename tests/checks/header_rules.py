#!/usr/bin/env python3
"""Checks the headers' rules that a compiler does not: who may include whom, where Eigen and CUDA may be named,
no leaking macros, no `using namespace`. Prints every violation as file:line."""

import argparse
import pathlib
import re
import sys

BELOW_OPS = ["core", "device", "tensor", "autograd", "ops"]
# A folder and what it may include besides itself. A folder that is not here may include everything.
MAY_INCLUDE = {
    "core": [],
    "device": BELOW_OPS[:1],
    "tensor": BELOW_OPS[:2],
    "autograd": BELOW_OPS[:3],
    "ops": BELOW_OPS[:4],
    "optim": BELOW_OPS,
    "nn": BELOW_OPS,
    "io": BELOW_OPS + ["nn"],
    "models": BELOW_OPS + ["nn", "io"],
    "data": BELOW_OPS,
    "text": BELOW_OPS + ["io", "data"],
    "metrics": BELOW_OPS,
}
EIGEN_HOMES = ("device/cpu/", "ops/", "tensor/eigen.hpp")
CUDA_HOMES = ("device/cuda/", "ops/")
CUDA_INCLUDE = re.compile(r'#\s*include\s*[<"](cuda|cudnn|cublas|nvrtc|nccl)')


def without_comments(text):
    """The text with comments and string literals blanked; line numbers stay."""

    def blank(match):
        return "\n" * match.group().count("\n") if match.group().startswith(("/", 'R"')) else '""'

    pattern = r'//[^\n]*|/\*.*?\*/|R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"'
    return re.sub(pattern, blank, text, flags=re.DOTALL)


def check_include(name, target):
    """What is wrong with header `name` including "gradus/<target>", or None."""
    if "/" not in name or target == "fwd.hpp":
        return None
    if target == "gradus.hpp":
        return "gradus.hpp is for users; library code includes what it needs"
    folder, wanted = name.split("/")[0], target.split("/")[0]
    if target == "tensor.hpp":  # tensors with their operators, for what stands above those
        wanted = "ops"
        if folder == "ops":
            return "an operator includes the headers that it needs, not gradus/tensor.hpp"
    allowed = MAY_INCLUDE.get(folder)
    if allowed is None or wanted == folder or wanted in allowed:
        return None
    return f"{folder} must not include {wanted} (it may include: {', '.join(allowed) or 'nothing else'})"


def check_header(root, path):
    name = path.relative_to(root).as_posix()
    text = path.read_text(encoding="utf-8")
    code = without_comments(text).split("\n")
    if not re.match(r"(//[^\n]*\n)*#pragma once\n", text):
        yield 1, "must begin with comment lines and #pragma once"
    for number, (line, bare) in enumerate(zip(text.split("\n"), code), 1):
        include = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
        if include and include.group(1) == '"':
            if not include.group(2).startswith("gradus/"):
                yield number, f'"{include.group(2)}" must be written from the root: "gradus/..."'
            else:
                target = include.group(2).removeprefix("gradus/")
                problem = check_include(name, target)
                if problem:
                    yield number, problem
                if not (root / target).is_file():
                    yield number, f"there is no gradus/{target}"
        if include and include.group(2).startswith("gradus/") and include.group(1) == "<":
            yield number, 'library headers are included with quotes: "gradus/..."'
        if re.search(r"\bEigen\b", line if include else bare) and not name.startswith(EIGEN_HOMES):
            yield number, f"Eigen is named only in {', '.join(EIGEN_HOMES)}"
        if CUDA_INCLUDE.search(line) and not name.startswith(CUDA_HOMES):
            yield number, f"CUDA is named only in {', '.join(CUDA_HOMES)}"
        macro = re.match(r"\s*#\s*define\s+(\w+)", bare)
        if macro and not macro.group(1).startswith("GRADUS_"):
            yield number, f"macro {macro.group(1)} leaks into users' code; its name must begin with GRADUS_"
        if re.match(r"using\s+namespace\b", bare):
            yield number, "no `using namespace` at namespace scope in a header"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=pathlib.Path, help="the folder include/gradus")
    root = parser.parse_args().root
    headers = sorted(root.rglob("*.hpp"))
    problems = [f"{path}:{number}: {text}" for path in headers for number, text in check_header(root, path)]
    print("\n".join(problems))
    print(f"{len(headers)} headers, {len(problems)} problems")
    return 1 if problems or not headers else 0


if __name__ == "__main__":
    sys.exit(main())
