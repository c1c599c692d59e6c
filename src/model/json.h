// JSON of the model's types, for the store, the sockets between processes and the API. Unknown keys are
// ignored and missing ones keep their defaults, so that a newer and an older Naru read each other's rows.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>

#include "base/clock.h"
#include "base/digest.h"
#include "base/result.h"
#include "base/units.h"

namespace naru {
using Json = nlohmann::json;
// Copying and destroying recurse: deeper documents would take the stack.
inline constexpr int kMaxJsonDepth = 64;
// Parses bytes from elsewhere; malformed instead of an exception. `what` names the source in the error.
Result<Json> parse_json(std::string_view bytes, std::string_view what);
}  // namespace naru

template <class T>
struct nlohmann::adl_serializer<std::optional<T>> {
  static void to_json(json& j, const std::optional<T>& v) {
    if (v)
      j = *v;
    else
      j = nullptr;
  }
  static void from_json(const json& j, std::optional<T>& v) {
    if (j.is_null())
      v.reset();
    else
      v = j.get<T>();
  }
};
template <>
struct nlohmann::adl_serializer<std::chrono::milliseconds> {  // whole milliseconds
  static void to_json(json& j, const std::chrono::milliseconds& v) { j = v.count(); }
  static void from_json(const json& j, std::chrono::milliseconds& v) {
    v = std::chrono::milliseconds(j.get<std::int64_t>());
  }
};
template <>
struct nlohmann::adl_serializer<naru::WallTime> {  // milliseconds since the epoch
  static void to_json(json& j, const naru::WallTime& v) { j = naru::to_epoch_ms(v); }
  static void from_json(const json& j, naru::WallTime& v) { v = naru::from_epoch_ms(j.get<std::int64_t>()); }
};
template <>
struct nlohmann::adl_serializer<naru::BasisPoints> {
  static void to_json(json& j, const naru::BasisPoints& v) { j = v.value; }
  static void from_json(const json& j, naru::BasisPoints& v) { v.value = j.get<std::uint32_t>(); }
};
template <>
struct nlohmann::adl_serializer<naru::Digest> {
  static void to_json(json& j, const naru::Digest& v) { j = v.text(); }
  static void from_json(const json& j, naru::Digest& v) {
    if (auto parsed = naru::Digest::parse(j.get<std::string>()))
      v = *parsed;
    else
      v = {};
  }
};

// NARU_JSON(Type, fields...): both directions, with defaults.
#define NARU_JSON(...) NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(__VA_ARGS__)
