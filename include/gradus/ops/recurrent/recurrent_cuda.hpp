// Kernels of recurrent layers on a GPU: all of a step but for its products.
#pragma once

#include "gradus/device/cuda/context.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

inline constexpr std::string_view cuda_recurrent_text = R"cuda(
// How many bytes a kernel's arguments reach, in units of the product of its first two; 0: to the end of the memory.
// Most point to one step among all. For who counts what a launch must move.
#ifndef GRADUS_REACHES
#define GRADUS_REACHES(kernel, ...)
#endif

// Rows are sequences of a batch, of n numbers each, W a thread: as many as have 16 bytes once they are widened. Those
// of two bytes are read 8 bytes at once, which gives a step, that has few numbers, twice the threads. Without lengths
// all rows run in step t.
GRADUS_DEVICE bool runs(const int64* lengths, int64 row, int64 t) { return lengths == 0 || t < lengths[row]; }

// W numbers, or zeros where there are none. All that a thread reads is asked for before anything is computed of it, so
// that it waits for memory once.
template <int W, class E>
GRADUS_DEVICE Pack<E, W> fetch(const E* from) {
  Pack<E, W> pack;
#pragma unroll
  for (int k = 0; k < W; ++k) pack.at[k] = E();
  if (from == 0) return pack;
  if (W == 1) pack.at[0] = *from;
  else load_words<W * sizeof(E)>(&pack, from);
  return pack;
}
// What is i elements on, where there is something.
template <class E>
GRADUS_DEVICE E* at(E* from, int64 i) {
  return from == 0 ? from : from + i;
}
template <int W>
GRADUS_DEVICE void keep(C* to, const Pack<C, W>& values) {
  if (to == 0) return;
  if (W == 1) *to = values.at[0];
  else store_words<W * sizeof(C)>(to, &values);
}
template <int W>
GRADUS_DEVICE void write(T* to, const Pack<C, W>& values) {
  store_pack(to, narrow_pack<T>(values));
}
// W zeros at `count` places that are `step` apart.
template <int W>
GRADUS_DEVICE void clear(T* to, int count, int64 step) {
  for (int i = 0; i < count; ++i) store_pack(to + i * step, fetch<W>(static_cast<const T*>(0)));
}
// body(row, column, row * n + column) for what is this thread's.
template <int W, class Body>
GRADUS_DEVICE void each_place(int64 rows, int64 n, const Body& body) {
  const int64 packs = n / W;
  GRADUS_EACH(task, rows * packs) {
    const int64 row = task / packs, column = (task - row * packs) * W;
    body(row, column, row * n + column);
  }
}
// What reaches a row's states from later steps: through the product, past it, and, where they run, from what was shown.
template <int W>
struct Slopes {
  Pack<T, W> product, shown;
  Pack<C, W> past;
  __device__ __forceinline__ C of(int k, bool on) const {
    const C later = widen(product.at[k]) + past.at[k];
    return on ? later + widen(shown.at[k]) : later;
  }
};
template <int W>
GRADUS_DEVICE Slopes<W> slopes_of(const T* product, const C* past, const T* shown, int64 i) {
  Slopes<W> slopes;
  slopes.product = fetch<W>(at(product, i));
  slopes.past = fetch<W>(at(past, i));
  slopes.shown = fetch<W>(at(shown, i));
  return slopes;
}

