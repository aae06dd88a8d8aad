"""What kernels ask of an H200's multiprocessors besides memory, without a card: instructions around each access of 16 bytes.

    issue.py FOLDER PAGE: FOLDER holds the kernels' texts (*.cu) that the simulated card leaves; a line for each that
    PAGE, a Markdown page, names in its tables.

A kernel is compiled by nvcc for sm_90 and taken apart by nvdisasm (NVCC and NVDISASM name other ones).
Its hot loop is the innermost one with the most accesses of 16 bytes, or all of it where none has any. A quarter of a
multiprocessor issues one instruction of a warp a cycle, half a one of the ALU (logic, comparisons, conversions), of
products of whole numbers and of double, an eighth of a special function, and memory gives it BYTES a cycle. The longest
of these over memory's time is the share in the table: from about 70 % on, instructions hold memory up. Branches that are
rarely taken are counted as taken.
"""
import collections
import glob
import os
import re
import subprocess
import sys
import tempfile

BYTES = 4.8  # of 4.3 TB/s, for each of 132 * 4 quarters at 1.7 GHz
FMA = {"FFMA", "FMUL", "FADD", "HFMA2", "HADD2", "HMUL2"}
HALF = {"IMAD", "DFMA", "DADD", "DMUL"}
SPECIAL = {"MUFU", "I2F", "F2I", "F2F", "FRND", "POPC", "FLO"}
MEMORY = {"LDG", "STG", "LDS", "STS", "SHFL", "LDC", "LD", "ST", "LDL", "STL", "ATOM", "ATOMG", "ATOMS", "RED"}
CONTROL = {"BRA", "EXIT", "BSSY", "BSYNC", "WARPSYNC", "NOP", "BAR", "CALL", "RET", "S2R", "BREAK", "DEPBAR"}


def disassembled(text, nvcc, nvdisasm):
    """The instructions and labels (name -> place) of each kernel of a text."""
    with tempfile.TemporaryDirectory() as folder:
        cubin = os.path.join(folder, "kernels.cubin")
        subprocess.run([nvcc, "-x", "cu", "-std=c++17", "-arch=sm_90", "-w", "-cubin", "-o", cubin, text], check=True,
                       stdout=subprocess.DEVNULL)
        listing = subprocess.run([nvdisasm, "-c", cubin], check=True, capture_output=True, text=True).stdout
    kernels = {}
    instructions, labels = [], {}
    for line in listing.splitlines():
        line = line.strip()
        if section := re.match(r"\.section\s+\.text\.(\w+)", line):
            instructions, labels = kernels.setdefault(section.group(1), ([], {}))
        elif label := re.match(r"(\.L_x_\d+):", line):
            labels[label.group(1)] = len(instructions)
        elif instruction := re.match(r"/\*[0-9a-f]{4,}\*/\s+(.*?)\s*;", line):
            instructions.append(re.sub(r"^@!?U?P\w+\s+", "", instruction.group(1)))
    return kernels


def name_of(instruction):
    return re.split(r"[. ]", instruction, maxsplit=1)[0]


def wide(instruction):
    return name_of(instruction) in ("LDG", "STG") and ".128" in instruction


def hot_loop(instructions, labels):
    loops = []
    for place, instruction in enumerate(instructions):
        target = re.search(r"\.L_x_\d+", instruction)
        if name_of(instruction) == "BRA" and target and labels.get(target.group(0), place) < place:
            loops.append((labels[target.group(0)], place + 1))
    loops = [(a, b) for a, b in loops if any(map(wide, instructions[a:b]))]
    inner = [(a, b) for a, b in loops if not any((c, d) != (a, b) and a <= c and d <= b for c, d in loops)]
    first, last = max(inner, key=lambda ab: sum(map(wide, instructions[ab[0] : ab[1]])), default=(0, len(instructions)))
    return instructions[first:last]


def line_of(kernel, kind, instructions):
    counts = collections.Counter()
    for instruction in instructions:
        name = name_of(instruction)
        pipe = ("fma" if name in FMA else "half" if name in HALF else "special" if name in SPECIAL else
                "other" if name in MEMORY or name in CONTROL or name.startswith("U") else "alu")
        counts[pipe] += 1
    accesses = sum(map(wide, instructions))
    if not accesses:
        return None
    cycles = max(sum(counts.values()), 2 * counts["alu"], 2 * counts["half"], 8 * counts["special"])
    share = 100 * cycles / (accesses * 16 * 32 / BYTES)
    return f"| {kernel} | {kind} | {accesses} | {sum(counts.values())} | {counts['special']} | {share:.0f} % |"


def main():
    folder, page = sys.argv[1:]
    wanted = set(re.findall(r"^\| \S+ \| (\w+) \| \d+ \| [\d.]+ \|", open(page).read(), re.M))
    wanted -= {"library", "copy", "bf16", "float"}  # no kernels of ours, and lines of the table that is made here
    nvcc, nvdisasm = os.environ.get("NVCC", "nvcc"), os.environ.get("NVDISASM", "nvdisasm")
    lines, found = set(), set()
    for path in glob.glob(os.path.join(folder, "*.cu")):
        text = open(path).read()
        entries = [name for name in wanted if re.search(rf"\b{name}(_along)?\(const|\b{name}\(int64", text)]
        if not entries:
            continue
        found.update(entries)
        kernels = disassembled(path, nvcc, nvdisasm)
        for name in entries:
            entry = name + "_along" if name + "_along" in kernels else name
            types = re.findall(r"typedef (\w+) [TUV];", text) or re.findall(rf"{name}\(.*?(\w+)\* out", text)
            number = re.search(r"enum { number = (\d+) }", text)
            kind = ", ".join(types) + (f", {number.group(1)} kept" if number and number.group(1) != "0" else "")
            lines.add(line_of(entry, kind, hot_loop(*kernels[entry])))
    print("| kernel | elements | accesses of 16 bytes | instructions | special functions | share of memory's time |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    print("\n".join(sorted(line for line in lines if line)))
    if wanted - found:
        print("without a text:", ", ".join(sorted(wanted - found)), file=sys.stderr)


if __name__ == "__main__":
    main()
