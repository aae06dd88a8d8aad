#!/usr/bin/env python3
"""How the time of a training step grows with batch, width, depth, sequence length and threads, in Gradus and in PyTorch.

    scaling.py <gradus_compare> [batch] [width] [depth] [length] [threads] [--out build/compare] [--threads 2] [--gradus-only]

Writes scaling.json, scaling.md and scaling.png: points, and the exponent of the power that fits them best (least squares
of the logarithms). A step of twice the batch that takes twice as long has exponent 1.
"""

import argparse
import json
import math
import os
import statistics
import time

import machine
import workers
from workloads import classes, texts

MLP, GPT = "MLP 784-512-512-10", "GPT, 2 layers of 256, 4 heads, vocabulary 1,024"


def mlp(*hidden):
    return "mlp:" + ",".join(map(str, (784, *hidden, 10)))


def gpt(context):
    return f"gpt:{context},2,4,256,1024"


def sweeps(threads):
    """{name: (what is trained, [(x, workload, batch maker, threads)])}"""
    images = classes(128, 784)
    return {
        "batch": (MLP, [(n, mlp(512, 512), classes(n, 784), threads) for n in (8, 16, 32, 64, 128, 256, 512, 1024)]),
        "width": ("MLP 784-w-w-10, batch 128", [(w, mlp(w, w), images, threads) for w in (64, 128, 256, 512, 1024, 2048)]),
        "depth": ("MLP 784-256x-10, batch 128", [(d, mlp(*[256] * d), images, threads) for d in (2, 4, 8, 16, 32)]),
        "length": (f"{GPT}, batch 4", [(t, gpt(t), texts(4, t, 1024), threads) for t in (32, 64, 128, 256, 512, 1024)]),
        "threads": (f"{GPT}, 4 times 256 tokens", [(t, gpt(256), texts(4, 256, 1024), t) for t in range(1, os.cpu_count() + 1)]),
    }


def exponent(xs, ys):
    """Slope of the line through (log x, log y) with the least squares."""
    lx, ly = [math.log(x) for x in xs], [math.log(y) for y in ys]
    mx, my = statistics.mean(lx), statistics.mean(ly)
    return sum((x - mx) * (y - my) for x, y in zip(lx, ly)) / sum((x - mx) ** 2 for x in lx)


def measure(point, sides, options):
    """Milliseconds of a step, a side: the median of a round, the least of five rounds taken in turns. The least, because a
    point that another program held up would bend the whole curve."""
    _, workload, batch, threads = point
    workers.write_inputs(workload, options.out, batch)
    running = {side: workers.start(side, workload, threads, options.out, "float", options.gradus) for side in sides}
    steps = {}
    for side, worker in running.items():
        once = statistics.median(worker.run(3)["ms"])
        steps[side] = min(200, max(2, math.ceil(120 / once)))
    times = {side: [] for side in sides}
    for _ in range(5):
        for side, worker in running.items():
            time.sleep(0.2)  # the other one's threads stop spinning
            times[side].append(statistics.median(worker.run(steps[side])["ms"][1:]))
    for worker in running.values():
        worker.close()
    return {side: round(min(ms), 4) for side, ms in times.items()}


def table(results, threads):
    where = machine.describe()
    lines = [f"{where['processor']}, {threads} threads but for the last, PyTorch {where['pytorch']} eager, {where['date']}.", "", "| step against | network | points | Gradus ms | PyTorch ms | exponent: Gradus | PyTorch |",
             "| --- | --- | --- | --- | --- | ---: | ---: |"]
    for name, r in results.items():
        series = lambda side: ", ".join(f"{ms:.3g}" for ms in r["ms"].get(side, [])) or "-"
        fitted = lambda side: f"{r['exponent'][side]:.2f}" if side in r["exponent"] else "-"
        lines.append(f"| {name} | {r['network']} | {', '.join(map(str, r['x']))} | {series('gradus')} | {series('pytorch')} | "
                     f"{fitted('gradus')} | {fitted('pytorch')} |")
    return "\n".join(lines) + "\n"


def plot(results, path):
    try:
        import matplotlib
    except ImportError:
        print("no scaling.png: Matplotlib is not there (pip install matplotlib)")
        return
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    columns = min(3, len(results))
    rows = math.ceil(len(results) / columns)
    figure, axes = plt.subplots(rows, columns, figsize=(4 * columns, 3.3 * rows), squeeze=False, layout="constrained")
    for ax in axes.flat[len(results):]:
        ax.set_visible(False)
    for ax, (name, r) in zip(axes.flat, results.items()):
        for side, color, mark in (("gradus", "#2f7d5b", "o"), ("pytorch", "#b5523b", "s")):
            if side not in r["ms"]:
                continue
            power = f", x^{r['exponent'][side]:.2f}" if side in r["exponent"] else ""
            ax.plot(r["x"], r["ms"][side], color=color, marker=mark, markersize=4,
                    label=f"{'Gradus' if side == 'gradus' else 'PyTorch'}{power}")
        ax.set_xscale("log", base=2)
        ax.set_yscale("log")
        ax.set_xticks(r["x"], [str(x) for x in r["x"]], fontsize=7)
        ax.set_title(f"ms a step against {name}\n{r['network']}", fontsize=7)
        ax.tick_params(axis="y", labelsize=7, which="both")
        ax.grid(alpha=0.3)
        ax.legend(fontsize=7)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main():
    names = list(sweeps(1))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gradus", help="path of the gradus_compare program")
    parser.add_argument("sweeps", nargs="*", help=f"of {', '.join(names)}; all unless named")
    parser.add_argument("--out", default="build/compare")
    parser.add_argument("--threads", type=int, default=2, help="in all sweeps but that of threads")
    parser.add_argument("--gradus-only", action="store_true")
    parser.add_argument("--keep", action="store_true", help="add to what the output folder holds from earlier runs")
    options = parser.parse_intermixed_args()
    options.gradus = os.path.abspath(options.gradus)
    unknown = [name for name in options.sweeps if name not in names]
    if unknown:
        parser.error(f"no sweep {', '.join(unknown)}; there are {', '.join(names)}")
    os.makedirs(options.out, exist_ok=True)
    results = {}
    if options.keep and os.path.exists(f"{options.out}/scaling.json"):
        with open(f"{options.out}/scaling.json") as file:
            results = json.load(file)["sweeps"]
    sides = ["gradus"] if options.gradus_only else ["gradus", "pytorch"]
    for name in options.sweeps or names:
        network, points = sweeps(options.threads)[name]
        found = [measure(point, sides, options) for point in points]
        xs = [point[0] for point in points]
        ms = {side: [each[side] for each in found] for side in sides}
        fits = {side: round(exponent(xs, ms[side]), 3) for side in sides} if len(xs) > 1 else {}
        results[name] = {"network": network, "x": xs, "ms": ms, "exponent": fits}
        print(name, json.dumps(results[name]), flush=True)
        with open(f"{options.out}/scaling.json", "w") as file:
            json.dump(machine.describe() | {"threads": options.threads, "sweeps": results}, file, indent=1)
        with open(f"{options.out}/scaling.md", "w") as file:
            file.write(table(results, options.threads))
    plot(results, f"{options.out}/scaling.png")
    print(f"\n{table(results, options.threads)}\nwritten to {options.out}: scaling.json, scaling.md, scaling.png")


if __name__ == "__main__":
    main()
