"""A program that trains one workload only: what compiling it takes, and its size."""

import os
import pathlib
import shlex
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE.parent / "compile"))
from compile_time import compile_once, eigen_folder  # noqa: E402

FLAGS = "-std=c++20 -O2 -DNDEBUG -march=native"


def flags_of(compiler):
    """With those against a fault of g++ 12, see core/config.hpp."""
    command = [*compiler, "-march=native", "-dM", "-E", "-x", "c++", os.devnull]
    macros = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    faulty = "#define __GNUC__ 12\n" in macros and "__clang__" not in macros and "__AVX512F__" in macros
    return FLAGS + (" -mmove-max=128 -mstore-max=128 -DGRADUS_SMALL_MOVES" if faulty else "")


def of_program(workload):
    """Processor seconds and peak MiB of compiling and linking, KiB of the program without symbols."""
    with tempfile.TemporaryDirectory() as folder:
        program, compiler = f"{folder}/{workload}", shlex.split(os.environ.get("CXX", "c++"))
        flags = flags_of(compiler)
        command = [*compiler, *shlex.split(flags), f'-DGRADUS_ONLY="{workload}"',
                   "-I", str(ROOT), "-I", str(ROOT / "include"), "-isystem", eigen_folder(),
                   str(HERE / "gradus_worker.cpp"), "-o", program, "-pthread", "-ldl"]
        seconds, peak_mb = compile_once(command)
        subprocess.run(["strip", program], check=True)
        return {"workload": workload, "flags": flags, "seconds": round(seconds, 1), "peak_mb": round(peak_mb),
                "kb": round(os.path.getsize(program) / 1024)}
