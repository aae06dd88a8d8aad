#include "benchmarks/compare/gradus_steps.hpp"

template gradus::compare::Step gradus::compare::make_step<gradus::bf16>(std::string_view, const std::string&);
