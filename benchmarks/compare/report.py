"""results.md, results.json and ratios.png of a comparison, and of scaling.json what a page needs.

    report.py <output folder of ./run compare> <page.md>    puts both into the page, between its comments "measured: ..." and
                                                            "end", and the pictures into images/ beside it
"""

import json
import math
import os
import pathlib
import re
import shutil
import sys

from workloads import WORKLOADS

SMALL = ("tiny_mlp", "logistic", "add_4x4")  # what a step costs beside its arithmetic
NOTES = """Milliseconds are medians of training steps (forward, backward, AdamW) taken in turns; ratio is the faster of eager and
compiled PyTorch over Gradus. First step: seconds from the start of the process until one step is done. MB: the most memory that the
process held, and in brackets how much of it came after its start (libraries loaded, no model yet). GFLOP: multiply-adds of matrix
products and convolutions in a step, each two; share: of what multiply-adds in registers reach on so many threads. Losses: the largest
distance from PyTorch in wider arithmetic (double for float, float for bf16), Gradus's and PyTorch's own (bf16: that of a
PyTorch model in bf16, then that under autocast), relative to a loss or to 1."""


def trains(workload):
    return WORKLOADS[workload][2] not in (None, "decode")


def whole_model(workload):
    return trains(workload) and workload not in SMALL


def count_threads(number):
    return "1 thread" if int(number) == 1 else f"{number} threads"


def share(value):
    return f"{100 * value:.0f} %" if value is not None else "-"


