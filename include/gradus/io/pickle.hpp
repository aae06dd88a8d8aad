// The part of Python's pickle format that PyTorch's weights are written in, read as data: nothing is executed, and what
// is not known is refused by name.
#pragma once

#include <bit>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "gradus/core/error.hpp"

namespace gradus::io::detail::inline GRADUS_BUILD {

/// A Python object. Nodes refer to each other and belong to their Pickle.
struct PickleNode {
  enum class Kind { none, boolean, integer, number, string, list, tuple, dict, global, storage, tensor, mark };
  Kind kind = Kind::none;
  int64_t integer = 0;  ///< also booleans, and a tensor's offset
  double number = 0;
  std::string text = {};  ///< also the name of a global ("torch FloatStorage") and the key of a storage
  std::vector<PickleNode*> items =
      {};  ///< of a dict: key, value, key, value; of a storage: its type; of a tensor: its storage
  std::vector<int64_t> sizes = {}, strides = {};
};

/// What a pickle holds. FormatError when it is broken, too large, or names something that is not part of weights.
class Pickle {
 public:
  GRADUS_COLD Pickle(std::string_view bytes, const std::string& source) : bytes_(bytes), source_(source) { run(); }
  const PickleNode& value() const { return *result_; }
  /// How many bytes it took.
  size_t size() const { return at_; }
  template <class F>
  void each_storage(F&& f) const {
    for (const auto& node : nodes_) {
      if (node->kind == PickleNode::Kind::storage) f(*node);
    }
  }

 private:
  using Kind = PickleNode::Kind;

  template <class... Parts>
  void check(bool holds, const Parts&... parts) const {
    require<FormatError>(holds, source_, ": pickle: ", parts...);
  }

  PickleNode* make(Kind kind) {
    check(nodes_.size() < 4'000'000, "it holds more than 4,000,000 objects");
    nodes_.push_back(std::make_unique<PickleNode>());
    nodes_.back()->kind = kind;
    return nodes_.back().get();
  }
  void push(PickleNode* node) { stack_.push_back(node); }
  PickleNode* pop() {
    check(!stack_.empty() && stack_.back()->kind != Kind::mark, "it takes what is not there");
    auto* node = stack_.back();
    stack_.pop_back();
    return node;
  }
  PickleNode* top(Kind kind) const {
    check(!stack_.empty() && stack_.back()->kind == kind, "it changes an object of another kind");
    return stack_.back();
  }
  /// Everything above the last mark, in order.
  std::vector<PickleNode*> pop_to_mark() {
    auto at = stack_.size();
    while (at > 0 && stack_[at - 1]->kind != Kind::mark) --at;
    check(at > 0, "there is no mark");
    std::vector<PickleNode*> items(stack_.begin() + static_cast<std::ptrdiff_t>(at), stack_.end());
    stack_.resize(at - 1);
    return items;
  }
  std::string_view take(size_t count) {
    check(count <= bytes_.size() - at_, "it ends in the middle of an object");
    auto part = bytes_.substr(at_, count);
    at_ += count;
    return part;
  }
  uint64_t number(int bytes) {
    uint64_t value = 0;
    auto part = take(static_cast<size_t>(bytes));
    for (int i = 0; i < bytes; ++i)
      value |= static_cast<uint64_t>(static_cast<unsigned char>(part[static_cast<size_t>(i)])) << 8 * i;
    return value;
  }
  std::string_view line() {
    auto end = bytes_.find('\n', at_);
    check(end != bytes_.npos, "a line never ends");
    auto part = bytes_.substr(at_, end - at_);
    at_ = end + 1;
    return part;
  }
  void push_integer(int64_t value) {
    auto* node = make(Kind::integer);
    node->integer = value;
    push(node);
  }
  void push_string(std::string_view text) {
    auto* node = make(Kind::string);
    node->text = text;
    push(node);
  }
  void push_tuple(size_t count) {
    auto* node = make(Kind::tuple);
    node->items.resize(count);
    for (size_t i = count; i-- > 0;) node->items[i] = pop();
    push(node);
  }
  void memoize(uint64_t key) {
    check(!stack_.empty() && memo_.size() < 4'000'000, "its memo is full or of nothing");
    memo_[key] = stack_.back();
  }
  void recall(uint64_t key) {
    auto found = memo_.find(key);
    check(found != memo_.end(), "it recalls what it did not keep");
    push(found->second);
  }
  void push_global(std::string_view module, std::string_view name) {
    auto* node = make(Kind::global);
    node->text = join(module, ' ', name);
    constexpr std::string_view known[] = {"collections OrderedDict",
                                          "torch._utils _rebuild_tensor_v2",
                                          "torch._utils _rebuild_parameter",
                                          "torch Size",
                                          "torch FloatStorage",
                                          "torch DoubleStorage",
                                          "torch HalfStorage",
                                          "torch BFloat16Storage",
                                          "torch LongStorage",
                                          "torch IntStorage",
                                          "torch ShortStorage",
                                          "torch CharStorage",
                                          "torch ByteStorage",
                                          "torch BoolStorage"};
    bool found = false;
    for (auto one : known) found |= node->text == one;
    check(found, "it wants '", module, '.', name, "', which is no part of weights; nothing of the file was executed");
    push(node);
  }

