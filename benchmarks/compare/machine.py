"""What a measurement was taken on."""

import datetime
import os
import pathlib
import platform
import re
import subprocess

import torch


def folder_mb(folder):
    return round(sum(path.lstat().st_size for path in pathlib.Path(folder).rglob("*") if path.is_file()) / 2**20)


def processor():
    try:
        text = pathlib.Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    name = re.search(r"model name\s*: (.*)", text)
    flags = re.search(r"flags\s*: (.*)", text)
    best = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flags and flag in flags[1].split()]
    return f"{name[1] if name else platform.machine()} ({', '.join(best) or 'baseline'})"


def describe():
    """Without peaks. Sizes are those of the folder that PyTorch is installed in, and of PyTorch in it."""
    packages = pathlib.Path(torch.__file__).parent.parent
    compiler = subprocess.run([os.environ.get("CXX", "c++"), "--version"], capture_output=True, text=True).stdout.splitlines()
    return {
        "date": datetime.date.today().isoformat(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "compiler": compiler[0] if compiler else "",
        "pytorch": torch.__version__,
        "pytorch_mb": folder_mb(packages / "torch"),
        "pytorch_and_packages_mb": folder_mb(packages),
    }
