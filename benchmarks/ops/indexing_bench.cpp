#include "benchmarks/measure.hpp"
#include "gradus/ops/indexing/cat.hpp"
#include "gradus/ops/indexing/embedding.hpp"
#include "gradus/ops/indexing/gather.hpp"
#include "gradus/ops/indexing/index_select.hpp"
#include "gradus/ops/view/permute.hpp"
#include "gradus/ops/view/reshape.hpp"

using namespace gradus;
using bench::bytes_of, bench::sizes, bench::Tensors, bench::time_operator;

namespace {

const bench::AtStart indexing_registered([] {
  Shape x{4096, 2048};
  // The gradients of cat and of a transposed copy are views.
  bench::Work moved{.read = bytes_of(x), .written = bytes_of(x)};
  bench::Work both{.read = 2 * bytes_of(x), .written = 2 * bytes_of(x)};
  bench::Work indexed{.read = 3 * bytes_of(x), .written = bytes_of(x)};  // with an index of 8 bytes an element
  time_operator(join("cat/rows/", sizes(x)), both, {}, {x, x}, [](const Tensors& in) { return cat(in, 0); });
  time_operator(join("cat/columns/", sizes(x)), both, {}, {x, x}, [](const Tensors& in) { return cat(in, 1); });
  time_operator(join("gather/", sizes(x)), indexed, indexed, {x},
                [index = randint<int64_t>(0, 2048, x)](const Tensors& in) { return gather(in[0], 1, index); });
  time_operator(join("index_select/rows/", sizes(x)), moved, moved, {x},
                [index = randperm(4096)](const Tensors& in) { return index_select(in[0], 0, index); });
  // Backward clears the gradient of the whole table, reads dy, and reads and writes a row for each id.
  Shape table{32768, 512}, rows{32768, 512};
  time_operator(join("embedding/", sizes(table), "/", 32768), {.read = bytes_of(rows), .written = bytes_of(rows)},
                {.read = 2 * bytes_of(rows), .written = bytes_of(table) + bytes_of(rows)}, {table},
                [ids = randint<int64_t>(0, 32768, {32768})](const Tensors& in) { return embedding(ids, in[0]); });
  time_operator(join("contiguous/transposed/", sizes(x)), moved, {}, {x},
                [](const Tensors& in) { return contiguous(transpose(in[0])); });
});

}  // namespace
