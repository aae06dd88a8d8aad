#include "gradus/optim/schedule.hpp"

#include "gradus/nn/linear.hpp"
#include "gradus/optim/sgd.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"

using namespace gradus;
using test::check_error;

TEST_CASE("cosine: rises evenly, falls along half a cosine, stays at the end") {
  auto factor = optim::cosine({.steps = 10, .warmup = 2});
  CHECK(factor(0) == 0.5);
  CHECK(factor(1) == 1);
  CHECK(factor(2) == 1);  // torch.optim.lr_scheduler.CosineAnnealingLR(T_max=8) from here on
  CHECK(factor(4) == Approx(0.8535533905932737));
  CHECK(factor(6) == Approx(0.5));
  CHECK(factor(9) == Approx(0.03806023374435663));
  CHECK(factor(10) == Approx(0).margin(1e-15));
  CHECK(factor(1000) == Approx(0).margin(1e-15));
  auto with_floor = optim::cosine({.steps = 4, .final_factor = 0.1});
  CHECK(with_floor(0) == 1);
  CHECK(with_floor(2) == Approx(0.55));
  CHECK(with_floor(4) == Approx(0.1));
}

TEST_CASE("schedule: sets the rate for the step that comes next") {
  nn::Linear<float> model(2, 3);
  optim::SGD sgd(model, {.lr = 0.8});
  optim::Schedule schedule(sgd, [](int64_t step) { return step == 0 ? 0.5 : 1.0 / static_cast<double>(step); });
  CHECK(sgd.lr() == 0.4);
  schedule.step();
  CHECK(sgd.lr() == 0.8);
  schedule.step();
  CHECK(sgd.lr() == 0.4);
  CHECK(schedule.steps() == 2);
}

TEST_CASE("cosine: steps that cannot be") {
  check_error<ValueError>([] { optim::cosine({.steps = 5, .warmup = 5}); },
                          "cosine: 5 steps with 5 of warm-up, but there must be more steps than warm-up");
  check_error<ValueError>([] { optim::cosine({.steps = 5, .warmup = -1}); },
                          "cosine: 5 steps with -1 of warm-up, but there must be more steps than warm-up");
}
