// Every kernel of every formula, through NVIDIA's compiler and for every architecture: no GPU is needed for that.
#include <algorithm>
#include <set>

#include "tests/ops/formula/kernel_texts.hpp"
#include "tests/ops/formula/nvrtc.hpp"
#include "tests/ops/formula/skip.hpp"

namespace {

using gradus::DType;
using gradus::detail::CudaKernelText;
using gradus::test::FormulaSignature;
using gradus::test::Nvrtc;

struct TypedText {
  DType type;
  CudaKernelText text;
};

std::vector<TypedText> all_texts() {
  std::vector<TypedText> texts;
  gradus::test::for_each_text([&](DType type, const CudaKernelText& text) { texts.push_back({type, text}); });
  return texts;
}

/// Whether the text holds a number such as 0.5 or 1e-7 that is no float literal.
bool has_double_literal(const std::string& text) {
  for (size_t i = 1; i < text.size(); ++i) {
    auto is_name = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; };
    if (!std::isdigit(static_cast<unsigned char>(text[i])) || is_name(text[i - 1]) || text[i - 1] == '.') continue;
    auto end = i;
    while (is_name(text[end]) || text[end] == '.' || (text[end] == '-' && text[end - 1] == 'e')) ++end;
    auto number = text.substr(i, end - i);
    if (number.starts_with("0x")) continue;
    if (number.find_first_of(".e") != std::string::npos && number.back() != 'f') return true;
  }
  return false;
}

/// The part of a PTX module that is one kernel.
[[maybe_unused]] std::string ptx_of(const std::string& module, const std::string& entry) {
  auto begin = module.find(".entry " + entry + "(");
  if (begin == std::string::npos) return "";
  return module.substr(begin, module.find("\n}\n", begin) - begin);
}

[[maybe_unused]] size_t count(const std::string& text, const std::string& word) {
  size_t n = 0;
  for (auto at = text.find(word); at != std::string::npos; at = text.find(word, at + 1)) ++n;
  return n;
}

[[maybe_unused]] void compile_all_for(const std::string& architecture) {
  auto nvrtc = Nvrtc::find();
  if (!nvrtc) SKIP_LOUDLY("no libnvrtc.so on this machine: no kernel was compiled for a GPU");
  if (!nvrtc->knows(architecture)) SKIP_LOUDLY("this libnvrtc.so does not know " + architecture);
  std::vector<CudaKernelText> kernels;
  for (const auto& typed : all_texts()) kernels.push_back(typed.text);
  auto result = nvrtc->compile(gradus::detail::cuda_pointwise_program(kernels), architecture);
  INFO(result.log.substr(0, 4000));
  REQUIRE(result.ok);
  CHECK(result.code.starts_with("\177ELF"));
  for (const auto& kernel : kernels) {
    INFO(kernel.entry);
    CHECK(result.code.find(kernel.entry) != std::string::npos);
    CHECK(result.code.find(kernel.entry + "_along") != std::string::npos);
    CHECK(result.code.find(kernel.entry + "_strided") != std::string::npos);
  }
}

}  // namespace

TEST_CASE("kernel texts: one entry each, the same every time, floats without double arithmetic", "[formula]") {
  auto texts = all_texts(), again = all_texts();
  std::set<std::string> entries;
  std::set<uint64_t> hashes;
  REQUIRE(texts.size() == again.size());
  for (size_t i = 0; i < texts.size(); ++i) {
    const auto& [type, text] = texts[i];
    INFO(text.source);
    CHECK(text.source == again[i].text.source);
    CHECK(entries.insert(text.entry).second);
    CHECK(hashes.insert(text.hash).second);
    CHECK(text.source.find("#include") == std::string::npos);
    if (type == DType::f32 || type == DType::bf16) {
      CHECK_FALSE(has_double_literal(text.source));
      CHECK(text.source.find("double") == std::string::npos);
    }
  }
  CHECK(has_double_literal("x * 0.5;"));
  CHECK(has_double_literal("x * 1e-07;"));
  CHECK_FALSE(has_double_literal("v0_1 * 0.5f + 1e-07f + pointwise<4> + from_bits(0x7f800000u)"));
}

#if !defined(__SANITIZE_ADDRESS__)  // slow there, and it is NVIDIA's code that runs
TEST_CASE("every kernel compiles for sm_80", "[formula][nvrtc]") { compile_all_for("sm_80"); }
TEST_CASE("every kernel compiles for sm_90", "[formula][nvrtc]") { compile_all_for("sm_90"); }
TEST_CASE("every kernel compiles for sm_100", "[formula][nvrtc]") { compile_all_for("sm_100"); }
TEST_CASE("every kernel compiles for sm_120", "[formula][nvrtc]") { compile_all_for("sm_120"); }

TEST_CASE("packs are loaded and stored by one instruction each", "[formula][nvrtc]") {
  auto nvrtc = Nvrtc::find();
  if (!nvrtc) SKIP_LOUDLY("no libnvrtc.so on this machine: no kernel was compiled for a GPU");
  constexpr FormulaSignature binary{2};
  struct Case {
    DType type;
    const char *load, *store;
  };
  for (auto [type, load, store] :
       {Case{DType::f32, "ld.global.v4", "st.global.v4"}, Case{DType::bf16, "ld.global.v4", "st.global.v4"},
        Case{DType::f16, "ld.global.v4", "st.global.v4"}, Case{DType::f64, "ld.global.v2", "st.global.v4"},
        Case{DType::u8, "ld.global.v2", "st.global.v2"}}) {
    auto kernel = gradus::test::value_text<binary>(gradus::detail::multiply_formula, type);
    auto result = nvrtc->compile(gradus::detail::cuda_pointwise_program({kernel}), "compute_80");
    INFO(result.log);
    REQUIRE(result.ok);
    auto ptx = ptx_of(result.code, kernel.entry);
    INFO(ptx);
    CHECK(count(ptx, load) == 2);
    CHECK(count(ptx, "ld.global") == 4);  // and one load an operand that is the same for the whole pack
    CHECK(count(ptx, store) == 1);
    CHECK(count(ptx, "st.global") == 1);
    CHECK(count(ptx, ".local") == 0);
    auto along = ptx_of(result.code, kernel.entry + "_along");
    INFO(along);
    CHECK(count(along, load) == 2);
    CHECK(count(along, "ld.global") == 2);
    CHECK(count(along, store) == 1);
    CHECK(count(along, "st.global") == 1);
  }
}
#endif
