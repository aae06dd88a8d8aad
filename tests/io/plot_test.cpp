#include "gradus/io/plot.hpp"

#include <cstdlib>

#include "tests/io/temporary_folder.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"

using namespace gradus;
using gradus::test::check_error;

namespace {

constexpr io::Color first_color{0, 114, 178}, second_color{213, 94, 0};

/// The pixels of that colour: how many, and what they span.
struct Painted {
  int64_t count = 0, left = INT64_MAX, top = INT64_MAX, right = -1, bottom = -1;

  Painted(const io::Canvas& canvas, io::Color color, int64_t from_row = 0) {
    for (int64_t y = from_row; y < canvas.height(); ++y) {
      for (int64_t x = 0; x < canvas.width(); ++x) {
        if (!(canvas.at(x, y) == color)) continue;
        ++count;
        left = std::min(left, x);
        right = std::max(right, x);
        top = std::min(top, y);
        bottom = std::max(bottom, y);
      }
    }
  }
};

}  // namespace

TEST_CASE("plot: a line goes from corner to corner of its area, and the legend shows its colour") {
  io::Plot plot({.title = "T", .x_label = "x", .y_label = "y", .width = 600, .height = 400});
  plot.add("up", {0, 10}, {0, 100}).add("flat", {0, 10}, {50, 50});
  auto canvas = plot.draw();
  CHECK(canvas.width() == 600);
  CHECK(canvas.height() == 400);
  CHECK(canvas.at(599, 399) == io::Color{255, 255, 255});
  // Title, legend and label of the y axis take three lines of 26 pixels, with 16 above and below.
  Painted legend(canvas, first_color), up(canvas, first_color, 94), flat(canvas, second_color, 94);
  CHECK(legend.top == 16 + 26 + 5);
  CHECK(legend.left == 16);
  auto left = 2 * 16 + io::Canvas::text_width("100", 2), right = int64_t{600 - 32}, top = int64_t{110};
  auto bottom = int64_t{400 - 26 - 8 - 26};
  for (auto [found, wanted] :
       {std::pair(up.left, left), std::pair(up.right, right), std::pair(up.top, top), std::pair(up.bottom, bottom),
        std::pair(flat.left, left), std::pair(flat.right, right)}) {
    CHECK(std::abs(found - wanted) <= 2);
  }
  CHECK(std::abs(flat.top - (top + bottom) / 2) <= 2);
  CHECK(flat.bottom - flat.top <= 3);
  CHECK(flat.count >= 3 * (right - left) - 20);  // of even thickness
}

TEST_CASE("plot: lines break where a point is not finite, and single points are dots") {
  io::Plot plot;
  plot.add("", {0, 1, 2, 3, 4, 5}, {1, 1, NAN, 1, HUGE_VAL, 1}).add("", {0, 5}, {0, 2});
  auto canvas = plot.draw();
  Painted points(canvas, first_color);
  auto painted_columns = [&](int64_t first, int64_t last) {
    int64_t count = 0;
    for (auto x = first; x < last; ++x) {
      for (int64_t y = points.top; y <= points.bottom; ++y) {
        if (canvas.at(x, y) == first_color) {
          ++count;
          break;
        }
      }
    }
    return count;
  };
  auto width = points.right - points.left;
  CHECK(painted_columns(points.left, points.left + width / 5) > width / 5 - 10);      // 0 to 1
  CHECK(painted_columns(points.left + width / 5 + 8, points.left + width / 2) == 0);  // 1 to 3
  auto dot = painted_columns(points.left + width / 2, points.left + 7 * width / 10);
  CHECK((dot >= 4 && dot <= 9));
  auto last = painted_columns(points.left + 9 * width / 10, points.right + 1);
  CHECK((last >= 3 && last <= 9));
}

TEST_CASE("plot: any numbers can be drawn") {
  for (double low : {-1e99, -3.0, 0.0, 1e-300, 1e15}) {
    for (double span : {0.0, 1e-320, 1e-7, 1.0, 1e99}) {
      io::Plot plot({.width = 300, .height = 200});
      plot.add("a name that is longer than the picture is wide, so what", {low, low + span}, {low + span, low});
      plot.add("another", {low}, {low});
      CHECK(Painted(plot.draw(), first_color).count > 0);
    }
  }
  std::vector<double> x, y;
  for (int i = 0; i < 20'000; ++i) {
    x.push_back(i);
    y.push_back(i % 7);
  }
  CHECK(Painted(io::Plot().add("", x, y).draw(), first_color).count > 10'000);
}

TEST_CASE("plot: errors, and the file") {
  check_error<ValueError>(
      [] {
        io::Plot().add("loss", {1, 2}, {1});
      },
      "Plot: series 'loss' has 2 values of x and 1 of y, but must have as many");
  check_error<ValueError>([] { io::Plot().draw(); }, "Plot: no finite point to draw");
  check_error<ValueError>([] { io::Plot().add("", {NAN, 1e101}, {1, 2}).draw(); }, "Plot: no finite point to draw");
  check_error<ValueError>([] { io::Plot({.width = 200}); },
                          "Plot: 200 x 560 pixels, but at least 300 x 200 are needed");
  check_error<ValueError>([] { io::Plot({.width = 100'000}).add("", {1}, {1}).draw(); },
                          "Canvas: 100000 x 560 pixels, but sides are 1 to 32768");
  io::Plot plot;
  plot.add("a", {1, 2, 3}, {3, 1, 2});
  test::TemporaryFolder folder;
  plot.write(folder / "plot.png");
  auto canvas = plot.draw();
  CHECK(test::read_bytes(folder / "plot.png") ==
        io::encode_png(canvas.width(), canvas.height(), canvas.pixels(), io::PngColor::rgb));
}
