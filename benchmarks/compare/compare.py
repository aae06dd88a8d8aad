#!/usr/bin/env python3
"""Trains the same networks from the same weights on the same batches in Gradus and in PyTorch, in turns A B A B.

    compare.py <gradus_compare> [workload ...] [--threads 1 2] [--precision float bf16] [--compiled] [--sizes] [...]

Writes results.json, results.md and ratios.png into the output folder. Needs PyTorch, and Matplotlib for the picture;
`./run compare` brings both about. docs/performance.md tells what is measured and how.
"""

import argparse
import json
import math
import os
import statistics
import time

import machine
import opennn
import report
import sizes
import workers
from workloads import WORKLOADS

# Losses agree when Gradus is no further from the next wider arithmetic (PyTorch's double for float, float for bf16)
# than TOLERANCE, relative to a loss or to 1, or than three times what PyTorch is in Gradus's own arithmetic: deep networks
# with batch norm double differences from rounding with every step, and no order of summation is the right one.
TOLERANCE = {"float": 1e-3, "bf16": 1e-2}
SAME = {"float": "float", "bf16": "bf16_model"}  # autocast leaves weights and sums of layers in float
WIDER = {"float": "double", "bf16": "float"}


def distance(losses, reference):
    if not all(map(math.isfinite, losses)):
        return math.inf
    return max(abs(a - b) / max(1.0, abs(b)) for a, b in zip(losses, reference))


def reference_losses(workload, precision, options, known={}):
    """In wider arithmetic. Kept, since threads do not matter to it."""
    if (workload, precision) not in known:
        worker = workers.start("pytorch", workload, os.cpu_count(), options.out, WIDER[precision], None)
        known[workload, precision] = worker.first_losses(options.losses)
        worker.close()
    return known[workload, precision]


