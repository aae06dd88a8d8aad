#include "gradus/train/progress.hpp"

#include "tests/support/catch.hpp"

using namespace gradus;
using namespace gradus::training;

namespace {

/// A bar whose time and terminal are made up.
struct Screen {
  double time = 100;
  std::string text;

  ProgressOptions options(bool terminal, Show show = Show::automatic) {
    return {.title = "epoch 1/5",
            .show = show,
            .write = [this](const std::string& part) { text += part; },
            .clock = [this] { return time; },
            .terminal = terminal};
  }
  std::string take() { return std::exchange(text, ""); }
};

}  // namespace

TEST_CASE("progress: a bar with rate and time left") {
  Screen screen;
  Progress bar(1000, screen.options(true));
  screen.time += 2;
  bar.advance(250, "loss 0.5");
  CHECK(screen.take() ==
        "\repoch 1/5  [######..................] 250/1000 images  125 images/s  6 s left  loss 0.5\x1b[K");
  screen.time += 4;
  bar.advance(500);
  CHECK(screen.take() == "\repoch 1/5  [##################......] 750/1000 images  125 images/s  2 s left\x1b[K");
  bar.advance(250);
  CHECK(screen.take().empty());  // too soon
  bar.finish("accuracy 90 %");
  CHECK(screen.take() == "\repoch 1/5  1000/1000 images  6 s  167 images/s  accuracy 90 %\x1b[K\n");
  bar.finish("again");
  CHECK(screen.take().empty());
}

TEST_CASE("progress: drawing is throttled, and text is made only when drawn") {
  Screen screen;
  Progress bar(100, screen.options(true));
  int made = 0;
  for (int i = 0; i < 100; ++i) {
    screen.time += 0.01;
    bar.advance(1, [&] { return "step " + std::to_string(++made); });
  }
  CHECK(made >= 9);
  CHECK(made <= 11);
  CHECK(bar.done() == 100);
}

TEST_CASE("progress: silent off a terminal, one line when asked, nothing when told") {
  for (auto show : {Show::automatic, Show::lines, Show::never}) {
    Screen screen;
    {
      Progress bar(10, screen.options(false, show));
      screen.time += 1;
      bar.advance(10, [&]() -> std::string { throw std::runtime_error("must not be called"); });
      bar.finish("done");
    }
    CHECK(screen.take() == (show == Show::lines ? "epoch 1/5  10/10 images  1 s  10 images/s  done\n" : ""));
  }
  Screen screen;
  Progress bar(10, screen.options(true, Show::never));
  screen.time += 1;
  bar.advance(10);
  bar.finish();
  CHECK(screen.take().empty());
}

TEST_CASE("progress: nothing to do, more than was said, and nobody knows how much") {
  Screen screen;
  {
    Progress bar(0, screen.options(true));
    bar.advance(0);
    CHECK(screen.take() == "\repoch 1/5  [########################] 0/0 images  ? images/s  0 s left\x1b[K");
    bar.finish();
    CHECK(screen.take() == "\repoch 1/5  0/0 images  0 s  ? images/s\x1b[K\n");
  }
  {
    Progress bar(10, screen.options(true));
    screen.time += 1;
    bar.advance(25);
    CHECK(screen.take() == "\repoch 1/5  [########################] 25/10 images  25 images/s  0 s left\x1b[K");
    bar.finish();
    screen.take();
  }
  {
    Progress bar(-1, screen.options(true));
    screen.time += 2;
    bar.advance(5000, "loss 1");
    CHECK(screen.take() == "\repoch 1/5  5000 images  2.5k images/s  loss 1\x1b[K");
    bar.finish();
    CHECK(screen.take() == "\repoch 1/5  5000 images  2 s  2.5k images/s\x1b[K\n");
  }
}

TEST_CASE("progress: a bar left unfinished ends its line") {
  Screen screen;
  {
    Progress bar(10, screen.options(true));
    bar.advance(1);
    screen.take();
  }
  CHECK(screen.take() == "\n");
  { Progress bar(10, screen.options(true)); }
  CHECK(screen.take().empty());
}

TEST_CASE("progress: durations and rates for people") {
  using training::detail::format_duration;
  using training::detail::format_rate;
  CHECK(format_duration(0.4) == "0 s");
  CHECK(format_duration(59.4) == "59 s");
  CHECK(format_duration(59.6) == "1:00");
  CHECK(format_duration(125) == "2:05");
  CHECK(format_duration(3723) == "1:02:03");
  CHECK(format_duration(std::nan("")) == "?");
  CHECK(format_duration(HUGE_VAL) == "?");
  CHECK(format_duration(-1) == "?");
  CHECK(format_rate(0.52) == "0.5");
  CHECK(format_rate(12.3) == "12");
  CHECK(format_rate(999.4) == "999");
  CHECK(format_rate(12345) == "12.3k");
  CHECK(format_rate(4.56e6) == "4.6M");
}
