#pragma once

#include "gradus/autograd/parameter.hpp"
#include "gradus/models/sampling.hpp"
#include "gradus/ops/view/slice.hpp"

namespace gradus::models::detail::inline GRADUS_BUILD {

/// Logits of the token that follows the last one of each row: ids (n, tokens) -> n lists of all tokens.
template <class Model, class Cache>
std::vector<std::vector<double>> next_logits(const Model& model, const std::vector<int64_t>& ids, int64_t rows,
                                             Cache& cache) {
  auto hidden = model.hidden(from_vector(ids, {rows, std::ssize(ids) / rows}).to(device_of(model)),
                             &cache);  // (n, tokens, width)
  auto logits = contiguous(model.logits(slice(hidden, 1, hidden.size(1) - 1, hidden.size(1))))
                    .to(Device::cpu());  // (n, 1, tokens)
  std::vector<std::vector<double>> lists;
  for (int64_t row = 0; row < rows; ++row) {
    auto* from = logits.data() + row * logits.size(2);
    auto& list = lists.emplace_back();
    for (int64_t i = 0; i < logits.size(2); ++i) list.push_back(static_cast<double>(from[i]));
  }
  return lists;
}

/// How many more tokens the context takes.
template <class Model>
int64_t room_behind(const Model& model, const std::vector<int64_t>& prompt, const GenerateOptions& options) {
  auto context = model.context();
  require<ValueError>(!prompt.empty(), "generate: the prompt is empty; begin with a token that begins a text");
  require<ValueError>(std::ssize(prompt) <= context, "generate: the prompt has ", prompt.size(),
                      " tokens, but the context holds ", context, "; keep its end");
  return std::min(options.max_tokens, context - std::ssize(prompt) + 1);
}

struct Beam {
  std::vector<int64_t> made;
  double score = 0;    ///< log probability
  int64_t length = 0;  ///< with a stop sequence that was cut off

  double rank(double length_penalty) const {
    return score / std::pow(static_cast<double>(std::max<int64_t>(length, 1)), length_penalty);
  }
};

/// The likeliest continuations found side by side; ones that end leave their place to others.
template <class Model>
std::vector<int64_t> search_beams(const Model& model, const std::vector<int64_t>& prompt,
                                  const GenerateOptions& options) {
  auto room = room_behind(model, prompt, options);
  auto cache = model.make_cache();
  std::vector<Beam> beams(1), ended;
  auto feed = prompt;
  for (int64_t step = 0; step < room && std::ssize(ended) < options.beams; ++step) {
    auto lists = next_logits(model, feed, std::ssize(beams), cache);
    struct Candidate {
      double score;
      int64_t beam, token;
    };
    std::vector<Candidate> candidates;
    for (size_t b = 0; b < beams.size(); ++b) {
      auto seen = prompt;
      seen.insert(seen.end(), beams[b].made.begin(), beams[b].made.end());
      penalize_repetition(lists[b], seen, options.repetition_penalty);
      to_log_probabilities(lists[b]);
      for (size_t token = 0; token < lists[b].size(); ++token)
        candidates.push_back({beams[b].score + lists[b][token], static_cast<int64_t>(b), static_cast<int64_t>(token)});
    }
    auto taken = std::min<int64_t>(2 * options.beams, std::ssize(candidates));  // some may end
    std::partial_sort(
        candidates.begin(), candidates.begin() + taken, candidates.end(), [](const Candidate& a, const Candidate& b) {
          return a.score != b.score ? a.score > b.score : std::pair(a.beam, a.token) < std::pair(b.beam, b.token);
        });
    std::vector<Beam> next;
    std::vector<int64_t> rows;
    feed.clear();
    for (int64_t i = 0; i < taken && std::ssize(next) < options.beams; ++i) {
      const auto& [score, from, token] = candidates[static_cast<size_t>(i)];
      Beam beam{beams[static_cast<size_t>(from)].made, score, step + 1};
      beam.made.push_back(token);
      if (cut_stop(beam.made, options)) {
        ended.push_back(std::move(beam));
        continue;
      }
      next.push_back(std::move(beam));
      rows.push_back(from);
      feed.push_back(token);
    }
    beams = std::move(next);
    if (beams.empty()) break;
    cache.reorder(rows);
  }
  ended.insert(ended.end(), beams.begin(), beams.end());
  auto best = std::max_element(ended.begin(), ended.end(), [&](const Beam& a, const Beam& b) {
    return a.rank(options.length_penalty) < b.rank(options.length_penalty);
  });
  return best->made;
}

}  // namespace gradus::models::detail::inline GRADUS_BUILD

namespace gradus::models::inline GRADUS_BUILD {

/// Goes on from a prompt, token by token, with a cache of what was seen; returns the new tokens. They end after
/// max_tokens, where the context is full, behind a stop sequence, or when on_token says so. Draws from the thread's
/// generator, so manual_seed repeats a text. Call eval(model) before, or dropout stays on. The model is a Gpt, a Llama,
/// or anything with hidden(ids, cache), logits(x), make_cache() and context().
template <class Model>
std::vector<int64_t> generate(const Model& model, const std::vector<int64_t>& prompt,
                              const GenerateOptions& options = {}) {
  NoGradGuard guard;
  detail::check_generate(options);
  if (options.beams > 1) return detail::search_beams(model, prompt, options);
  auto room = detail::room_behind(model, prompt, options);
  auto cache = model.make_cache();
  std::vector<int64_t> made, seen = prompt, feed = prompt;
  for (int64_t step = 0; step < room; ++step) {
    auto logits = std::move(detail::next_logits(model, feed, 1, cache)[0]);
    detail::penalize_repetition(logits, seen, options.repetition_penalty);
    auto token = detail::choose_token(std::move(logits), options);
    made.push_back(token);
    seen.push_back(token);
    feed = {token};
    if (options.on_token && !options.on_token(token)) break;
    if (detail::cut_stop(made, options)) break;
  }
  return made;
}

}  // namespace gradus::models::inline GRADUS_BUILD