// gates (rows, 4 n): what the input gives, then i, f, g, o. `before`: the states that those keep that have ended;
// without it what they show does not matter, but is no NaN.
template <int W>
GRADUS_DEVICE void lstm_cells(int64 rows, int64 n, int64 t, const int64* lengths, T* gates, T* cells, T* ready,
                              const T* from_state, const T* bias_ih, const T* bias_hh, const T* cells_before,
                              const T* before) {
  each_place<W>(rows, n, [&](int64 row, int64 j, int64 i) {
    const int64 first = row * 4 * n + j;
    const Pack<T, W> cell_before = fetch<W>(cells_before + i);
    if (!runs(lengths, row, t)) {
      store_pack(cells + i, cell_before);
      store_pack(ready + i, fetch<W>(at(before, i)));
      return;
    }
    Pack<T, W> x[4], h[4], a[4], b[4];
#pragma unroll
    for (int g = 0; g < 4; ++g) {
      x[g] = fetch<W>(gates + first + g * n);
      h[g] = fetch<W>(from_state + first + g * n);
      a[g] = fetch<W>(at(bias_ih, g * n + j));
      b[g] = fetch<W>(at(bias_hh, g * n + j));
    }
    Pack<C, W> gate[4], cell, shown;
#pragma unroll
    for (int k = 0; k < W; ++k) {
#pragma unroll
      for (int g = 0; g < 4; ++g) {
        const C sum = widen(x[g].at[k]) + widen(h[g].at[k]) + (widen(a[g].at[k]) + widen(b[g].at[k]));
        gate[g].at[k] = g == 2 ? tanh(sum) : sigmoid(sum);
      }
      cell.at[k] = gate[1].at[k] * widen(cell_before.at[k]) + gate[0].at[k] * gate[2].at[k];
      shown.at[k] = gate[3].at[k] * tanh(cell.at[k]);
    }
#pragma unroll
    for (int g = 0; g < 4; ++g) write<W>(gates + first + g * n, gate[g]);
    write<W>(cells + i, cell);
    write<W>(ready + i, shown);
  });
}
GRADUS_REACHES(lstm_step, 0, 0, 0, 0, 4 * sizeof(T), sizeof(T), sizeof(T), 4 * sizeof(T), 0, 0, sizeof(T), sizeof(T))
GRADUS_WIDE(8, 8)
GRADUS_KERNEL lstm_step(int64 rows, int64 n, int64 t, const int64* lengths, T* gates, T* cells, T* ready,
                        const T* from_state, const T* bias_ih, const T* bias_hh, const T* cells_before,
                        const T* before) {
  if (in_packs(n, from_state, static_cast<const T*>(gates), cells_before, before) &&
      in_packs(n, bias_ih, bias_hh, static_cast<const T*>(cells), static_cast<const T*>(ready)))
    lstm_cells<16 / sizeof(C)>(rows, n, t, lengths, gates, cells, ready, from_state, bias_ih, bias_hh, cells_before,
                               before);
  else lstm_cells<1>(rows, n, t, lengths, gates, cells, ready, from_state, bias_ih, bias_hh, cells_before, before);
}

// d_gates (rows, 4 n): of the sums of i, f, g, o. d_cells: of this step's cells out of the later ones (not in the last,
// which has last_d_cells), then of those before, which the first step writes to first_d_cells, too.
template <int W>
GRADUS_DEVICE void lstm_cell_slopes(int64 rows, int64 n, int64 t, int is_last, const int64* lengths, T* d_gates,
                                    C* d_cells, C* past, T* first_d_cells, const T* gates, const T* cells,
                                    const T* cells_before, const T* product, const T* shown, const T* last_d_cells) {
  each_place<W>(rows, n, [&](int64 row, int64 j, int64 i) {
    const bool on = runs(lengths, row, t);
    const int64 first = row * 4 * n + j;
    const Slopes<W> slopes = slopes_of<W>(product, is_last ? 0 : past, shown, i);
    const Pack<C, W> later = fetch<W>(is_last ? 0 : d_cells + i);
    const Pack<T, W> last = fetch<W>(is_last ? at(last_d_cells, i) : 0);
    const Pack<T, W> cell = fetch<W>(cells + i), before = fetch<W>(cells_before + i);
    Pack<T, W> kept[4];
#pragma unroll
    for (int g = 0; g < 4; ++g) kept[g] = fetch<W>(gates + first + g * n);
    Pack<C, W> gate[4], d_cell, d_past;
#pragma unroll
    for (int k = 0; k < W; ++k) {
      const C in = widen(kept[0].at[k]), forget = widen(kept[1].at[k]), fresh = widen(kept[2].at[k]);
      const C out = widen(kept[3].at[k]), seen = tanh(widen(cell.at[k])), dh = slopes.of(k, on);
      const C dc_after = later.at[k] + widen(last.at[k]), dc = dh * out * (C(1) - seen * seen) + dc_after;
      gate[0].at[k] = dc * fresh * in * (C(1) - in);
      gate[1].at[k] = dc * widen(before.at[k]) * forget * (C(1) - forget);
      gate[2].at[k] = dc * in * (C(1) - fresh * fresh);
      gate[3].at[k] = dh * seen * out * (C(1) - out);
      d_cell.at[k] = on ? dc * forget : dc_after;
      d_past.at[k] = on ? C(0) : dh;
    }
    if (on) {
#pragma unroll
      for (int g = 0; g < 4; ++g) write<W>(d_gates + first + g * n, gate[g]);
    } else {
      clear<W>(d_gates + first, 4, n);
    }
    keep<W>(d_cells + i, d_cell);
    keep<W>(at(past, i), d_past);
    if (first_d_cells != 0) write<W>(first_d_cells + i, d_cell);
  });
}
GRADUS_REACHES(lstm_step_gradient, 0, 0, 0, 0, 0, 4 * sizeof(T), sizeof(C), sizeof(C), sizeof(T), 4 * sizeof(T),
               sizeof(T), sizeof(T), sizeof(T), sizeof(T), sizeof(T))