  /// Known callables with their arguments: what they would make is made here.
  void reduce() {
    auto* arguments = pop();
    auto* callable = pop();
    check(callable->kind == Kind::global && arguments->kind == Kind::tuple, "it calls what cannot be called");
    const auto& name = callable->text;
    const auto& given = arguments->items;
    if (name == "collections OrderedDict") {
      auto* dict = make(Kind::dict);
      if (!given.empty()) {
        check(given.size() == 1 && given[0]->kind == Kind::list, "an OrderedDict of something else than pairs");
        for (auto* pair : given[0]->items) {
          check((pair->kind == Kind::tuple || pair->kind == Kind::list) && pair->items.size() == 2,
                "an OrderedDict of something else than pairs");
          dict->items.insert(dict->items.end(), pair->items.begin(), pair->items.end());
        }
      }
      return push(dict);
    }
    if (name == "torch Size") {
      check(given.size() == 1 && given[0]->kind == Kind::tuple, "a torch.Size of something else than a tuple");
      return push(given[0]);
    }
    if (name == "torch._utils _rebuild_parameter") {
      check(!given.empty() && given[0]->kind == Kind::tensor, "a parameter of something else than a tensor");
      return push(given[0]);
    }
    check(name.starts_with("torch._utils _rebuild_tensor"), "it calls ", name);
    check(given.size() >= 4 && given[0]->kind == Kind::storage && given[1]->kind == Kind::integer &&
              given[2]->kind == Kind::tuple && given[3]->kind == Kind::tuple &&
              given[2]->items.size() == given[3]->items.size(),
          "a tensor with other arguments than storage, offset, size and stride");
    auto* tensor = make(Kind::tensor);
    tensor->items = {given[0]};
    tensor->integer = given[1]->integer;
    for (int which : {2, 3}) {
      for (auto* item : given[static_cast<size_t>(which)]->items) {
        check(item->kind == Kind::integer, "a tensor's sizes are no whole numbers");
        (which == 2 ? tensor->sizes : tensor->strides).push_back(item->integer);
      }
    }
    push(tensor);
  }

  /// ('storage', type, key, location, count), and in old files what part of another storage it is: none
  void persistent() {
    auto* id = pop();
    check(id->kind == Kind::tuple &&
              (id->items.size() == 5 || (id->items.size() == 6 && id->items[5]->kind == Kind::none)) &&
              id->items[0]->kind == Kind::string && id->items[0]->text == "storage" &&
              id->items[1]->kind == Kind::global && id->items[1]->text.ends_with("Storage") &&
              id->items[2]->kind == Kind::string && id->items[4]->kind == Kind::integer,
          "it refers to something else than a storage");
    auto* storage = make(Kind::storage);
    storage->items = {id->items[1]};
    storage->text = id->items[2]->text;
    storage->integer = id->items[4]->integer;
    push(storage);
  }

