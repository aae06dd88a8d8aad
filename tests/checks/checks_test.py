#!/usr/bin/env python3
"""Tests of the checks: each must find the mistake it is there for, and let correct code pass."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "compile_fail"), str(HERE.parents[1] / "docs/site")]
import docs  # noqa: E402
import gpu_status  # noqa: E402
import header_rules  # noqa: E402
import make as site  # noqa: E402
import run as compile_fail  # noqa: E402
import test_names  # noqa: E402
import umbrella  # noqa: E402


class InTree(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.root = pathlib.Path(self.folder.name)
        self.addCleanup(self.folder.cleanup)

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path


class HeaderRules(InTree):
    def problems(self, name, body, head="// What it is.\n#pragma once\n"):
        path = self.write(name, head + body)
        return [text for _, text in header_rules.check_header(self.root, path)]

    def setUp(self):
        super().setUp()
        for name in ["core/a.hpp", "ops/b.hpp", "nn/c.hpp", "io/d.hpp", "train/e.hpp", "tensor.hpp", "gradus.hpp"]:
            self.write(name, "#pragma once\n")

    def test_arrows(self):
        for name, target, ok in [("ops/x.hpp", "core/a.hpp", True), ("core/x.hpp", "ops/b.hpp", False),
                                 ("optim/x.hpp", "ops/b.hpp", True), ("optim/x.hpp", "nn/c.hpp", False),
                                 ("data/x.hpp", "nn/c.hpp", False), ("io/x.hpp", "nn/c.hpp", True),
                                 ("nn/x.hpp", "io/d.hpp", False), ("models/x.hpp", "io/d.hpp", True),
                                 ("train/x.hpp", "io/d.hpp", True), ("models/x.hpp", "train/e.hpp", False),
                                 ("nn/x.hpp", "tensor.hpp", True), ("ops/x.hpp", "tensor.hpp", False),
                                 ("train/x.hpp", "gradus.hpp", False), ("tensor.hpp", "ops/b.hpp", True)]:
            problems = self.problems(name, f'#include "gradus/{target}"\n')
            self.assertEqual(not problems, ok, f"{name} -> {target}: {problems}")

    def test_eigen_and_cuda(self):
        self.assertTrue(self.problems("nn/x.hpp", "#include <Eigen/Core>\n"))
        self.assertTrue(self.problems("core/x.hpp", "void f(Eigen::MatrixXf);\n"))
        self.assertFalse(self.problems("core/x.hpp", "// for Eigen's sake\n"))
        self.assertFalse(self.problems("tensor/eigen.hpp", "#include <Eigen/Core>\n"))
        self.assertTrue(self.problems("nn/x.hpp", "#include <cuda.h>\n"))
        self.assertFalse(self.problems("device/cuda/x.hpp", "#include <cuda.h>\n"))

    def test_other_rules(self):
        self.assertTrue(self.problems("nn/x.hpp", "#define LEAKS 1\n"))
        self.assertFalse(self.problems("nn/x.hpp", "#define GRADUS_FINE 1\n"))
        self.assertTrue(self.problems("nn/x.hpp", "using namespace std;\n"))
        self.assertTrue(self.problems("nn/x.hpp", '#include "c.hpp"\n'))
        self.assertTrue(self.problems("nn/x.hpp", "#include <gradus/core/a.hpp>\n"))
        self.assertTrue(self.problems("nn/x.hpp", '#include "gradus/core/gone.hpp"\n'))
        self.assertTrue(self.problems("nn/x.hpp", "", head="#include <vector>\n"))


class Umbrella(InTree):
    def run_on(self, named, *arguments):
        self.write("ops/public.hpp", "namespace gradus::inline GRADUS_BUILD {\n}\n")
        self.write("nn/layer.hpp", "namespace gradus::nn::inline GRADUS_BUILD {\n}\n")
        self.write("ops/private.hpp", "namespace gradus::detail::inline GRADUS_BUILD {\n}\n")
        self.write("core/macro.hpp", "/// For users.\n#define GRADUS_MACRO(x) x\n")
        self.write("gradus.hpp", "// All.\n#pragma once\n\n" + "".join(f'#include "gradus/{name}"\n' for name in named))
        command = [sys.executable, "-B", str(HERE / "umbrella.py"), str(self.root), *arguments]
        return subprocess.run(command, capture_output=True, text=True)

    def test_complete(self):
        complete = ["core/macro.hpp", "nn/layer.hpp", "ops/public.hpp"]
        self.assertEqual(self.run_on(complete).returncode, 0)
        for wrong in (complete[1:], complete[::-1], [*complete, "ops/zzz.hpp"]):
            self.assertEqual(self.run_on(wrong).returncode, 1, wrong)
        self.assertIn("ops/public.hpp", self.run_on(complete[:-1]).stdout)

    def test_write(self):
        self.assertEqual(self.run_on([], "--write").returncode, 0)
        self.assertEqual(list(umbrella.INCLUDE.findall((self.root / "gradus.hpp").read_text())),
                         ["core/macro.hpp", "nn/layer.hpp", "ops/public.hpp"])


class Docs(unittest.TestCase):
    def test_programs(self):
        page = (HERE / "pages" / "blocks.md").read_text(encoding="utf-8")
        made = dict(docs.programs("blocks.md", page))
        whole = [suffix for suffix in made if suffix]
        self.assertEqual(len(whole), 1)
        self.assertIn("int main() { return", made[whole[0]])
        text = made[""]
        self.assertEqual(text.count("static void block_at_line_"), 3)
        self.assertEqual(text.count("  block_at_line_"), 2)  # what is compiled only is not called
        self.assertLess(text.index("#include <cstdlib>"), text.index("using namespace gradus;"))
        self.assertLess(text.index("struct Pair"), text.index("Pair{}"))
        self.assertNotIn("some_operator", text)
        line = page.split("\n").index("auto x = full<float>({2, 3}, 1.5f);  // (2, 3)") + 1
        self.assertIn(f'#line {line} "blocks.md"\nauto x', text)

    def test_headers(self):
        for block, umbrella_header in [("int a;", True), ("#include <vector>", True), ("#include <gradus/tensor.hpp>", False)]:
            text = dict(docs.programs("page.md", f"```cpp\n{block}\n```\n"))[""]
            self.assertEqual("#include <gradus/gradus.hpp>" in text, umbrella_header, block)

    def test_files(self):
        page = "<!-- file include/gradus/ops/x.hpp -->\n```cpp\n#pragma once\n```\n```cpp\nint a;\n```\n"
        self.assertEqual(docs.files("page.md", page), [("include/gradus/ops/x.hpp", "#pragma once\n")])
        self.assertNotIn("pragma", dict(docs.programs("page.md", page))[""])

    def test_mistakes(self):
        for page in ("```cpp\nint x;\n", "<!-- continue -->\n```cpp\n```\n", "<!-- continues -->\n```cpp\n```\n",
                     "<!-- file ../x.hpp -->\n```cpp\n```\n"):
            with self.assertRaises(docs.PageError):
                list(docs.programs("page.md", page))


class Site(InTree):
    HEADER = """// What it is.