GRADUS_WIDE(C, C)
GRADUS_KERNEL lstm_step_gradient(int64 rows, int64 n, int64 t, int is_last, const int64* lengths, T* d_gates,
                                 C* d_cells, C* past, T* first_d_cells, const T* gates, const T* cells,
                                 const T* cells_before, const T* product, const T* shown, const T* last_d_cells) {
  if (in_packs(n, gates, static_cast<const T*>(d_gates), cells, cells_before) &&
      in_packs(n, product, shown, last_d_cells, static_cast<const T*>(first_d_cells)))
    lstm_cell_slopes<16 / sizeof(C)>(rows, n, t, is_last, lengths, d_gates, d_cells, past, first_d_cells, gates, cells,
                                     cells_before, product, shown, last_d_cells);
  else
    lstm_cell_slopes<1>(rows, n, t, is_last, lengths, d_gates, d_cells, past, first_d_cells, gates, cells,
                        cells_before, product, shown, last_d_cells);
}

// gates (rows, 3 n): what the input gives, then r, z, n. inner: what r multiplies, where that will be needed.
template <int W>
GRADUS_DEVICE void gru_cells(int64 rows, int64 n, int64 t, const int64* lengths, T* gates, T* inner, T* states,
                             const T* from_state, const T* bias_ih, const T* bias_hh, const T* before) {
  each_place<W>(rows, n, [&](int64 row, int64 j, int64 i) {
    const int64 first = row * 3 * n + j;
    const Pack<T, W> state = fetch<W>(before + i);
    if (!runs(lengths, row, t)) {
      store_pack(states + i, state);
      return;
    }
    Pack<T, W> x[3], h[3], a[3], b[3];
#pragma unroll
    for (int g = 0; g < 3; ++g) {
      x[g] = fetch<W>(gates + first + g * n);
      h[g] = fetch<W>(from_state + first + g * n);
      a[g] = fetch<W>(at(bias_ih, g * n + j));
      b[g] = fetch<W>(at(bias_hh, g * n + j));
    }
    Pack<C, W> gate[3], reset, after;
#pragma unroll
    for (int k = 0; k < W; ++k) {
#pragma unroll
      for (int g = 0; g < 2; ++g)
        gate[g].at[k] =
            sigmoid((widen(x[g].at[k]) + widen(a[g].at[k])) + (widen(h[g].at[k]) + widen(b[g].at[k])));
      const C z = gate[1].at[k], q = widen(h[2].at[k]) + widen(b[2].at[k]);
      const C fresh = tanh(gate[0].at[k] * q + (widen(x[2].at[k]) + widen(a[2].at[k])));
      gate[2].at[k] = fresh;
      reset.at[k] = q;
      after.at[k] = z * widen(state.at[k]) + (C(1) - z) * fresh;
    }
#pragma unroll
    for (int g = 0; g < 3; ++g) write<W>(gates + first + g * n, gate[g]);
    if (inner != 0) write<W>(inner + i, reset);
    write<W>(states + i, after);
  });
}
GRADUS_REACHES(gru_step, 0, 0, 0, 0, 3 * sizeof(T), sizeof(T), sizeof(T), 3 * sizeof(T), 0, 0, sizeof(T))
GRADUS_WIDE(8, 8)
GRADUS_KERNEL gru_step(int64 rows, int64 n, int64 t, const int64* lengths, T* gates, T* inner, T* states,
                       const T* from_state, const T* bias_ih, const T* bias_hh, const T* before) {
  if (in_packs(n, from_state, static_cast<const T*>(gates), static_cast<const T*>(inner), before) &&
      in_packs(n, bias_ih, bias_hh, static_cast<const T*>(states)))
    gru_cells<16 / sizeof(C)>(rows, n, t, lengths, gates, inner, states, from_state, bias_ih, bias_hh, before);
  else gru_cells<1>(rows, n, t, lengths, gates, inner, states, from_state, bias_ih, bias_hh, before);
}

