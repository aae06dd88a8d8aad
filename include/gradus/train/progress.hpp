// A progress bar on stderr: how far, how fast, how long still.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <functional>
#include <optional>
#include <string>

#include "gradus/core/error.hpp"

namespace gradus::training::inline GRADUS_BUILD {

/// When a bar is drawn. Not on a terminal, `automatic` prints nothing and `lines` one line when a bar is done.
enum class Show { automatic, lines, never };

struct ProgressOptions {
  std::string title = "";       ///< stands in front: "epoch 1/5"
  std::string unit = "images";  ///< what is counted
  Show show = Show::automatic;
  double interval = 0.1;                                    ///< seconds between two drawings
  std::function<void(const std::string&)> write = nullptr;  ///< where text goes; absent: stderr
  std::function<double()> clock = nullptr;                  ///< seconds; absent: the steady clock
  std::optional<bool> terminal = std::nullopt;              ///< absent: whether stderr is one
};

}  // namespace gradus::training::inline GRADUS_BUILD

namespace gradus::training::detail::inline GRADUS_BUILD {

inline double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// "7 s", "2:05", "1:02:03"; "?" when it is not known.
GRADUS_COLD inline std::string format_duration(double seconds) {
  if (!(seconds >= 0 && seconds < 1e6 * 3600)) return "?";
  auto whole = std::llround(seconds);
  char buffer[32];
  if (whole < 60) {
    std::snprintf(buffer, sizeof(buffer), "%lld s", whole);
  } else if (whole < 3600) {
    std::snprintf(buffer, sizeof(buffer), "%lld:%02lld", whole / 60, whole % 60);
  } else {
    std::snprintf(buffer, sizeof(buffer), "%lld:%02lld:%02lld", whole / 3600, whole / 60 % 60, whole % 60);
  }
  return buffer;
}

/// "950", "12.3k", "4.6M"
GRADUS_COLD inline std::string format_rate(double rate) {
  char buffer[32];
  if (rate < 999.5) {
    std::snprintf(buffer, sizeof(buffer), rate < 9.95 ? "%.1f" : "%.0f", rate);
  } else {
    auto mega = rate >= 999'950;
    std::snprintf(buffer, sizeof(buffer), "%.1f%c", rate / (mega ? 1e6 : 1e3), mega ? 'M' : 'k');
  }
  return buffer;
}

}  // namespace gradus::training::detail::inline GRADUS_BUILD

namespace gradus::training::inline GRADUS_BUILD {

/// Progress bar(60000, {.title = "epoch 1/5"}); bar.advance(128, "loss 0.31"); ... bar.finish("accuracy 92.1 %");
class Progress {
 public:
  /// `total`: how many there will be; negative when nobody knows.
  explicit Progress(int64_t total, ProgressOptions options = {}) : total_(total), options_(std::move(options)) {
    auto terminal = options_.terminal.value_or(::isatty(STDERR_FILENO) == 1);
    draws_ = terminal && options_.show != Show::never;
    prints_end_ = draws_ || options_.show == Show::lines;
    start_ = now();
  }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  /// Ends the line of a bar that an exception or a return left unfinished.
  ~Progress() {
    if (!finished_ && drawn_) write("\n");
  }

  /// So many were done before the bar began: they count for how far, not for how fast.
  void start_at(int64_t count) { done_ = before_ = count; }
  /// `count` more are done. `extra`, such as the loss, stands behind.
  void advance(int64_t count, const std::string& extra) {
    advance(count, [&] { return extra; });
  }
  void advance(int64_t count) {
    advance(count, [] { return std::string(); });
  }
  /// The same; makes its text only when it is drawn.
  template <class MakeText>
  requires std::is_invocable_r_v<std::string, MakeText>
  void advance(int64_t count, MakeText&& make_text) {
    done_ += count;
    if (!draws_) return;
    auto time = now();
    if (time - last_drawn_ < options_.interval) return;
    last_drawn_ = time;
    drawn_ = true;
    write('\r' + line(time, make_text()) + "\x1b[K");
  }
  /// The last line, with `extra` in place of the time left. Later calls do nothing.
  GRADUS_COLD void finish(const std::string& extra = "") {
    if (finished_) return;
    finished_ = true;
    if (!prints_end_) return;
    auto seconds = now() - start_;
    auto text = prefix() + amount() + "  " + detail::format_duration(seconds) + "  " + rate(seconds);
    if (!extra.empty()) text += "  " + extra;
    write(draws_ ? '\r' + text + "\x1b[K\n" : text + '\n');
  }

  int64_t done() const { return done_; }
  double seconds() const { return now() - start_; }

 private:
  static constexpr int bar_width = 24;

  double now() const { return options_.clock ? options_.clock() : detail::steady_seconds(); }
  void write(const std::string& text) const {
    if (options_.write) return options_.write(text);
    std::fwrite(text.data(), 1, text.size(), stderr);
    std::fflush(stderr);
  }

  std::string prefix() const { return options_.title.empty() ? "" : options_.title + "  "; }
  std::string amount() const {
    return total_ < 0 ? join(done_, ' ', options_.unit) : join(done_, '/', total_, ' ', options_.unit);
  }
  GRADUS_COLD std::string rate(double seconds) const {
    if (!(seconds > 0)) return "? " + options_.unit + "/s";
    return detail::format_rate(static_cast<double>(done_ - before_) / seconds) + ' ' + options_.unit + "/s";
  }
  GRADUS_COLD std::string line(double time, const std::string& extra) const {
    auto text = prefix();
    auto seconds = time - start_;
    if (total_ >= 0) {
      auto share = total_ == 0 ? 1.0 : std::clamp(static_cast<double>(done_) / static_cast<double>(total_), 0.0, 1.0);
      auto filled = static_cast<size_t>(share * bar_width);
      text += '[' + std::string(filled, '#') + std::string(bar_width - filled, '.') + "] ";
    }
    text += amount() + "  " + rate(seconds);
    if (total_ >= 0) {
      auto missing = static_cast<double>(std::max<int64_t>(total_ - done_, 0));
      auto left = missing == 0      ? 0.0
                  : done_ > before_ ? seconds * missing / static_cast<double>(done_ - before_)
                                    : std::nan("");
      text += "  " + detail::format_duration(left) + " left";
    }
    return extra.empty() ? text : text + "  " + extra;
  }

  int64_t total_, done_ = 0, before_ = 0;
  ProgressOptions options_;
  double start_ = 0, last_drawn_ = -HUGE_VAL;
  bool draws_ = false, prints_end_ = false, drawn_ = false, finished_ = false;
};

}  // namespace gradus::training::inline GRADUS_BUILD
