// Messages as bytes, for what ranks, coordinator and engine tell one another and for what is kept in files.
//
// A message is described once, by the list of its members, and both ways go by that list:
//
//   auto fields(wire::Is<PlanRow> auto& row) {
//     auto& [slot, token, position] = row;  // a member that is missing here does not compile
//     return std::tie(slot, token, position);
//   }
//
// It stands in the namespace of the message and is seen before the message is written or read. Members may be
//
//   numbers            their bytes, little-endian on every host
//   bool               one byte, 0 or 1
//   enums              one byte, up to last_value(Enum), a constexpr function beside the enum
//   std::string        count, bytes
//   std::vector        count, items; a count has four bytes
//   std::array, pair   items
//   std::optional      bool, value if there is one
//   std::variant       one byte, the alternative's place; the alternative
//   other messages     their members in the list's order
//
// and whatever else has a Form. Nothing is named or aligned: both sides must be of the same build, or say
// which layout they speak.
//
// Readers take nothing on trust: whatever the bytes are, the result is a message whose every part is valid
// for its type, or wire::Malformed, and no more memory is taken than a fixed multiple of the bytes that came.
// What values mean is for the receiver to check.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace sinkstream::wire {

// The bytes are not a message; the text says why.
class Malformed : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// `T` is the message, for a reader, or the message that does not change, for a writer.
template <typename T, typename Message>
concept Is = std::same_as<std::remove_const_t<T>, Message>;

// How a type stands on the wire:
//   kLeast              the fewest bytes that a value takes
//   write(out, value)
//   read(in, value)     throws Malformed
template <typename T>
struct Form;

// Fewer bytes than this are never a `T`.
template <typename T>
constexpr std::size_t kLeast = Form<std::remove_cvref_t<T>>::kLeast;

class Writer {
 public:
  template <typename T>
  void put(const T& value) {
    Form<T>::write(*this, value);
  }
  void put_bytes(std::span<const std::byte> bytes) {
    make_room(bytes.size());
    std::ranges::copy(bytes, bytes_.data() + used_);
    used_ += bytes.size();
  }
  // For what comes next; put() does without.
  void make_room(std::size_t size) {
    if (bytes_.size() - used_ < size) bytes_.resize(std::max(2 * bytes_.size(), used_ + size + kSpare));
  }
  void put_count(std::size_t count) {
    if (count > std::numeric_limits<std::uint32_t>::max()) throw std::length_error("too much for a message");
    put(static_cast<std::uint32_t>(count));
  }
  std::vector<std::byte> take() && {
    bytes_.resize(used_);
    return std::move(bytes_);
  }

 private:
  // What follows a list is often short, and should not make all of it move.
  static constexpr std::size_t kSpare = 256;

  std::vector<std::byte> bytes_;  // the first `used_` count: growing by one value at a time is slow
  std::size_t used_ = 0;
};

class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : rest_(bytes) {}

  template <typename T>
  void get(T& value) {
    Form<T>::read(*this, value);
  }
  template <typename T>
  T get() {
    T value{};
    get(value);
    return value;
  }
  std::span<const std::byte> get_bytes(std::size_t size) {
    if (rest_.size() < size) throw Malformed("it is cut short");
    const auto bytes = rest_.first(size);
    rest_ = rest_.subspan(size);
    return bytes;
  }
  // Of items that follow; never more than the rest could hold.
  std::size_t get_count(std::size_t least_bytes_each) {
    const auto count = get<std::uint32_t>();
    if (count > rest_.size() / least_bytes_each) throw Malformed("a count is larger than the message");
    return count;
  }
  void expect_end() const {
    if (!rest_.empty()) throw Malformed("bytes are left over");
  }

 private:
  std::span<const std::byte> rest_;
};

// All of `values`, one after the other.
template <typename... T>
std::vector<std::byte> encode(const T&... values) {
  Writer out;
  (out.put(values), ...);
  return std::move(out).take();
}

// The bytes are one message and nothing else; throws Malformed.
template <typename Message>
Message decode(std::span<const std::byte> bytes) {
  Reader in(bytes);
  Message message = in.get<Message>();
  in.expect_end();
  return message;
}

inline std::span<const std::byte> as_bytes(std::string_view text) {
  return std::as_bytes(std::span(text));
}
inline std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// ---- The forms

template <typename T>
concept Number = (std::is_arithmetic_v<T> && !std::same_as<T, bool>) || std::same_as<T, std::byte>;

template <typename T>
concept Enum = std::is_enum_v<T> && !Number<T>;

template <typename T>
concept Described = requires(T& message) {
  fields(message);
};

constexpr bool kWireOrder = std::endian::native == std::endian::little;
static_assert(kWireOrder || std::endian::native == std::endian::big);

template <Number T>
struct Form<T> {
  static_assert(sizeof(T) <= 8);
  static constexpr std::size_t kLeast = sizeof(T);
  using Bytes = std::array<std::byte, sizeof(T)>;

  static void write(Writer& out, T value) {
    auto bytes = std::bit_cast<Bytes>(value);
    if constexpr (!kWireOrder) std::ranges::reverse(bytes);
    out.put_bytes(bytes);
  }
  static void read(Reader& in, T& value) {
    Bytes bytes;
    std::ranges::copy(in.get_bytes(sizeof(T)), bytes.begin());
    if constexpr (!kWireOrder) std::ranges::reverse(bytes);
    value = std::bit_cast<T>(bytes);
  }
};