// d_input, d_recurrent (rows, 3 n): of the sums of r, z, n out of the input and out of the state.
template <int W>
GRADUS_DEVICE void gru_cell_slopes(int64 rows, int64 n, int64 t, int is_last, const int64* lengths, T* d_input,
                                   T* d_recurrent, C* past, const T* gates, const T* inner, const T* before,
                                   const T* product, const T* shown) {
  each_place<W>(rows, n, [&](int64 row, int64 j, int64 i) {
    const bool on = runs(lengths, row, t);
    const int64 first = row * 3 * n + j;
    const Slopes<W> slopes = slopes_of<W>(product, is_last ? 0 : past, shown, i);
    const Pack<T, W> state = fetch<W>(before + i), reset = fetch<W>(inner + i);
    Pack<T, W> kept[3];
#pragma unroll
    for (int g = 0; g < 3; ++g) kept[g] = fetch<W>(gates + first + g * n);
    Pack<C, W> gate[3], d_reset, d_past;
#pragma unroll
    for (int k = 0; k < W; ++k) {
      const C r = widen(kept[0].at[k]), z = widen(kept[1].at[k]), fresh = widen(kept[2].at[k]);
      const C dh = slopes.of(k, on), d_fresh = dh * (C(1) - z) * (C(1) - fresh * fresh);
      gate[0].at[k] = d_fresh * widen(reset.at[k]) * r * (C(1) - r);
      gate[1].at[k] = dh * (widen(state.at[k]) - fresh) * z * (C(1) - z);
      gate[2].at[k] = d_fresh;
      d_reset.at[k] = d_fresh * r;
      d_past.at[k] = on ? dh * z : dh;
    }
    if (on) {
#pragma unroll
      for (int g = 0; g < 3; ++g) {
        write<W>(d_input + first + g * n, gate[g]);
        write<W>(d_recurrent + first + g * n, g < 2 ? gate[g] : d_reset);
      }
    } else {
      clear<W>(d_input + first, 3, n);
      clear<W>(d_recurrent + first, 3, n);
    }
    keep<W>(past + i, d_past);
  });
}
GRADUS_REACHES(gru_step_gradient, 0, 0, 0, 0, 0, 3 * sizeof(T), 3 * sizeof(T), sizeof(C), 3 * sizeof(T), sizeof(T),
               sizeof(T), sizeof(T), sizeof(T))
GRADUS_WIDE(C, C)
GRADUS_KERNEL gru_step_gradient(int64 rows, int64 n, int64 t, int is_last, const int64* lengths, T* d_input,
                                T* d_recurrent, C* past, const T* gates, const T* inner, const T* before,
                                const T* product, const T* shown) {
  if (in_packs(n, gates, static_cast<const T*>(d_input), static_cast<const T*>(d_recurrent), inner) &&
      in_packs(n, before, product, shown))
    gru_cell_slopes<16 / sizeof(C)>(rows, n, t, is_last, lengths, d_input, d_recurrent, past, gates, inner, before,
                                    product, shown);
  else
    gru_cell_slopes<1>(rows, n, t, is_last, lengths, d_input, d_recurrent, past, gates, inner, before, product, shown);
}

