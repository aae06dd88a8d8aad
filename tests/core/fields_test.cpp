#include "gradus/core/fields.hpp"

#include <memory>

#include "tests/support/catch.hpp"

using namespace gradus;
using gradus::detail::type_name;
using gradus::detail::walk_fields;

namespace app {

struct Leaf {
  double value = 0;
};
struct Layer {
  Leaf weight;
  int size = 3;
  GRADUS_FIELDS(weight, size)
};
struct Padded {
  bool flag = false;
  double wide = 0;
  char letter = 'a';
  GRADUS_FIELDS(flag, wide, letter)
};
struct Model {
  Layer first;
  std::vector<Layer> blocks;
  std::array<Layer, 2> pair;
  std::optional<Layer> head;
  std::vector<std::vector<Leaf>> grid;
  GRADUS_FIELDS(first, blocks, pair, head, grid)
};
struct Derived : Layer {
  Leaf extra;
  GRADUS_FIELDS_OF(Layer, extra)
};
struct Further : Derived {
  Leaf more;
  GRADUS_FIELDS_OF(Derived, more)
};
struct Virtual {
  Leaf a;
  virtual ~Virtual() = default;
  GRADUS_FIELDS(a)
};
struct Private {
  explicit Private(double x) : secret_{x} {}
  GRADUS_FIELDS(secret_)

 private:
  Leaf secret_;
};
template <class T>
struct Generic {
  T value;
  GRADUS_FIELDS(value)
};

template <class T>
std::string leaves(T& object, const std::string& root = "") {
  std::string text;
  walk_fields(root, object, [&](const std::string& path, auto& part) {
    if constexpr (std::is_same_v<std::remove_cvref_t<decltype(part)>, Leaf>) text += path + ' ';
    return true;
  });
  return text;
}

}  // namespace app

TEST_CASE("fields: members are visited by name, in order, and can be changed") {
  app::Layer layer;
  std::string names;
  layer.visit_fields([&](std::string_view name, auto& field) {
    names += std::string(name) + ' ';
    if constexpr (std::is_same_v<std::remove_reference_t<decltype(field)>, int>) field = 8;
  });
  CHECK(names == "weight size ");
  CHECK(layer.size == 8);

  const auto& constant = layer;
  constant.visit_fields(
      [](std::string_view, auto& field) { CHECK(std::is_const_v<std::remove_reference_t<decltype(field)>>); });
}

TEST_CASE("fields: padding between members is fine") {
  app::Padded padded;
  int count = 0;
  padded.visit_fields([&](std::string_view, auto&) { ++count; });
  CHECK(count == 3);
}

TEST_CASE("fields: lists count, optionals answer to their own name") {
  app::Model model;
  CHECK(app::leaves(model) == "first.weight pair.0.weight pair.1.weight ");
  model.blocks.resize(2);
  model.head.emplace();
  model.grid = {{app::Leaf{}}, {}, {app::Leaf{}, app::Leaf{}}};
  CHECK(app::leaves(model, "net") ==
        "net.first.weight net.blocks.0.weight net.blocks.1.weight net.pair.0.weight net.pair.1.weight "
        "net.head.weight net.grid.0.0 net.grid.2.0 net.grid.2.1 ");
  const auto& constant = model;
  CHECK(app::leaves(constant) == app::leaves(model));
}

TEST_CASE("fields: a visitor stays out of parts by returning false") {
  app::Model model;
  int seen = 0;
  walk_fields("", model, [&](const std::string&, auto&) { return ++seen == 1; });
  CHECK(seen == 6);  // the model and its five fields, nothing inside them
}

TEST_CASE("fields: a base's fields come first") {
  app::Further object;
  CHECK(app::leaves(object) == "weight extra more ");
  std::string names;
  object.visit_fields([&](std::string_view name, auto&) { names += std::string(name) + ' '; });
  CHECK(names == "weight size extra more ");
}

TEST_CASE("fields: virtual functions, private members, templates") {
  app::Virtual object;
  CHECK(app::leaves(object) == "a ");
  app::Private hidden(2.0);
  CHECK(app::leaves(hidden) == "secret_ ");
  app::Generic<app::Layer> generic;
  CHECK(app::leaves(generic) == "value.weight ");
}

TEST_CASE("fields: a type's name is its last part") {
  struct Local {};
  CHECK(type_name<app::Model>() == "Model");
  CHECK(type_name<const app::Model>() == "Model");
  CHECK(type_name<app::Generic<app::Layer>>() == "Generic");
  CHECK(type_name<Local>() == "Local");
  CHECK(type_name<int>() == "int");
}

// More members than one level of the macro's expansion holds.
namespace {
struct Many {
  int a0 = 0, a1 = 1, a2 = 2, a3 = 3, a4 = 4, a5 = 5, a6 = 6, a7 = 7, a8 = 8, a9 = 9, b0 = 10, b1 = 11, b2 = 12,
      b3 = 13, b4 = 14, b5 = 15, b6 = 16, b7 = 17, b8 = 18, b9 = 19;
  GRADUS_FIELDS(a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, b0, b1, b2, b3, b4, b5, b6, b7, b8, b9)
};
}  // namespace

TEST_CASE("fields: twenty members") {
  Many many;
  int sum = 0;
  many.visit_fields([&](std::string_view, int& value) { sum = sum * 2 + value; });
  int want = 0;
  for (int i = 0; i < 20; ++i) want = want * 2 + i;
  CHECK(sum == want);
}
