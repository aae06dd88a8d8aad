#!/usr/bin/env python3
"""Seconds and memory that the compiler takes for units that use Gradus, as a Markdown table and as JSON.

    compile_time.py                          every unit, three times each; the table shows medians
    compile_time.py --only tensor.hpp        units whose name contains this
    compile_time.py --torch .../site-packages/torch
                                             also the demo's trainer written against LibTorch's headers
    compile_time.py --headers                every public header, each alone
    compile_time.py --programs               also what is deployed: size when stripped, and the shared libraries that it needs

Seconds are user time of the compiler and what it starts, peak memory that of its largest process. Other busy processes
on the machine change both little, but not nothing.
"""

import argparse
import json
import os
import pathlib
import shlex
import statistics
import subprocess
import sys
import tempfile

here = pathlib.Path(__file__).resolve().parent
root = here.parent.parent
operators, operands = 10, 3
budgets = {"smallest.cpp": (5, 800), "fashion_mnist.cpp": (10, 1229), "an operand": (0.1, None)}  # seconds, MiB
# What one includes first, and what costs most.
headers = ["gradus.hpp", "tensor.hpp", "core/thread_pool.hpp", "autograd/autograd.hpp", "ops/pointwise/arithmetic.hpp",
           "ops/product/matmul.hpp", "ops/window/conv2d.hpp", "ops/attention/attention.hpp", "nn/linear.hpp", "nn/lstm.hpp",
           "optim/adamw.hpp", "data/loader.hpp", "io/safetensors.hpp", "train/fit.hpp", "models/gpt.hpp"]
deployed = {"smallest": "smallest.cpp", "fashion_mnist": "fashion_mnist.cpp"}
deployed_budget = 3.0  # MB


def ternary_operators(count):
    """Pointwise operators of three operands, with gradients: what a user's own formulas cost.

    The ordinary operators, of which gradients of gradients are made, are in the unit in any case.
    """
    lines = [
        '#include "gradus/ops/pointwise.hpp"',
        '#include "gradus/ops/pointwise/tanh.hpp"',
        "using namespace gradus;",
        "Tensor<float> ordinary(const Tensor<float>& a, const Tensor<float>& b, const Tensor<float>& c) {",
        "  return a * b + tanh(c * 0.5f) * (a - 0.25f);",
        "}",
    ]
    for i in range(count):
        lines += [
            f'constexpr auto formula{i} = pointwise("ternary{i}", [](auto a, auto b, auto c) {{',
            f"  return a * b + tanh(c * {i + 0.5}) * (a - {i + 0.25});",
            "});",
            f"Tensor<float> ternary{i}(const Tensor<float>& a, const Tensor<float>& b, const Tensor<float>& c) {{",
            f"  return formula{i}(a, b, c);",
            "}",
        ]
    return "\n".join(lines) + "\n"


def eigen_folder():
    places = [os.environ.get("GRADUS_EIGEN_INCLUDE_DIR"), "/usr/include/eigen3", "/usr/local/include/eigen3",
              "/opt/homebrew/include/eigen3"]
    for place in places:
        if place and (pathlib.Path(place) / "Eigen" / "Core").exists():
            return place
    sys.exit("compile_time: no Eigen found; set GRADUS_EIGEN_INCLUDE_DIR")


def units(folder, torch, all_headers):
    """{name: (source file, further options)}"""
    def written(name, text):
        path = pathlib.Path(folder) / name
        path.write_text(text)
        return path

    found = {}
    for example in sorted((root / "examples").glob("*.cpp")):
        found[f"examples/{example.name}"] = (example, [])
    include = root / "include" / "gradus"
    public = [line.split('"')[1][len("gradus/"):] for line in (include / "gradus.hpp").read_text().splitlines()
              if line.startswith('#include "gradus/')]
    for header in (public if all_headers else headers):
        name = header.replace("/", "_")
        found[f'#include "gradus/{header}"'] = (written(f"{name}.cpp", f'#include "gradus/{header}"\n'), [])
    for count in (0, operators):
        found[f"{count} ternary operators"] = (written(f"ternary{count}.cpp", ternary_operators(count)), [])
    if torch:
        include = pathlib.Path(torch) / "include"
        if not (include / "torch").is_dir():
            sys.exit(f"compile_time: {include}/torch is no folder; --torch is the folder of the Python package")
        options = ["-isystem", str(include), "-isystem", str(include / "torch" / "csrc" / "api" / "include")]
        found["LibTorch: the trainer of fashion_mnist"] = (here / "torch_lenet.cpp", options)
    return found