// states: what the input gives, then the states.
template <int W>
GRADUS_DEVICE void rnn_cells(int64 rows, int64 n, int64 t, int is_relu, const int64* lengths, T* states,
                             const T* from_state, const T* bias_ih, const T* bias_hh, const T* before) {
  each_place<W>(rows, n, [&](int64 row, int64 j, int64 i) {
    if (!runs(lengths, row, t)) {
      store_pack(states + i, fetch<W>(before + i));
      return;
    }
    const Pack<T, W> x = fetch<W>(states + i), h = fetch<W>(from_state + i);
    const Pack<T, W> a = fetch<W>(at(bias_ih, j)), b = fetch<W>(at(bias_hh, j));
    Pack<C, W> after;
#pragma unroll
    for (int k = 0; k < W; ++k) {
      const C sum = widen(x.at[k]) + widen(h.at[k]) + (widen(a.at[k]) + widen(b.at[k]));
      after.at[k] = !is_relu ? tanh(sum) : sum <= C(0) ? C(0) : sum;
    }
    write<W>(states + i, after);
  });
}
GRADUS_REACHES(rnn_step, 0, 0, 0, 0, 0, sizeof(T), sizeof(T), 0, 0, sizeof(T))
GRADUS_WIDE(8, 8)
GRADUS_KERNEL rnn_step(int64 rows, int64 n, int64 t, int is_relu, const int64* lengths, T* states,
                       const T* from_state, const T* bias_ih, const T* bias_hh, const T* before) {
  if (in_packs(n, from_state, static_cast<const T*>(states), bias_ih, bias_hh) && in_packs(n, before))
    rnn_cells<16 / sizeof(C)>(rows, n, t, is_relu, lengths, states, from_state, bias_ih, bias_hh, before);
  else rnn_cells<1>(rows, n, t, is_relu, lengths, states, from_state, bias_ih, bias_hh, before);
}

// rule: what the states are of the sums, tanh (0), relu (1) or themselves (2), as where they are projected.
template <int W>
GRADUS_DEVICE void rnn_cell_slopes(int64 rows, int64 n, int64 t, int is_last, int rule, const int64* lengths,
                                   T* d_sums, C* past, const T* states, const T* product, const T* shown) {
  each_place<W>(rows, n, [&](int64 row, int64, int64 i) {
    const bool on = runs(lengths, row, t);
    const Slopes<W> slopes = slopes_of<W>(product, is_last ? 0 : past, shown, i);
    const Pack<T, W> state = fetch<W>(at(states, i));
    Pack<C, W> d_sum, d_past;
#pragma unroll
    for (int k = 0; k < W; ++k) {
      const C h = widen(state.at[k]), dh = slopes.of(k, on);
      d_sum.at[k] = !on ? C(0) : rule == 2 ? dh : rule == 1 ? (h <= C(0) ? C(0) : dh) : dh * (C(1) - h * h);
      d_past.at[k] = on ? C(0) : dh;
    }
    write<W>(d_sums + i, d_sum);
    keep<W>(at(past, i), d_past);
  });
}
GRADUS_REACHES(rnn_step_gradient, 0, 0, 0, 0, 0, 0, sizeof(T), sizeof(C), sizeof(T), sizeof(T), sizeof(T))
GRADUS_WIDE(C, C)
GRADUS_KERNEL rnn_step_gradient(int64 rows, int64 n, int64 t, int is_last, int rule, const int64* lengths, T* d_sums,
                                C* past, const T* states, const T* product, const T* shown) {
  if (in_packs(n, static_cast<const T*>(d_sums), states, product, shown))
    rnn_cell_slopes<16 / sizeof(C)>(rows, n, t, is_last, rule, lengths, d_sums, past, states, product, shown);
  else rnn_cell_slopes<1>(rows, n, t, is_last, rule, lengths, d_sums, past, states, product, shown);
}

// to += what went past the product.
GRADUS_KERNEL add_past(int64 count, T* to, const C* past) {
  GRADUS_EACH(i, count) to[i] = narrow<T>(widen(to[i]) + past[i]);
}
// In states (steps, rows, n) the rows that have ended: what they were `before` (rows, n), or zeros.
GRADUS_KERNEL end_states(int64 steps, int64 first, int64 rows, int64 n, const int64* lengths, T* states,
                         const T* before) {
  GRADUS_EACH(i, steps * rows * n) {
    const int64 row = i / n, t = row / rows, place = i - t * rows * n;
    if (!runs(lengths, row - t * rows, first + t)) states[i] = before == 0 ? narrow<T>(C(0)) : before[place];
  }
}
GRADUS_KERNEL check_lengths(int64 rows, int64 steps, Fault* fault, int64 op, const int64* lengths) {
  GRADUS_EACH(row, rows) checked_index(lengths[row], steps + 1, 0, fault, op);
}
)cuda";
inline constexpr cuda::detail::KernelText cuda_recurrent{"recurrent", cuda_recurrent_text};

}  // namespace gradus::detail::inline GRADUS_BUILD
