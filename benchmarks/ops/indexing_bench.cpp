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
  Shape x{1024, 512};
  // The gradients of cat and of a transposed copy are views.
  bench::Work moved{.bytes = 2 * bytes_of(x)};
  time_operator(join("cat/rows/", sizes(x)), {.bytes = 4 * bytes_of(x)}, {}, {x, x},
                [](const Tensors& in) { return cat(in, 0); });
  time_operator(join("cat/columns/", sizes(x)), {.bytes = 4 * bytes_of(x)}, {}, {x, x},
                [](const Tensors& in) { return cat(in, 1); });
  time_operator(join("gather/", sizes(x)), moved, moved, {x},
                [index = randint<int64_t>(0, 512, x)](const Tensors& in) { return gather(in[0], 1, index); });
  time_operator(join("index_select/rows/", sizes(x)), moved, moved, {x},
                [index = randperm(1024)](const Tensors& in) { return index_select(in[0], 0, index); });
  // Backward clears the gradient of the whole table, reads dy, and reads and writes a row for each id.
  Shape table{32768, 512}, rows{4096, 512};
  time_operator(join("embedding/", sizes(table), "/", 4096), {.bytes = 2 * bytes_of(rows)},
                {.bytes = bytes_of(table) + 3 * bytes_of(rows)}, {table},
                [ids = randint<int64_t>(0, 32768, {4096})](const Tensors& in) { return embedding(ids, in[0]); });
  time_operator(join("contiguous/transposed/", sizes(x)), moved, {}, {x},
                [](const Tensors& in) { return contiguous(transpose(in[0])); });
});

}  // namespace
