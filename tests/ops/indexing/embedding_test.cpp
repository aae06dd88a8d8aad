#include "gradus/ops/indexing/embedding.hpp"

#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"
#include "tests/support/operator_check.hpp"

/* golden
case("embedding", F.embedding, integers(0, 5, 7), randn(5, 3))
case("embedding", F.embedding, integers(0, 5, 2, 4), randn(5, 3))
case("embedding", F.embedding, torch.tensor(3), randn(5, 3))
case("embedding", F.embedding, integers(0, 5, 2, 0), randn(5, 3))
case("embedding", F.embedding, integers(0, 1, 40), randn(1, 19))
# what arrives at the row of padding is left out, so that differences of the value do not show the gradient
padded = lambda row: lambda ids, weight: F.embedding(ids, weight, padding_idx=row)
case("embedding with padding", padded(2), torch.tensor([[2, 0, 2], [4, 2, 0]]), randn(5, 3), order=1)
case("embedding with padding at the end", padded(-1), torch.tensor([4, 0, 3, 4]), randn(5, 3), order=1)
*/

using namespace gradus;

namespace {

template <class T>
using Ids = Tensor<int64_t>;

auto embedded(EmbeddingOptions options) {
  return [options]<class T>(const Ids<T>& ids, const Tensor<T>& weight) { return embedding(ids, weight, options); };
}

}  // namespace

TEST_CASE("embedding") {
  manual_seed(1);
  test::check_operator("embedding", embedded({}),
                       {.bf16_tolerance = 0.03, .large = {randint<int64_t>(0, 50, {9, 100}), randn<double>({50, 700})}},
                       __FILE__);
  test::check_operator<double, float>("embedding with padding", embedded({.padding_idx = 2}), {}, __FILE__);
  test::check_operator<double>("embedding with padding at the end", embedded({.padding_idx = -1}), {}, __FILE__);
}

TEST_CASE("what embedding refuses") {
  auto weight = zeros<float>({5, 3});
  test::check_error<IndexError>(
      [&] {
        return embedding(tensor<int64_t>({{0, 4}, {5, 1}}), weight);
      },
      "embedding: id 5 at place 2 of 4 is out of range: weight is (5, 3), so ids must be in [0, 5)");
  test::check_error<IndexError>(
      [&] { return embedding(tensor<int64_t>({-1}), weight); },
      "embedding: id -1 at place 0 of 1 is out of range: weight is (5, 3), so ids must be in [0, 5)");
  test::check_error<ShapeError>([] { return embedding(zeros<int64_t>({2}), zeros<float>({5})); },
                                "embedding: weight is (5,), but must be (n, d)");
  test::check_error<IndexError>([&] { return embedding(zeros<int64_t>({2}), weight, {.padding_idx = 5}); },
                                "embedding: padding_idx is 5, but weight has 5 rows: it must be in [-5, 5)");
}
