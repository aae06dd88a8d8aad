#!/usr/bin/env python3
"""Trains the same networks from the same weights on the same batches in Gradus and in PyTorch, in turns A B A B.

    compare.py <gradus_compare> [--out build/compare] [--threads 2] [--rounds 9] [--compiled] [workload ...]

Writes results.json and results.md into the output folder. Needs PyTorch; `./run compare` brings both about.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

import torch

from tensors import write_safetensors
from workloads import WORKLOADS

HERE = os.path.dirname(os.path.abspath(__file__))
CHECKED_LOSSES = 20


def write_inputs(workload, folder):
    make, batch, _, _ = WORKLOADS[workload]
    torch.manual_seed(1)
    generator = torch.Generator().manual_seed(2)
    write_safetensors(f"{folder}/{workload}.weights.safetensors", make().state_dict())
    tensors = {}
    for i in range(4):
        tensors[f"x{i}"], tensors[f"y{i}"] = batch(generator)
    write_safetensors(f"{folder}/{workload}.batches.safetensors", tensors)


class Worker:
    def __init__(self, command):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, steps):
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"compare: {self.process.args[0]} ended with {self.process.wait()}")
        return json.loads(line)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def compare(workload, precision, threads, rounds, gradus, folder, compiled):
    write_inputs(workload, folder)
    steps = WORKLOADS[workload][3]
    arguments = [workload, str(threads), folder, precision]
    pytorch = [sys.executable, f"{HERE}/torch_worker.py"] + arguments
    workers = {"gradus": Worker([gradus] + arguments), "pytorch": Worker(pytorch)}
    if compiled and WORKLOADS[workload][2] not in (None, "decode"):  # what trains a network
        workers["compiled"] = Worker(pytorch + ["compiled"])
    first = {name: worker.run(CHECKED_LOSSES) for name, worker in workers.items()}  # these warm up, too
    times = {name: [] for name in workers}
    last = {}
    for _ in range(rounds):
        for name, worker in workers.items():
            time.sleep(0.3)  # the other one's threads stop spinning
            last[name] = worker.run(steps)
            times[name] += last[name]["ms"][max(1, steps // 10):] if steps > 1 else last[name]["ms"]
    for worker in workers.values():
        worker.close()
    medians = {name: statistics.median(values) for name, values in times.items()}
    difference = max(abs(a - b) / max(1.0, abs(b)) for a, b in zip(first["gradus"]["losses"], first["pytorch"]["losses"]))
    of_compiled = {"compiled_ms": round(medians["compiled"], 5)} if "compiled" in medians else {}
    return of_compiled | {
        "workload": workload,
        "threads": threads,
        "gradus_ms": round(medians["gradus"], 5),
        "pytorch_ms": round(medians["pytorch"], 5),
        "ratio": round(medians["pytorch"] / medians["gradus"], 3),
        "gradus_peak_mb": last["gradus"]["peak_kb"] // 1024,
        "pytorch_peak_mb": last["pytorch"]["peak_kb"] // 1024,
        "losses_agree": difference < (5e-2 if precision == "bf16" else 4e-3),
        "largest_loss_difference": difference,
        "system_allocations": last["gradus"]["system_allocations"],
    }


def table(results):
    lines = [
        f"One training step with AdamW, float, medians of steps taken in turns; PyTorch {torch.__version__}, eager and, where "
        "asked for, with torch.compile.",
        "",
        "| workload | threads | Gradus ms | PyTorch ms | ratio | compiled ms | Gradus MB | PyTorch MB | first 20 losses agree |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for r in results:
        lines.append(
            f"| {r['workload']} | {r['threads']} | {r['gradus_ms']:.4g} | {r['pytorch_ms']:.4g} | {r['ratio']:.2f} | "
            f"{format(r['compiled_ms'], '.4g') if 'compiled_ms' in r else '-'} | "
            f"{r['gradus_peak_mb']} | {r['pytorch_peak_mb']} | {'yes' if r['losses_agree'] else 'NO'} |"
        )
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gradus", help="path of the gradus_compare program")
    parser.add_argument("workloads", nargs="*", help=f"of {', '.join(WORKLOADS)}; all unless named")
    parser.add_argument("--out", default="build/compare")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--bf16", action="store_true", help="models of bf16, beside PyTorch's autocast")
    parser.add_argument("--compiled", action="store_true", help="beside it the same network with torch.compile")
    options = parser.parse_intermixed_args()
    unknown = [name for name in options.workloads if name not in WORKLOADS]
    if unknown:
        parser.error(f"no workload {', '.join(unknown)}; there are {', '.join(WORKLOADS)}")
    os.makedirs(options.out, exist_ok=True)
    results = []
    for workload in options.workloads or WORKLOADS:
        results.append(compare(workload, "bf16" if options.bf16 else "float", options.threads, options.rounds, os.path.abspath(options.gradus), options.out, options.compiled))
        r = results[-1]
        print(f"{workload:10} gradus {r['gradus_ms']:9.4g} ms   pytorch {r['pytorch_ms']:9.4g} ms   ratio {r['ratio']:6.2f}"
              f"{'   compiled ' + format(r['compiled_ms'], '9.4g') + ' ms' if 'compiled_ms' in r else ''}"
              f"   losses {'agree' if r['losses_agree'] else 'DIFFER'} ({r['largest_loss_difference']:.1e})", flush=True)
    with open(f"{options.out}/results.json", "w") as file:
        json.dump(results, file, indent=2)
    with open(f"{options.out}/results.md", "w") as file:
        file.write(table(results))
    print(f"\n{table(results)}\nwritten to {options.out}/results.json and results.md")


if __name__ == "__main__":
    main()