  void run() {
    for (;;) {
      auto code = static_cast<unsigned char>(take(1)[0]);
      switch (code) {
        case 0x80:  // PROTO
          check(number(1) <= 5, "a protocol newer than 5");
          break;
        case 0x95:  // FRAME
          number(8);
          break;
        case '.':
          result_ = pop();
          check(stack_.empty(), "it ends before its objects are put together");
          return;
        case '(':
          push(make(Kind::mark));
          break;
        case 'N':
          push(make(Kind::none));
          break;
        case 0x88:
        case 0x89:
          push(make(Kind::boolean));
          stack_.back()->integer = code == 0x88 ? 1 : 0;
          break;
        case 'J':
          push_integer(static_cast<int32_t>(number(4)));
          break;
        case 'K':
          push_integer(static_cast<int64_t>(number(1)));
          break;
        case 'M':
          push_integer(static_cast<int64_t>(number(2)));
          break;
        case 0x8a: {  // LONG1: little-endian, two's complement
          auto bytes = static_cast<int>(number(1));
          check(bytes <= 8, "a whole number of more than 64 bits");
          auto value = number(bytes);
          if (bytes > 0 && bytes < 8 && value >> (8 * bytes - 1) != 0) value |= ~uint64_t{0} << 8 * bytes;
          push_integer(static_cast<int64_t>(value));
          break;
        }
        case 'G': {
          uint64_t bits = 0;  // big-endian
          for (auto c : take(8)) bits = bits << 8 | static_cast<unsigned char>(c);
          push(make(Kind::number));
          stack_.back()->number = std::bit_cast<double>(bits);
          break;
        }
        case 'X':
        case 'T':
          push_string(take(number(4)));
          break;
        case 0x8c:
        case 'U':
          push_string(take(number(1)));
          break;
        case 'c': {
          auto module = line(), name = line();
          push_global(module, name);
          break;
        }
        case 0x93: {
          auto *name = pop(), *module = pop();
          check(name->kind == Kind::string && module->kind == Kind::string, "a global whose name is no text");
          push_global(module->text, name->text);
          break;
        }
        case 'Q':
          persistent();
          break;
        case 'R':
          reduce();
          break;
        case 'b':  // BUILD: attributes of an object, which weights do not need
          pop();
          check(!stack_.empty() && stack_.back()->kind == Kind::dict, "it sets attributes of ",
                "something else than a dict");
          break;
        case '}':
          push(make(Kind::dict));
          break;
        case ']':
          push(make(Kind::list));
          break;
        case ')':
          push(make(Kind::tuple));
          break;
        case 't': {
          auto items = pop_to_mark();
          push(make(Kind::tuple));
          stack_.back()->items = std::move(items);
          break;
        }
        case 0x85:
        case 0x86:
        case 0x87:
          push_tuple(code - 0x84u);
          break;
        case 'a': {
          auto* item = pop();
          top(Kind::list)->items.push_back(item);
          break;
        }
        case 'e': {
          auto items = pop_to_mark();
          auto& list = top(Kind::list)->items;
          list.insert(list.end(), items.begin(), items.end());
          break;
        }
        case 's': {
          auto *value = pop(), *key = pop();
          auto& dict = top(Kind::dict)->items;
          dict.insert(dict.end(), {key, value});
          break;
        }
        case 'u': {
          auto items = pop_to_mark();
          check(items.size() % 2 == 0, "a key without a value");
          auto& dict = top(Kind::dict)->items;
          dict.insert(dict.end(), items.begin(), items.end());
          break;
        }
        case 'q':
          memoize(number(1));
          break;
        case 'r':
          memoize(number(4));
          break;
        case 0x94:
          memoize(memo_.size());
          break;
        case 'h':
          recall(number(1));
          break;
        case 'j':
          recall(number(4));
          break;
        default:
          check(false, "instruction ", static_cast<int>(code), " at byte ", at_ - 1, " is no part of weights");
      }
    }
  }

  std::string_view bytes_;
  std::string source_;
  size_t at_ = 0;
  std::vector<std::unique_ptr<PickleNode>> nodes_;
  std::vector<PickleNode*> stack_;
  std::unordered_map<uint64_t, PickleNode*> memo_;
  PickleNode* result_ = nullptr;
};

}  // namespace gradus::io::detail::inline GRADUS_BUILD
