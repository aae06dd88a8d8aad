#include "benchmarks/compare/gradus_steps.hpp"

template gradus::compare::Step gradus::compare::make_step<float>(std::string_view, const std::string&);
