#!/usr/bin/env python3
"""Makes tests/golden/<name>.safetensors: what PyTorch says about the operator cases of <name>_test.cpp.

A test file describes its cases itself, in a comment that begins with "/* golden". Its lines are Python, run here:

    /* golden
    case("relu", torch.relu, randn(3, 17))            # smooth here: value, first and second derivatives
    case("relu", torch.relu, special(), order=1)      # kinks, NaN, infinities: value and first derivatives
    case("relu", torch.relu, special(), order=0)      # value only
    */

Lines longer than 120 characters would be broken by clang-format, and are refused.
The first argument of case names the check_operator("relu", ...) of the same file that runs the case. All arithmetic is in
double. Random inputs are the same every time: they depend on the file's name and on their order in it.

    make_golden.py                 every file               make_golden.py relu conv2d     some
    make_golden.py --check         needs no PyTorch: the stored files belong to the present comments, each has its
                                   test, every case is run by a check_operator, and together they are small
"""

import hashlib
import json
import pathlib
import re
import sys
import zlib

golden_folder = pathlib.Path(__file__).resolve().parent
tests_folder = golden_folder.parent
max_total_bytes = 3_000_000


def find_blocks():
    """{name: (source, rest of the file)} of every test file with a golden comment."""
    blocks = {}
    files = [(path, path.read_text()) for path in sorted(tests_folder.rglob("*_test.cpp"))]
    written = {path.name for path, _ in files}
    for page in sorted((tests_folder.parent / "docs").rglob("*.md")):  # tests that a page shows whole
        shown = re.findall(r"<!-- file (\S+_test\.cpp) -->\n```cpp\n(.*?\n)```", page.read_text(), re.DOTALL)
        shown = [(pathlib.Path(name), text) for name, text in shown]
        files += [(path, text) for path, text in shown if path.name not in written]  # unless a reader has written it
    for path, text in files:
        found = re.findall(r"/\* golden\n(.*?)\*/", text, re.DOTALL)
        if not found:
            continue
        name = path.stem.removesuffix("_test")
        if name in blocks:
            sys.exit(f"make_golden: two test files are called {path.name}; golden files go by that name")
        for line in "".join(found).splitlines():
            if len(line) > 120:
                sys.exit(f"make_golden: {path.name}: a golden line longer than 120 characters: {line}")
        blocks[name] = ("".join(found), re.sub(r"/\* golden\n.*?\*/", "", text, flags=re.DOTALL))
    return blocks


def digest(source):
    return hashlib.sha256(source.encode()).hexdigest()


