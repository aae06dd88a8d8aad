#!/usr/bin/env python3
"""Makes the site that `./run docs` makes and looks into it: no warning of Doxygen, known pages are there and say what
they should, nothing internal is left, and every link to a file leads to one. Exit code 77 without Doxygen."""

import argparse
import html
import pathlib
import re
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "docs/site"))
import make  # noqa: E402

EXPECTED = {
    "index.html": ["for training neural networks inside C++ programs", "page_guide_getting_started.html"],
    "page_guide_tensors.html": ["Memory that you have", "Tensor&lt;T&gt;"],
    "page_guide_autograd.html": ["page_guide_fused_operators.html"],
    "group__ref__ops__pointwise.html": ["gradus::relu", "max(x, 0), NaN stays NaN", "gradus::operator+"],
    "group__ref__tensor.html": ["gradus::zeros", "gradus::arange", "gradus::as_eigen", "gradus::Tensor&lt; T &gt;"],
    "classgradus_1_1Tensor.html": ["mutable_span", "set_requires_grad"],
    "structgradus_1_1nn_1_1Linear.html": ["Dense layer", "gradus/nn/linear.hpp"],
    "fields_8hpp.html": ["GRADUS_FIELDS_OF"],
    "navtreedata.js": ["page_guide.html", "Getting started"],
}
INTERNAL = re.compile(r"GRADUS_(BUILD|STABLE|DETAIL|INLINE|COLD|SHARED)|namespacegradus_1_1(\w+_1_1)?detail|avx|Internal:")


def problems(root, folder):
    for name, parts in EXPECTED.items():
        text = (folder / name).read_text("utf-8") if (folder / name).exists() else ""
        yield from (f"{name} does not have '{part}'" for part in parts if part not in text)
    index = "".join(path.read_text("utf-8") for path in sorted((folder / "search").glob("all_*.js")))
    headers, _ = make.stage_headers(root / "include/gradus")
    functions = {found.group(1) for _, text in headers for found in map(make.SIGNATURE.match, text.split("\n")) if found}
    for name in sorted(functions - {"decltype"} | {"Tensor", "Loader", "Linear"}):
        if f"'{html.escape(name)}'" not in index:
            yield f"the search does not know {name}"
    for path in sorted(folder.glob("*.html")):
        text = path.read_text("utf-8")
        if not path.name.startswith(("page_", "index")):  # pages may speak of what is internal
            yield from (f"{path.name} shows {match.group()}" for match in INTERNAL.finditer(text))
        for target in sorted(set(re.findall(r'(?:href|src)="([^"#]+)', text))):
            if not re.match(r"\w+:", target) and not (folder / target).exists():
                yield f"{path.name}: the link to {target} leads nowhere"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=pathlib.Path)
    root = parser.parse_args().root.resolve()
    version = make.doxygen_version()
    if version is None or version < make.OLDEST:
        print(f"skipped: Doxygen {'.'.join(map(str, make.OLDEST))} or later is not installed")
        return 77
    with tempfile.TemporaryDirectory() as folder:
        site = pathlib.Path(folder) / "site"
        try:
            found = make.make(root, site)
        except (make.Link, RuntimeError) as error:
            found = [str(error)]
        found += problems(root, site)
    print("\n".join(found[:50]), file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
