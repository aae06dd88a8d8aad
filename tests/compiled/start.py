#!/usr/bin/env python3
"""Starts programs on processors that qemu pretends to be: what was compiled for more instructions than there are must say
so in place of running into them, and gradus::compiled must take what there is. Arguments: a program with
gradus::compiled that was compiled for every x86-64 processor and prints what it took, and one that was compiled with the
headers alone for AVX2. Skipped without qemu-x86_64."""

import os
import shutil
import subprocess
import sys

PORTABLE, AVX2 = sys.argv[1:]
QEMU = shutil.which("qemu-x86_64")
if QEMU is None:
    print("skipped: there is no qemu-x86_64 (Debian, Ubuntu: qemu-user)")
    sys.exit(77)

failures = 0


def expect(program, processor, instructions, code, text):
    global failures
    environment = dict(os.environ, GRADUS_INSTRUCTIONS=instructions)
    result = subprocess.run([QEMU, "-cpu", processor, program], env=environment, capture_output=True, text=True)
    said = result.stdout + result.stderr
    good = result.returncode == code and text in said
    print(f"{'ok' if good else 'WRONG'}: {os.path.basename(program)} on {processor}, "
          f"GRADUS_INSTRUCTIONS='{instructions}': {result.returncode}, {said.strip()}")
    failures += not good


expect(PORTABLE, "Nehalem", "", 0, "instructions: baseline")
expect(PORTABLE, "Haswell", "", 0, "instructions: avx2")
expect(PORTABLE, "Haswell", "baseline", 0, "instructions: baseline")
expect(PORTABLE, "Nehalem", "avx2", 1, "gradus: GRADUS_INSTRUCTIONS is avx2, but this processor has no avx2")
expect(PORTABLE, "Haswell", "avx512", 1, "gradus: GRADUS_INSTRUCTIONS is avx512, but this processor has no avx512f")
expect(PORTABLE, "Haswell", "sse", 1,
       "gradus: GRADUS_INSTRUCTIONS is sse, but must be baseline, avx2, avx512 or avx512_bf16")
expect(AVX2, "Nehalem", "", 1, "gradus: this processor lacks instructions that the program uses: bmi2, avx, fma, avx2.")
expect(AVX2, "Haswell", "", 0, "")
sys.exit(1 if failures else 0)
