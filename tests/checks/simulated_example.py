#!/usr/bin/env python3
"""Runs an example with --quick on the simulated card: simulated_example.py <program> <folder of the simulated card>
<scratch folder>, from the root of the sources. It must learn, and say that it ran there where it says so at all."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

# What is measured, and from where on something was learned.
LEARNED = {"fashion_mnist": (["test_accuracy"], 0.3), "breast_cancer": (["test_accuracy"], 0.85),
           "auto_mpg": (["test_rmse"], -5.0), "gpt_train": (["bits_per_byte"], -4.5),
           "retail_forecast": (["retail", "generated", "gain_over_seasonal_naive"], 0.0),
           "transfer_image": (["accuracy"], 0.25), "finetune_text": (["accuracy", "full"], 0.8)}


def main():
    program, card = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    name = program.name
    scratch = pathlib.Path(sys.argv[3]) / name
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    arguments = ["--quick", "--out", scratch / "out"]
    if name == "gpt_train":
        (scratch / "text.txt").write_text("To be, or not to be: that is the question. " * 400)
        arguments += ["--text", scratch / "text.txt", "--prompt", "To be"]
    if name == "fashion_mnist":
        arguments += ["--small", "--limit", "600"]
    environment = {**os.environ, "GRADUS_CUDA_LIBRARIES": str(card), "GRADUS_KERNEL_CACHE": str(card / "kernels"),
                   "GRADUS_KERNEL_TEXTS": "on", "GRADUS_DEVICE": "cuda"}
    result = subprocess.run([str(program), *map(str, arguments)], capture_output=True, text=True, env=environment,
                            stdin=subprocess.DEVNULL)
    text = result.stdout + result.stderr
    if result.returncode != 0:
        sys.exit(f"{name} ended with {result.returncode}\n{text}")
    if name in ("fashion_mnist", "gpt_train") and "simulated card (cuda:0)" not in text:
        sys.exit(f"{name} did not run on the simulated card\n{text}")
    value = json.loads((scratch / "out" / "summary.json").read_text())
    path, least = LEARNED[name]
    for key in path:
        value = value[key]
    if value < least if least >= 0 else value > -least:
        sys.exit(f"{name} learned nothing: {'.'.join(path)} is {value}\n{text}")


if __name__ == "__main__":
    main()