def number(value, digits=3):
    """Digits that count, without an exponent where it can be: 1234, 12.3, 0.0123."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 10**digits else f"{value:.{digits}g}"


def geometric_mean(values):
    return math.exp(sum(map(math.log, values)) / len(values))


def groups(results):
    """{(precision, threads): rows}, rows in the order of WORKLOADS."""
    found = {}
    for r in sorted(results, key=lambda r: list(WORKLOADS).index(r["workload"])):
        found.setdefault((r["precision"], r["threads"]), []).append(r)
    return dict(sorted(found.items(), key=lambda item: (item[0][0] != "float", -item[0][1])))


def line(r):
    compiled = f"   compiled {r['compiled_ms']:9.4g} ms" if "compiled_ms" in r else ""
    return (f"{r['workload']:12} {r['precision']:5} {r['threads']} threads   gradus {r['gradus_ms']:9.4g} ms   pytorch "
            f"{r['pytorch_ms']:9.4g} ms{compiled}   ratio {r['ratio']:6.2f}")


def line_of_losses(r):
    return (f"{r['workload']:12} {r['precision']:5} {r['threads']} threads   {r['count']} losses {'agree' if r['agree'] else 'DIFFER'}: "
            f"gradus {r['gradus']:.1e}, "
            f"pytorch {r['pytorch']:.1e}, in the same arithmetic {r['same']:.1e} from wider; {r['between']:.1e} between the two")


def losses_of(everything, r):
    """The cell of a row: "1e-07, 2e-07"."""
    key = ("workload", "precision", "threads")
    found = [e for e in everything["losses"] if all(e[name] == r[name] for name in key)]
    # The same with any number of threads, as far as agreeing goes.
    found = found or [e for e in everything["losses"] if all(e[name] == r[name] for name in key[:2])]
    if not found:
        return "-"
    shown = ("gradus", "pytorch") if r["precision"] == "float" else ("gradus", "same", "pytorch")
    return ", ".join(f"{found[0][name]:.0e}" for name in shown) + ("" if found[0]["agree"] else " **NO**")


def table(everything, rows, compiled):
    lines = ["| workload | Gradus ms | PyTorch ms | " + ("compiled ms (first step s) | " if compiled else "") +
             "ratio | first step s | MB | GFLOP | share | losses |", "| --- | " + "---: | " * (7 + compiled) + "--- |"]
    for r in rows:
        pair = lambda what: f"{number(r.get('gradus' + what))}, {number(r.get('pytorch' + what))}"
        memory = lambda side: f"{number(r[side + '_peak_mb'])} ({number(r[side + '_peak_above_start_mb'])})"
        shares = f"{share(r.get('gradus_share_of_peak'))}, {share(r.get('pytorch_share_of_peak'))}"
        lines.append(f"| {r['workload']} | {number(r['gradus_ms'])} | {number(r['pytorch_ms'])} | "
                     + (f"{number(r.get('compiled_ms'))} ({number(r.get('compiled_first_step_s'))}) | " if compiled else "")
                     + f"{r['ratio']:.2f} | {pair('_first_step_s')} | {memory('gradus')}, {memory('pytorch')} | "
                     f"{number(r.get('gflop'))} | {shares} | {losses_of(everything, r)} |")
    whole = [r["ratio"] for r in rows if whole_model(r["workload"])]
    if whole:
        lines.append(f"\nRatios of {len(whole)} whole models: geometric mean {geometric_mean(whole):.2f}, least {min(whole):.2f}.")
    return "\n".join(lines)


def text(everything):
    """The whole report in Markdown."""
    e = everything
    parts = [f"{e['processor']}, {e['cores']} cores, {e['compiler']}, PyTorch {e['pytorch']}, {e['date']}."]
    for threads, peaks in e["peaks"].items():
        bf16 = f"{peaks['bf16'] / 1e9:.0f} GFLOP/s in bf16" if peaks["bf16"] else "no bf16 instructions"
        float_peak, read = peaks["float"] / 1e9, peaks["read"] / 1e9
        parts.append(f"Peak of {count_threads(threads)}: {float_peak:.0f} GFLOP/s in float, {bf16}; {read:.0f} GB/s read.")
    only_losses = [r for r in e["losses"] if not e["results"]]
    parts += ["\n".join("    " + line_of_losses(r) for r in only_losses)] if only_losses else []
    for (precision, threads), rows in groups(e["results"]).items():
        compiled = any("compiled_ms" in r for r in rows)
        parts.append(f"## {precision}, {count_threads(threads)}\n\n{table(e, rows, compiled)}")
    for row in e["opennn"]:
        parts.append(f"OpenNN, a network of deep_mlp's sizes, {count_threads(row['threads'])}: {row['opennn_ms']:.3g} ms a step.")
    parts.append(NOTES + "".join(f" The first {count} losses were compared." for count in {r["count"] for r in e["losses"]}))
    if e["programs"]:
        lines = [f"## Programs of one workload ({e['programs'][0]['flags']})\n", "| workload | compiler's seconds | MiB | program KiB |",
                 "| --- | ---: | ---: | ---: |"]
        lines += [f"| {p['workload']} | {p['seconds']} | {p['peak_mb']} | {p['kb']} |" for p in e["programs"]]
        parts.append("\n".join(lines))
        parts.append(f"PyTorch takes {e['pytorch_mb']:,} MiB on disk, {e['pytorch_and_packages_mb']:,} with the packages beside it.")
    return "\n\n".join(parts) + "\n"


def plot(everything, path):
    """Bars of the ratios, a panel for each precision and number of threads. False without Matplotlib."""
    try:
        import matplotlib
    except ImportError:
        return False
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import matplotlib.ticker

    panels = groups(everything["results"])
    height = 0.9 + 0.3 * max(len(rows) for rows in panels.values())
    figure, axes = plt.subplots(1, len(panels), figsize=(5.2 * len(panels), height), squeeze=False, layout="constrained")
    for ax, ((precision, threads), rows) in zip(axes[0], panels.items()):
        names, ratios = [r["workload"] for r in rows][::-1], [r["ratio"] for r in rows][::-1]
        colors = ["#2f7d5b" if ratio >= 1 else "#b5523b" for ratio in ratios]
        ax.barh(names, [ratio - 1 for ratio in ratios], left=1, color=colors)
        for place, ratio in enumerate(ratios):
            ax.annotate(f"{ratio:.2f}" if ratio < 10 else f"{ratio:.0f}", (max(ratio, 1), place), (4, 0),
                        textcoords="offset points", va="center", fontsize=8)
        ax.set_xscale("log")
        ax.set_xlim(min(0.5, 0.8 * min(ratios)), 1.8 * max(ratios + [2]))
        ax.axvline(1, color="black", linewidth=0.8)
        ax.xaxis.set_major_formatter(matplotlib.ticker.FormatStrFormatter("%g"))
        ax.xaxis.set_minor_formatter(matplotlib.ticker.NullFormatter())
        ax.grid(axis="x", alpha=0.3)
        ax.set_title(f"{precision}, {count_threads(threads)}: PyTorch's step over Gradus's", fontsize=10)
        ax.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return True


def write(everything, folder):
    with open(f"{folder}/results.json", "w") as file:
        json.dump(everything, file, indent=1)
    with open(f"{folder}/results.md", "w") as file:
        file.write(text(everything))


def write_plot(everything, folder):
    if everything["results"] and not plot(everything, f"{folder}/ratios.png"):
        print("no ratios.png: Matplotlib is not there (pip install matplotlib)")


def put_into_page(folder, page):
    folder, page = pathlib.Path(folder), pathlib.Path(page)
    content = page.read_text()
    parts = {"compare": ("results.md", "ratios.png"), "scaling": ("scaling.md", "scaling.png")}
    for name, (table_file, picture) in parts.items():
        if not (folder / table_file).exists():
            continue
        body = re.sub(r"^## ", "### ", (folder / table_file).read_text(), flags=re.MULTILINE).strip()
        if (folder / picture).exists():
            shutil.copy(folder / picture, page.parent / "images" / f"{name}.png")
            body = f"![{name}](images/{name}.png)\n\n{body}"
        found = re.compile(rf"(<!-- measured: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        if not found.search(content):
            sys.exit(f"report: {page} has no place for 'measured: {name}'")
        content = found.sub(lambda match: f"{match[1]}\n{body}\n\n{match[2]}", content)
    page.write_text(content)


if __name__ == "__main__":
    if len(sys.argv) != 3 or not os.path.isdir(sys.argv[1]):
        sys.exit(__doc__)
    put_into_page(sys.argv[1], sys.argv[2])
