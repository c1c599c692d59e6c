// The one error type. Every function that can fail because of the world returns Result<T>; what only
// a bug of ours can cause is an assert.
//
// TRY(expr) unwraps or returns the error upward. In a coroutine use CO_TRY / CO_TRY_VOID (a co_await
// inside a statement expression is an internal error of g++ 12).
#pragma once

#include <fmt/format.h>

#include <expected>
#include <string>
#include <string_view>
#include <utility>

#include "base/error_code.h"

namespace naru {

struct Error {
  Code code = Code::internal;
  std::string context;   // what went wrong and where: "compose.yaml:7: services.web.ports: ..."
  int sys_errno = 0;     // errno where a system call failed, else 0
  std::string remedy{};  // what to do, where it is more exact than the catalogue's; may be empty

  // "<context>: <strerror>", one line, without the remedy.
  std::string message() const;
  // The remedy for a person: this error's own, else the catalogue's.
  std::string_view hint() const;
};

template <class T = void>
class [[nodiscard]] Result : public std::expected<T, Error> {
 public:
  using std::expected<T, Error>::expected;
  using value_type = T;
};

template <class... Args>
std::unexpected<Error> fail(Code code, fmt::format_string<Args...> format, Args&&... args) {
  return std::unexpected<Error>(Error{code, fmt::format(format, std::forward<Args>(args)...), 0, {}});
}

// For a failed system call: captures errno. The context names the call and its object.
template <class... Args>
std::unexpected<Error> fail_errno(Code code, fmt::format_string<Args...> format, Args&&... args) {
  const int saved = errno;
  return std::unexpected<Error>(Error{code, fmt::format(format, std::forward<Args>(args)...), saved, {}});
}

namespace detail {
template <class T>
T take(Result<T>& result) {
  return std::move(*result);
}
inline void take(Result<void>&) {}
}  // namespace detail

}  // namespace naru

#define NARU_CAT_(a, b) a##b
#define NARU_CAT(a, b) NARU_CAT_(a, b)

#define TRY(expr)                                                             \
  __extension__({                                                             \
    auto try_result_ = (expr);                                                \
    if (!try_result_) return std::unexpected(std::move(try_result_).error()); \
    ::naru::detail::take(try_result_);                                        \
  })

// CO_TRY(auto x, co_await f()); declares x, or co_returns the error.
#define CO_TRY_IMPL_(declaration, expr, name)                    \
  auto name = (expr);                                            \
  if (!name) co_return std::unexpected(std::move(name).error()); \
  declaration = std::move(*name)
#define CO_TRY(declaration, ...) CO_TRY_IMPL_(declaration, (__VA_ARGS__), NARU_CAT(co_try_, __LINE__))
#define CO_TRY_VOID(...)                                                           \
  do {                                                                             \
    auto co_try_void_ = (__VA_ARGS__);                                             \
    if (!co_try_void_) co_return std::unexpected(std::move(co_try_void_).error()); \
  } while (false)
