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


def of_program(workload):
    """Processor seconds and peak MiB of compiling and linking, KiB of the program without symbols."""
    with tempfile.TemporaryDirectory() as folder:
        program = f"{folder}/{workload}"
        command = [*shlex.split(os.environ.get("CXX", "c++")), *shlex.split(FLAGS), f'-DGRADUS_ONLY="{workload}"',
                   "-I", str(ROOT), "-I", str(ROOT / "include"), "-isystem", eigen_folder(),
                   str(HERE / "gradus_worker.cpp"), "-o", program, "-pthread", "-ldl"]
        seconds, peak_mb = compile_once(command)
        subprocess.run(["strip", program], check=True)
        return {"workload": workload, "flags": FLAGS, "seconds": round(seconds, 1), "peak_mb": round(peak_mb),
                "kb": round(os.path.getsize(program) / 1024)}