def make(name, source):
    import numpy as np
    import torch
    from safetensors.torch import save_file

    generator = np.random.Generator(np.random.Philox(key=zlib.crc32(name.encode())))
    tensors, counts = {}, {}

    def rounded(values):
        """Multiples of 1/256: exact in float, so that float and double start from the same numbers."""
        return torch.from_numpy(np.asarray(np.round(values * 256) / 256, dtype=np.float64))

    def randn(*shape):
        return rounded(generator.standard_normal(shape))

    def uniform(low, high, *shape):
        return rounded(generator.uniform(low, high, shape))

    def distinct(*shape):
        """No two elements closer than 1/16: away from ties."""
        count = int(np.prod(shape))
        return rounded((generator.permutation(count).reshape(shape) - count // 2) / 16)

    def integers(low, high, *shape):
        return torch.from_numpy(generator.integers(low, high, shape))

    def booleans(*shape):
        return integers(0, 2, *shape).bool()

    def values(numbers):
        return torch.tensor(numbers, dtype=torch.float64)

    def special():
        """Where formulas break: zeros, infinities, NaN, tiny and huge numbers, the ends of exp in float and double."""
        inf, nan = float("inf"), float("nan")
        positive = [0.0, 2.0**-1074, 2.0**-1022, 2.0**-149, 2.0**-126, 2.0**-52, 2.0**-24, 0.5, 1.0, 1.5, 2.0, 20.0, 88.0,
                    90.0, 104.0, 709.5, 746.0, 2.0**24, 2.0**53, inf]
        return values(positive + [-x for x in positive] + [nan])

    def special_pairs():
        """Every pair of a shorter list: two tensors."""
        few = values([0.0, -0.0, 0.5, -0.5, 1.0, -1.0, 2.0, -2.0, 3.0, -3.0, float("inf"), -float("inf"), float("nan")])
        return few.repeat_interleave(len(few)), few.repeat(len(few))

    def case(group, f, *inputs, order=2):
        number = counts[group] = counts.get(group, -1) + 1
        put = lambda what, x: tensors.__setitem__(f"{group}/{number}/{what}", x.detach().clone().contiguous())
        inputs = [x.clone().requires_grad_(x.is_floating_point() and order > 0) for x in inputs]
        for i, x in enumerate(inputs):
            put(f"input{i}", x)
        y = f(*inputs)
        put("output", y)
        wanted = [x for x in inputs if x.requires_grad]
        if order == 0 or not y.is_floating_point():
            return
        dy = rounded(generator.uniform(0.25, 2, y.shape) * generator.choice([-1.0, 1.0], y.shape))
        put("dy", dy)
        first = gradients(y, wanted, dy)
        for i, x in enumerate(inputs):
            if x.requires_grad:
                put(f"gradient{i}", first[next(k for k, w in enumerate(wanted) if w is x)])
        if order == 1:
            return
        directions = [rounded(generator.uniform(0.25, 2, x.shape) * generator.choice([-1.0, 1.0], x.shape))
                      for x in wanted]
        along = sum(((g * v).sum() for g, v in zip(first, directions)), torch.zeros((), dtype=torch.float64))
        second = gradients(along, wanted, None)
        for k, x in enumerate(wanted):
            i = next(i for i, candidate in enumerate(inputs) if candidate is x)
            put(f"direction{i}", directions[k])
            put(f"second{i}", second[k])

    def hashed_uniform(seed, shape):
        """As tests/support/hashed.hpp, like the two that follow: numbers that need not be stored."""
        mask = np.uint64(0xffffffff)
        i = np.arange(int(np.prod(shape)), dtype=np.uint64)
        h = (i * np.uint64(2654435761) + np.uint64(seed * 0x9e3779b9 & 0xffffffff)) & mask
        h = ((h ^ h >> np.uint64(16)) * np.uint64(0x85ebca6b)) & mask
        h = ((h ^ h >> np.uint64(13)) * np.uint64(0xc2b2ae35)) & mask
        return (((h ^ h >> np.uint64(16)) >> np.uint64(8)).astype(np.float64) * 2.0**-24).reshape(shape)

    def hashed(seed, shape, low, high, dtype=torch.float64):
        return torch.from_numpy((low + (high - low) * hashed_uniform(seed, shape)).astype(np.float32)).to(dtype)

    def fill_hashed(model, dtype=torch.float64):
        model = model.to(dtype)
        with torch.no_grad():
            for seed, (name, p) in enumerate(model.named_parameters(), 1):
                bound = 1 / np.sqrt(p.numel() / p.shape[0]) if p.dim() > 1 else 0.25
                middle = 1.0 if p.dim() == 1 and name.endswith("weight") else 0.0
                p.copy_(hashed(seed, tuple(p.shape), middle - bound, middle + bound, dtype))
        return model

    def workloads():
        """The networks of benchmarks/compare."""
        sys.dont_write_bytecode = True
        sys.path.insert(0, str(golden_folder.parent.parent / "benchmarks" / "compare"))
        import workloads
        torch.set_num_threads(1)
        return workloads

    def gradients(y, inputs, dy):
        if not y.requires_grad:
            return [torch.zeros_like(x) for x in inputs]
        found = torch.autograd.grad(y, inputs, dy, create_graph=True, allow_unused=True)
        return [torch.zeros_like(x) if g is None else g for x, g in zip(inputs, found)]

    names = dict(torch=torch, F=torch.nn.functional, np=np, inf=float("inf"), nan=float("nan"), randn=randn,
                 uniform=uniform, distinct=distinct, integers=integers, booleans=booleans, values=values,
                 special=special, special_pairs=special_pairs, case=case, hashed_uniform=hashed_uniform,
                 hashed=hashed, fill_hashed=fill_hashed, workloads=workloads)
    exec(compile(source, f"golden block of {name}_test.cpp", "exec"), names)
    # One metadata entry only: the order of several would differ from run to run.
    metadata = {"golden": json.dumps({"block": digest(source), "groups": sorted(counts)}, sort_keys=True)}
    path = golden_folder / f"{name}.safetensors"
    save_file(tensors, path, metadata)
    path.chmod(0o644)


def stored(path):
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        return json.loads(json.loads(file.read(length))["__metadata__"]["golden"])


def is_spelled_in(text, group):
    """Whether a string of the text is the group's name, or two of them put together are."""
    strings = set(re.findall(r'"([^"\n]*)"', text))
    return group in strings or any(group[:i] in strings and group[i:] in strings for i in range(len(group)))


def check(blocks):
    problems = []
    for name, (source, rest) in blocks.items():
        path = golden_folder / f"{name}.safetensors"
        if not path.exists():
            problems.append(f"{path.name} is missing: run make_golden.py {name}")
            continue
        facts = stored(path)
        if facts["block"] != digest(source):
            problems.append(f"{path.name} was made from another comment: run make_golden.py {name}")
        for group in facts["groups"]:
            if not is_spelled_in(rest, group):
                problems.append(f"{name}_test.cpp: no check_operator runs the golden cases of \"{group}\"")
    for path in golden_folder.glob("*.safetensors"):
        if path.stem not in blocks:
            problems.append(f"{path.name} has no test file {path.stem}_test.cpp with a golden comment")
    total = sum(path.stat().st_size for path in golden_folder.glob("*.safetensors"))
    if total > max_total_bytes:
        problems.append(f"the golden files have {total} bytes together, but {max_total_bytes} are the limit")
    if problems:
        sys.exit("\n".join(problems))
    print(f"golden: {len(blocks)} files, {total} bytes, all belong to their tests")


def main(arguments):
    blocks = find_blocks()
    if arguments == ["--check"]:
        return check(blocks)
    for name in arguments or blocks:
        if name not in blocks:
            sys.exit(f"make_golden: no {name}_test.cpp with a golden comment")
        make(name, blocks[name][0])


if __name__ == "__main__":
    main(sys.argv[1:])
