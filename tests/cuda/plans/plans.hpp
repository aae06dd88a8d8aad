// What ./run plans finds out: each part says what is wrong as it finds it.
#pragma once

#include <string>

namespace gradus::test {

/// Prints a line and counts it.
void fail(const std::string& what);

/// Compiles the texts in a folder for each of card_architectures. Gives the number of kernels in them.
int check_kernels(const std::string& folder);
inline constexpr const char* card_architectures[] = {"80", "86", "89", "90a", "100a", "120"};

/// Has cuDNN make plans of graphs, and gives their number: those of models in their usual sizes for every card, those
/// that programs left in the folder for every card or, without all_pairs, for one card each. `cards` becomes the number
/// of cards.
int check_plans(const std::string& folder, bool all_pairs, int& cards);
/// Makes the descriptors of recurrent layers, as far as cuDNN does without a card, and gives the number of layers.
int check_recurrent();

}  // namespace gradus::test