def take_turns(running, steps, rounds):
    """Milliseconds of each step of each round, and the last answer, of each side."""
    times, last = {side: [] for side in running}, {}
    for _ in range(rounds):
        for side, worker in running.items():
            time.sleep(0.3)  # the other one's threads stop spinning
            last[side] = worker.run(steps)
            times[side].append(last[side]["ms"][max(1, steps // 10):] if steps > 1 else last[side]["ms"])
    return times, last


def sides_of(workload, options):
    return ["gradus", "pytorch"] + (["compiled"] if options.compiled and report.trains(workload) else [])


def check_losses(workload, precision, threads, options):
    """How far the first losses are from those in wider arithmetic."""
    reference = reference_losses(workload, precision, options)
    result = {"workload": workload, "precision": precision, "threads": threads, "count": options.losses}

    def first_losses(side, precision):
        worker = workers.start(side, workload, threads, options.out, precision, options.gradus)
        found = worker.first_losses(options.losses)
        worker.close()
        return found

    ours, theirs = first_losses("gradus", precision), first_losses("pytorch", precision)
    result |= {"gradus": distance(ours, reference), "pytorch": distance(theirs, reference),
               "between": distance(ours, theirs)}
    same = SAME[precision]
    result["same"] = distance(first_losses("pytorch", same), reference) if same != precision else result["pytorch"]
    return result | {"agree": result["gradus"] <= max(TOLERANCE[precision], 3 * result["same"])}


def measure(workload, precision, threads, options):
    sides, steps = sides_of(workload, options), WORKLOADS[workload][3]
    begin = lambda side: workers.start(side, workload, threads, options.out, precision, options.gradus)
    running = {side: begin(side) for side in sides}
    starts = {side: [worker.first_step_s] for side, worker in running.items()}
    for worker in running.values():
        worker.run(max(3, steps))  # warms up
    times, last = take_turns(running, steps, options.rounds)
    for worker in running.values():
        worker.close()
    for side in ("gradus", "pytorch"):
        for _ in range(options.starts - 1):
            worker = begin(side)
            starts[side].append(worker.first_step_s)
            worker.close()
    result = {"workload": workload, "precision": precision, "threads": threads}
    for side in sides:
        result[f"{side}_ms"] = round(statistics.median(sum(times[side], [])), 5)
        result[f"{side}_ms_of_rounds"] = [round(statistics.median(ms), 5) for ms in times[side]]
        result[f"{side}_first_step_s"] = round(statistics.median(starts[side]), 4)
        result[f"{side}_peak_mb"] = round(last[side]["peak_kb"] / 1024, 1)
        result[f"{side}_peak_above_start_mb"] = round((last[side]["peak_kb"] - last[side]["before_kb"]) / 1024, 1)
    fastest = min(result[f"{side}_ms"] for side in sides[1:])
    return result | {"ratio": round(fastest / result["gradus_ms"], 3), "system_allocations": last["gradus"]["system_allocations"]}


def add_share_of_peak(result, peaks):
    flop = workers.flop_of_step(result["workload"])
    if not flop:
        return
    result["gflop"] = flop / 1e9
    peak = peaks[str(result["threads"])][result["precision"]]
    for side in ("gradus", "pytorch", "compiled"):
        if peak and f"{side}_ms" in result:
            result[f"{side}_share_of_peak"] = round(flop / (result[f"{side}_ms"] / 1e3) / peak, 4)


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gradus", help="path of the gradus_compare program")
    parser.add_argument("workloads", nargs="*", help=f"of {', '.join(WORKLOADS)}; all unless named")
    parser.add_argument("--out", default="build/compare")
    parser.add_argument("--threads", nargs="+", default=["2"])
    parser.add_argument("--precision", nargs="+", default=["float"],
                        help="float, bf16 or both: of Gradus' models; bf16 is measured beside PyTorch's autocast")
    parser.add_argument("--bf16", action="store_true", help="the same as --precision bf16")
    parser.add_argument("--compiled", action="store_true", help="beside it the same network with torch.compile")
    parser.add_argument("--rounds", type=int, default=9, help="turns of each side; 0: no times, only losses")
    parser.add_argument("--losses", type=int, default=20, help="how many of the first losses are compared; 0: none")
    parser.add_argument("--starts", type=int, default=3, help="how often the time to the first step is taken")
    parser.add_argument("--sizes", action="store_true",
                        help="compile a program for each workload alone: seconds, memory, and size without symbols")
    parser.add_argument("--peer", choices=["opennn"], help="beside it OpenNN's own benchmark on deep_mlp's network")
    parser.add_argument("--peer-source", help="a checkout of it; without, one is fetched")
    parser.add_argument("--keep", action="store_true", help="add to what the output folder holds from earlier runs")
    options = parser.parse_intermixed_args()
    options.gradus = os.path.abspath(options.gradus)
    # Lists of values swallow names of workloads that stand behind them.
    options.workloads += [name for name in options.threads + options.precision if name in WORKLOADS]
    options.threads = [int(value) for value in options.threads if value not in WORKLOADS]
    options.precision = ["bf16"] if options.bf16 else [value for value in options.precision if value not in WORKLOADS]
    if not set(options.precision) <= set(WIDER):
        parser.error(f"no precision {', '.join(options.precision)}; there are {', '.join(WIDER)}")
    options.workloads = options.workloads or list(WORKLOADS)
    unknown = [name for name in options.workloads if name not in WORKLOADS]
    if unknown:
        parser.error(f"no workload {', '.join(unknown)}; there are {', '.join(WORKLOADS)}")
    return options


def main():
    options = parse()
    os.makedirs(options.out, exist_ok=True)
    lists = {"results": [], "losses": [], "programs": [], "opennn": []}
    everything = machine.describe() | {"peaks": {}} | lists
    if options.keep and os.path.exists(f"{options.out}/results.json"):
        with open(f"{options.out}/results.json") as file:
            everything |= {name: value for name, value in json.load(file).items() if name in lists or name == "peaks"}
    for threads in options.threads if options.rounds else []:
        everything["peaks"][str(threads)] = workers.peaks_of(options.gradus, threads)

    def put(list_name, row, *key):
        rows = everything[list_name]
        rows[:] = [other for other in rows if any(other[name] != row[name] for name in key)] + [row]
        report.write(everything, options.out)

    for workload in options.workloads:
        workers.write_inputs(workload, options.out)
        for precision in options.precision:
            if workload == "add_4x4" and precision == "bf16":
                continue  # autocast leaves a sum in float
            for threads in options.threads:
                if options.rounds:
                    result = measure(workload, precision, threads, options)
                    add_share_of_peak(result, everything["peaks"])
                    put("results", result, "workload", "precision", "threads")
                    print(report.line(result), flush=True)
                if options.losses:
                    result = check_losses(workload, precision, threads, options)
                    put("losses", result, "workload", "precision", "threads")
                    print(report.line_of_losses(result), flush=True)
        if options.sizes:
            row = sizes.of_program(workload)
            put("programs", row, "workload")
            print(f"{workload:12} compiles in {row['seconds']} s and {row['peak_mb']} MiB to {row['kb']} KiB", flush=True)
    if options.peer:
        for row in opennn.measure(options.peer_source, options.out, options.threads):
            put("opennn", row, "threads")
    report.write_plot(everything, options.out)
    print(f"\n{report.text(everything)}\nwritten to {options.out}: results.json, results.md, ratios.png")


if __name__ == "__main__":
    main()
