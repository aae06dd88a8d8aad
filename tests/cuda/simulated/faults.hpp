// What a test asks of the simulated card in its own process. The functions are in its library; faults are of one at a
// time.
#pragma once

#include <cstdint>

extern "C" {

/// How long a fault lasts: one call, all calls of the function from there on, or the card is lost: every function of
/// driver and libraries fails until the fault is cleared, and what waited in streams is gone.
enum SimulatedFaultKind { fails_once = 0, fails_from_there = 1, loses_card = 2 };

/// The call-th call of `function` from now on answers `code`. Names are those of the documentation, without _v2.
void gradus_simulated_arm(const char* function, int64_t call, int code, int kind);
/// The card is well again. Gives how many calls failed.
int64_t gradus_simulated_clear();
/// How often each function was called since the last time; counts from 0 again.
void gradus_simulated_calls(void (*each)(void* to, const char* function, int64_t count), void* to);
/// What the program has made and not given back: "bytes" of device memory, "event", "descriptor of cuDNN" ...
void gradus_simulated_objects(void (*each)(void* to, const char* kind, int64_t count), void* to);
/// Bytes that were copied since the last time: to the card, from the card, and within it.
void gradus_simulated_copied(int64_t* bytes);
/// What the time between two events is on a card that computes nothing: 0 the milliseconds that a real one needs at
/// least, 1 GB moved, 2 TFLOP done.
void gradus_simulated_clock(int unit);
/// The card's memory in bytes from now on.
void gradus_simulated_set_memory(uint64_t bytes);
}
