#include "gradus/train/memory_by_layer.hpp"

#include "gradus/models/mlp.hpp"
#include "gradus/ops/loss/cross_entropy.hpp"
#include "gradus/optim/adamw.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/hashed.hpp"

using namespace gradus;

TEST_CASE("memory is told by layer and operator", "[gpu]") {
  auto device = test::tested_device();
  models::Mlp<float> model({64, 256, 8});
  to(model, device);
  optim::AdamW adam(model);
  auto x = test::hashed<float>(1, {32, 64}, -1, 1).to(device);
  auto labels = test::hashed_labels(2, 32, 8).to(device);
  auto step = [&] {
    cross_entropy(model(x), labels).backward();
    adam.step();
    adam.zero_grad();
  };
  step();
  auto rows = memory_by_layer(device, step);
  auto table = to_table(rows);
  INFO(table);
  auto find = [&](const std::string& op, const std::string& layer) {
    auto row = std::find_if(rows.begin(), rows.end(),
                            [&](const auto& r) { return r.op == op && r.layer.find(layer) != std::string::npos; });
    REQUIRE(row != rows.end());
    return *row;
  };
  REQUIRE(rows.size() > 5);
  int64_t hidden = 0;  // what the first layer and its relu keep for their gradients
  for (const auto& row : rows)
    hidden += row.op == "linear" || row.op == "relu" || row.op == "permute" ? row.kept_bytes : 0;
  CHECK(hidden >= 32 * 256 * 4);
  CHECK(rows[0].layer.find("Mlp.") == 0);
  find("backward of cross_entropy", "");
  auto weight_gradient = find("backward of linear", ".");
  CHECK(weight_gradient.peak_bytes >= rows[0].peak_bytes);
  int64_t kept = 0;
  for (const auto& row : rows) kept += row.kept_bytes;
  CHECK(kept <= 0);  // a steady step leaves nothing behind
  CHECK(table.find("peak KiB") != std::string::npos);
}
