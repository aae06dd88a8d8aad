// ResNet-18 and ResNet-50 are torchvision's: every name and shape, the number of parameters, and the start.
#include "gradus/models/resnet.hpp"

#include <cmath>

#include "tests/support/catch.hpp"
#include "tests/support/operator_check.hpp"

/* golden
import __main__, sys
sys.dont_write_bytecode = True
sys.path.insert(0, str(__main__.golden_folder.parent.parent / "benchmarks" / "compare"))
import workloads

def state(model):
    text = "".join(f"{name} {tuple(part.shape)}\n" for name, part in model.state_dict().items())
    return torch.tensor(list(text.encode()), dtype=torch.uint8)

case("resnet18", lambda: state(workloads.ResNet(64, (2, 2, 2, 2), False)), order=0)
case("resnet50", lambda: state(workloads.ResNet(64, (3, 4, 6, 3), True)), order=0)
*/

using namespace gradus;

namespace {

/// A line for each parameter and buffer: "layer1.0.conv1.weight (64, 64, 3, 3)".
template <class Model>
std::string state_lines(const Model& model) {
  std::string text;
  detail::for_each_model_tensor(
      model, [&](const std::string& path, const auto& part) { text += join(path, ' ', part.shape(), '\n'); });
  return text;
}

std::string wanted_state(const char* group) {
  auto bytes = test::golden_cases(group, __FILE__)[0].output.as<uint8_t>().to_vector();
  return {bytes.begin(), bytes.end()};
}

/// Standard deviation over sqrt(2 / fan): 1 but for chance.
double spread(const Tensor<float>& weight, double fan) {
  double squares = 0;
  for (double v : weight.to_vector()) squares += v * v;
  return std::sqrt(squares / static_cast<double>(weight.numel()) * fan / 2);
}

}  // namespace

TEST_CASE("ResNet-18 and ResNet-50 have the names, shapes and sizes of torchvision's") {
  auto small = models::resnet18<float>();
  CHECK(state_lines(small) == wanted_state("resnet18"));
  CHECK(count_parameters(small) == 11'689'512);
  auto large = models::resnet50<float>();
  CHECK(state_lines(large) == wanted_state("resnet50"));
  CHECK(count_parameters(large) == 25'557'032);
  CHECK(models::resnet18<float>(10).fc.weight.shape() == Shape{10, 512});
}

TEST_CASE("ResNet starts as torchvision's: convolutions normal with variance 2 / (outputs that an input reaches)") {
  manual_seed(3);
  models::ResNet<float> model({.blocks = {1, 1, 1, 1}, .bottleneck = true, .classes = 5, .width = 16});
  CHECK(spread(model.conv1.weight.tensor(), 16 * 49) == Approx(1).epsilon(0.05));
  auto& block = model.layer2[0];
  CHECK(spread(block.conv1.weight.tensor(), 32) == Approx(1).epsilon(0.1));
  CHECK(spread(block.conv2.weight.tensor(), 32 * 9) == Approx(1).epsilon(0.05));
  CHECK(spread(block.conv3->weight.tensor(), 128) == Approx(1).epsilon(0.1));
  for (const auto& [name, parameter] : named_parameters(block)) {
    if (name == "downsample.0.weight") CHECK(spread(parameter, 128) == Approx(1).epsilon(0.05));
    if (parameter.rank() == 1)
      CHECK(parameter.to_vector() ==
            std::vector<float>(static_cast<size_t>(parameter.numel()), name.ends_with("weight") ? 1.0f : 0.0f));
  }
}

TEST_CASE("ResNet is a value: a copy is a snapshot, and assigning it restores the numbers") {
  models::ResNet<float> model({.blocks = {1, 1, 1, 1}, .bottleneck = true, .classes = 3, .width = 4});
  auto x = randn<float>({2, 3, 32, 32});
  model(x);
  eval(model);
  auto best = model;
  auto y = best(x).to_vector();
  no_grad([&] {
    for (auto& parameter : parameters(model)) parameter.fill_(0.5f);
  });
  CHECK(model(x).to_vector() != y);
  CHECK(best(x).to_vector() == y);
  model = best;
  CHECK(model(x).to_vector() == y);
}
