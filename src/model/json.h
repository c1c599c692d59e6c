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

// NARU_JSON(Type) in the header declares both directions; NARU_JSON_FIELDS(Type, fields...) or, for an enum,
// NARU_JSON_NAMES(Type, {{value, "name"}, ...}) in its source file defines them: once, since nlohmann's
// templates are the most expensive thing to compile here. A missing field keeps its default, an unknown name
// is the first value.
#define NARU_JSON(Type)                           \
  void to_json(nlohmann::json& j, const Type& v); \
  void from_json(const nlohmann::json& j, Type& v);

#define NARU_JSON_FIELDS(Type, ...)                                                         \
  void to_json(nlohmann::json& nlohmann_json_j, const Type& nlohmann_json_t) {              \
    NLOHMANN_JSON_EXPAND(NLOHMANN_JSON_PASTE(NLOHMANN_JSON_TO, __VA_ARGS__))                \
  }                                                                                         \
  void from_json(const nlohmann::json& nlohmann_json_j, Type& nlohmann_json_t) {            \
    const Type nlohmann_json_default_obj{};                                                 \
    NLOHMANN_JSON_EXPAND(NLOHMANN_JSON_PASTE(NLOHMANN_JSON_FROM_WITH_DEFAULT, __VA_ARGS__)) \
  }

#define NARU_JSON_NAMES(Type, ...)                                            \
  namespace {                                                                 \
  constexpr std::pair<Type, std::string_view> k##Type##Names[] = __VA_ARGS__; \
  }                                                                           \
  void to_json(nlohmann::json& j, const Type& v) {                            \
    for (const auto& [value, name] : k##Type##Names) {                        \
      if (value == v) {                                                       \
        j = name;                                                             \
        return;                                                               \
      }                                                                       \
    }                                                                         \
    j = k##Type##Names[0].second;                                             \
  }                                                                           \
  void from_json(const nlohmann::json& j, Type& v) {                          \
    const std::string* text = j.get_ptr<const std::string*>();                \
    for (const auto& [value, name] : k##Type##Names) {                        \
      if (text && *text == name) {                                            \
        v = value;                                                            \
        return;                                                               \
      }                                                                       \
    }                                                                         \
    v = k##Type##Names[0].first;                                              \
  }