#pragma once
#define GRADUS_DETAIL_SECRET(x) \\
  x
/// For users.
#define GRADUS_OPEN(x) x

namespace gradus::detail::inline GRADUS_BUILD {
int secret();
}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::nn::inline GRADUS_BUILD {

/// Doubles x.
int twice(int x) {
  return 2 * x;
}
int twice(float x) {
  return 2 * x;
}
int thrice(int x) {
  return 3 * x;
}

struct Layer {
  GRADUS_FIELDS(weight)
  /// Internal: not for users.
  int hidden();
};

}  // namespace gradus::nn::inline GRADUS_BUILD
"""

    def test_headers(self):
        self.write("gradus/nn/layer.hpp", self.HEADER)
        self.write("gradus/nn/private.hpp", self.HEADER.partition("namespace gradus::nn")[0].replace("///", "//"))
        ((name, text),), folders = site.stage_headers(self.root / "gradus")
        self.assertEqual((name, folders), ("gradus/nn/layer.hpp", ["nn"]))
        self.assertEqual(text.count("\n"), self.HEADER.count("\n"))  # Doxygen's warnings name the right lines
        self.assertTrue(text.startswith("/// @file\n/// What it is.\n"))
        for gone in ("SECRET", "secret", "hidden", "GRADUS_FIELDS", "GRADUS_BUILD", "#pragma"):
            self.assertNotIn(gone, text)
        self.assertIn("#define GRADUS_OPEN(x)\n", text)
        self.assertIn("namespace gradus::nn {\n/** @chapter{ref_nn} */\n", text)
        self.assertIn("/** @} */ }  // namespace gradus::nn", text)
        self.assertIn("/** Doubles x. */ int twice(float x)", text)
        self.assertIn("\nint thrice", text)

    def test_pages(self):
        self.write("docs/guide/b.md", "# B\n")
        self.write("LICENSE", "text")
        self.write("docs/x.png", "")
        page = "# A\n\n[B](b.md#part) [free](../../LICENSE) [web](https://a.b/c) `[](auto x)` ![two \"words\"](../x.png)\n"
        pages, images = ["docs/guide/a.md", "docs/guide/b.md"], set()
        text = site.stage_page(self.root, pages[0], pages, page + "```cpp\n[](x)\n```\n", images)
        self.assertIn("# A {#page_guide_a}\n", text)
        self.assertIn("[B](@ref page_guide_b) free [web](https://a.b/c) `[](auto x)` <img src=\"x.png\"", text)
        self.assertIn("[](x)", text)
        self.assertEqual(images, {"docs/x.png"})
        with self.assertRaises(site.Link):
            site.stage_page(self.root, pages[0], pages, "# A\n\n[gone](gone.md)\n", images)


class GpuStatus(InTree):
    def test_what_is_ticked(self):
        self.write("tests/cuda/plans/compiled.txt", "# kernels: 2, failed: 0\nrelu\n")
        self.write("tests/cuda/card_runs.txt", "# what ran\n2026-01-02 | H100 80GB | abc | tests/ops/pointwise: relu | passed\n")
        self.write("cmake/programs.cmake", 'set(simulated "^(cuda|ops)$")\n')
        self.write("examples/CMakeLists.txt", "foreach(name demo)\n")
        for name, kernel in ("relu", '= pointwise("relu", f);'), ("gelu", '= pointwise("gelu", f);'), ("flip", ""):
            self.write(f"include/gradus/ops/pointwise/{name}.hpp", kernel)
            self.write(f"tests/ops/pointwise/{name}_test.cpp",
                       f'#include "gradus/ops/pointwise/{name}.hpp"\n  test::check_operator<double>("{name} here", f);\n')
        self.write("tests/models/x_test.cpp", 'TEST_CASE("first losses") {\nTEST_CASE("another") {\n')
        status = gpu_status.Status(self.root)
        self.assertEqual(list(status.operators()), ["| flip | flip here | yes | yes | of others | no |",
                                                    "| gelu | gelu here | yes | yes | no: gelu | no |",
                                                    "| relu | relu here | yes | yes | yes | H100 2026-01-02, abc: passed |"])
        self.assertEqual(list(status.models()), ["| first losses | yes | no | no | no |"])
        self.assertIn("kernels: 2, failed: 0", status.page())


class CompileFail(unittest.TestCase):
    def test_cases(self):
        text = "#ifdef GRADUS_FAIL_one  // expect: a text | another\n#endif\n#ifdef GRADUS_FAIL_two\n#endif\n"
        self.assertEqual(compile_fail.CASE.findall(text), [("one", "a text | another"), ("two", "")])


class TestNames(InTree):
    def found(self, text):
        self.write("tests/core/a_test.cpp", text)
        return [problem.split(":")[1] for problem in test_names.problems(self.root)]

    def test_what_ctest_takes_apart_is_found_and_the_rest_passes(self):
        good = 'TEST_CASE("a: 1, (2) and \'3\'", "[tag]") {}\n'
        self.assertEqual(self.found(good), [])
        for name in ["from [0, 1)", "one; two", "up to 1]", 'say \\"no\\"']:
            self.assertEqual(self.found(good + f'TEST_CASE("{name}") {{}}\n'), ["2"], name)
        self.assertEqual(self.found('TEMPLATE_TEST_CASE("a; b", "", float) {}\n'), ["1"])

    def test_a_name_that_is_there_twice_is_found(self):
        self.assertEqual(len(self.found('TEST_CASE("a") {}\nTEST_CASE("a") {}\n')), 1)
        self.write("tests/tensor/b_test.cpp", 'TEST_CASE("a") {}\n')
        self.assertEqual(len(self.found('TEST_CASE("a") {}\n')), 0)


if __name__ == "__main__":
    unittest.main()
