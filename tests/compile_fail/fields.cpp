// Members that GRADUS_FIELDS leaves out, or names in another order, could stay untrained without a word.
#include "gradus/core/fields.hpp"

struct Weights {
  double values[4] = {};
};

struct First {
  Weights encoder, decoder;
#ifdef GRADUS_FAIL_forgotten_first  // expect: GRADUS_FIELDS must name every data member once
  GRADUS_FIELDS(decoder)
#else
  GRADUS_FIELDS(encoder, decoder)
#endif
};

struct Middle {
  Weights encoder, middle, decoder;
#ifdef GRADUS_FAIL_forgotten_middle  // expect: GRADUS_FIELDS must name every data member once
  GRADUS_FIELDS(encoder, decoder)
#else
  GRADUS_FIELDS(encoder, middle, decoder)
#endif
};

struct Last {
  Weights encoder, decoder;
#ifdef GRADUS_FAIL_forgotten_last  // expect: GRADUS_FIELDS must name every data member once
  GRADUS_FIELDS(encoder)
#else
  GRADUS_FIELDS(encoder, decoder)
#endif
};

struct Reordered {
  Weights encoder;
  double scale = 1;
#ifdef GRADUS_FAIL_reordered  // expect: in the order of declaration
  GRADUS_FIELDS(scale, encoder)
#else
  GRADUS_FIELDS(encoder, scale)
#endif
};

struct Twice {
  Weights encoder, decoder;
#ifdef GRADUS_FAIL_named_twice  // expect: GRADUS_FIELDS must name every data member once
  GRADUS_FIELDS(encoder, encoder)
#else
  GRADUS_FIELDS(encoder, decoder)
#endif
};

struct Unknown {
  Weights encoder;
#ifdef GRADUS_FAIL_no_such_member  // expect: decoder
  GRADUS_FIELDS(encoder, decoder)
#else
  GRADUS_FIELDS(encoder)
#endif
};

struct Derived : First {
  Weights head;
#ifdef GRADUS_FAIL_inherited_without_base  // expect: (GRADUS_FIELDS_OF(Base, ...) when there is a base with fields)
  GRADUS_FIELDS(head)
#else
  GRADUS_FIELDS_OF(First, head)
#endif
};

struct DerivedForgotten : First {
  Weights head, tail;
#ifdef GRADUS_FAIL_forgotten_in_derived  // expect: GRADUS_FIELDS must name every data member once
  GRADUS_FIELDS_OF(First, head)
#else
  GRADUS_FIELDS_OF(First, head, tail)
#endif
};

template <class T>
void visit() {
  T object;
  object.visit_fields([](std::string_view, auto&) {});
}

void use() {
  visit<First>();
  visit<Middle>();
  visit<Last>();
  visit<Reordered>();
  visit<Twice>();
  visit<Unknown>();
  visit<Derived>();
  visit<DerivedForgotten>();
}
