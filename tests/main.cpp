// Catch2 2.13 has its main function in a header; Catch2 3 has it in a library that the build links.
#if !__has_include(<catch2/catch_all.hpp>)
#define CATCH_CONFIG_MAIN
#include <catch2/catch.hpp>
#endif