def compile_once(command):
    """(user seconds, peak MiB) of the compiler and all that it starts."""
    process = subprocess.Popen(command, env={**os.environ, "CCACHE_DISABLE": "1"})
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"compile_time: failed: {shlex.join(command)}")
    unit = 1024 if sys.platform == "darwin" else 1  # ru_maxrss is in bytes there, in KiB elsewhere
    return usage.ru_utime, usage.ru_maxrss / unit / 1024


def measure(options, folder):
    compiler = shlex.split(options.compiler) + shlex.split(options.flags)
    results = []
    for name, (source, further) in units(folder, options.torch, options.headers).items():
        if options.only and not any(word in name for word in options.only):
            continue
        command = compiler + ["-I", str(root / "include"), "-isystem", eigen_folder(), *further, "-c", str(source),
                              "-o", os.devnull]
        runs = [compile_once(command) for _ in range(options.repeat)]
        results.append({"unit": name, "seconds": round(statistics.median(s for s, _ in runs), 2),
                        "peak_mb": round(statistics.median(m for _, m in runs)),
                        "seconds_of_runs": [round(s, 2) for s, _ in runs]})
        print(f"{results[-1]['seconds']:7.2f} s  {name}", file=sys.stderr, flush=True)
    seconds = {result["unit"]: result["seconds"] for result in results}
    names = [f"{count} ternary operators" for count in (0, operators)]
    if all(name in seconds for name in names):
        cost = (seconds[names[1]] - seconds[names[0]]) / (operators * operands)
        results.append({"unit": "an operand of a pointwise operator", "seconds": round(cost, 3), "peak_mb": None})
    return results


def programs(options, folder):
    """What a user hands on: linked for release, stripped, with the shared libraries that the loader must find."""
    results = []
    for name, source in deployed.items():
        path = pathlib.Path(folder) / name
        compiler = shlex.split(options.compiler) + shlex.split(options.flags)
        subprocess.run([*compiler, "-I", str(root / "include"), "-isystem", eigen_folder(), str(root / "examples" / source),
                        "-o", str(path), "-s", "-pthread", "-ldl"], check=True)
        listed = subprocess.run(["ldd", str(path)], check=True, stdout=subprocess.PIPE, text=True).stdout
        libraries = [line.split()[0] for line in listed.splitlines() if "=>" in line]
        results.append({"program": name, "stripped_mb": round(path.stat().st_size / 1e6, 2), "libraries": libraries})
    return results


def program_table(results):
    lines = ["", "| Program | Stripped MB | Budget | Shared libraries |", "| --- | ---: | ---: | --- |"]
    for result in results:
        lines.append(f"| {result['program']} | {result['stripped_mb']} | {deployed_budget} | {', '.join(result['libraries'])} |")
    return "\n".join(lines)


def table(results):
    lines = ["| Unit | Seconds | Peak MiB | Budget |", "| --- | ---: | ---: | --- |"]
    for result in results:
        budget = next((b for part, b in budgets.items() if part in result["unit"]), None)
        allowed = "" if budget is None else f"{budget[0]} s" + (f", {budget[1]} MiB" if budget[1] else "")
        memory = "" if result["peak_mb"] is None else result["peak_mb"]
        lines.append(f"| {result['unit']} | {result['seconds']} | {memory} | {allowed} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--compiler", default=os.environ.get("CXX", "g++"))
    parser.add_argument("--flags", default="-std=c++20 -O2 -DNDEBUG -march=native -mmove-max=128 -mstore-max=128 -DGRADUS_SMALL_MOVES")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--only", action="append", help="units whose name contains this; may be given several times")
    parser.add_argument("--torch", help="folder of the Python package torch, whose headers come with it")
    parser.add_argument("--headers", action="store_true", help="every public header, not a few")
    parser.add_argument("--programs", action="store_true", help="also size and libraries of deployed programs")
    parser.add_argument("--out", default=str(root / "build" / "compile_time.json"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = measure(options, folder)
        made = programs(options, folder) if options.programs else []
    print(table(results))
    if made:
        print(program_table(made))
    out = pathlib.Path(options.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({"compiler": options.compiler, "flags": options.flags, "units": results, "programs": made}, indent=1) + "\n")


if __name__ == "__main__":
    main()