template <>
struct Form<bool> {
  static constexpr std::size_t kLeast = 1;
  static void write(Writer& out, bool value) { out.put(static_cast<std::uint8_t>(value)); }
  static void read(Reader& in, bool& value) {
    const auto byte = in.get<std::uint8_t>();
    if (byte > 1) throw Malformed("a flag is neither 0 nor 1");
    value = byte == 1;
  }
};

template <Enum T>
struct Form<T> {
  static constexpr std::size_t kLeast = 1;
  static constexpr auto kLast = static_cast<std::size_t>(last_value(T{}));
  static_assert(kLast <= 0xff);

  static void write(Writer& out, T value) { out.put(static_cast<std::uint8_t>(value)); }
  static void read(Reader& in, T& value) {
    const auto byte = in.get<std::uint8_t>();
    if (byte > kLast) throw Malformed("a kind is unknown");
    value = static_cast<T>(byte);
  }
};

template <Described T>
struct Form<T> {
  using Fields = decltype(fields(std::declval<T&>()));
  static constexpr std::size_t kLeast = []<typename... Field>(std::type_identity<std::tuple<Field...>>) {
    return (std::size_t{0} + ... + wire::kLeast<Field>);
  }(std::type_identity<Fields>{});

  static void write(Writer& out, const T& message) {
    std::apply([&](const auto&... field) { (out.put(field), ...); }, fields(message));
  }
  static void read(Reader& in, T& message) {
    std::apply([&](auto&... field) { (in.get(field), ...); }, fields(message));
  }
};

template <typename First, typename Second>
struct Form<std::pair<First, Second>> {
  static constexpr std::size_t kLeast = wire::kLeast<First> + wire::kLeast<Second>;

  static void write(Writer& out, const std::pair<First, Second>& pair) {
    out.put(pair.first);
    out.put(pair.second);
  }
  static void read(Reader& in, std::pair<First, Second>& pair) {
    in.get(pair.first);
    in.get(pair.second);
  }
};

// Items one after the other: numbers in one piece where the host has the wire's order.
template <typename T>
void write_each(Writer& out, std::span<const T> items) {
  if constexpr (Number<T> && kWireOrder) {
    out.put_bytes(std::as_bytes(items));
  } else {
    for (const T& item : items) out.put(item);
  }
}
template <typename T>
void read_each(Reader& in, std::span<T> items) {
  if constexpr (Number<T> && kWireOrder) {
    std::ranges::copy(in.get_bytes(items.size_bytes()), std::as_writable_bytes(items).begin());
  } else {
    for (T& item : items) in.get(item);
  }
}

template <typename T, std::size_t kSize>
struct Form<std::array<T, kSize>> {
  static constexpr std::size_t kLeast = kSize * wire::kLeast<T>;

  static void write(Writer& out, const std::array<T, kSize>& items) { write_each<T>(out, items); }
  static void read(Reader& in, std::array<T, kSize>& items) { read_each<T>(in, items); }
};

template <typename List>
struct ListForm {
  using Item = typename List::value_type;
  static constexpr std::size_t kLeast = wire::kLeast<std::uint32_t>;

  static void write(Writer& out, const List& items) {
    out.put_count(items.size());
    out.make_room(items.size() * wire::kLeast<Item>);
    write_each<Item>(out, items);
  }
  static void read(Reader& in, List& items) {
    static_assert(wire::kLeast<Item> > 0, "a count of items that take no bytes would have no bound");
    items.resize(in.get_count(wire::kLeast<Item>));
    read_each<Item>(in, items);
  }
};
template <>
struct Form<std::string> : ListForm<std::string> {};
template <typename T>
struct Form<std::vector<T>> : ListForm<std::vector<T>> {};

template <typename T>
struct Form<std::optional<T>> {
  static constexpr std::size_t kLeast = 1;

  static void write(Writer& out, const std::optional<T>& value) {
    out.put(value.has_value());
    if (value) out.put(*value);
  }
  static void read(Reader& in, std::optional<T>& value) {
    value.reset();
    if (in.get<bool>()) in.get(value.emplace());
  }
};

template <typename... Alternative>
struct Form<std::variant<Alternative...>> {
  using Variant = std::variant<Alternative...>;
  static_assert(sizeof...(Alternative) <= 0x100);
  static constexpr std::size_t kLeast = 1 + std::min({wire::kLeast<Alternative>...});

  static void write(Writer& out, const Variant& value) {
    out.put(static_cast<std::uint8_t>(value.index()));
    std::visit([&](const auto& alternative) { out.put(alternative); }, value);
  }
  static void read(Reader& in, Variant& value) {
    const std::size_t place = in.get<std::uint8_t>();
    if (place >= sizeof...(Alternative)) throw Malformed("a kind is unknown");
    [&]<std::size_t... kPlace>(std::index_sequence<kPlace...>) {
      ((place == kPlace ? in.get(value.template emplace<kPlace>()) : void()), ...);
    }
    (std::index_sequence_for<Alternative...>{});
  }
};

}  // namespace sinkstream::wire
