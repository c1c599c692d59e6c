// Server-sent events (WHATWG HTML 9.2.6), fed piece by piece.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace naru::cli {

struct StreamEvent {
  std::string name = "message", data, id;
};

class EventStream {
 public:
  using OnEvent = std::function<Result<void>(const StreamEvent&)>;
  explicit EventStream(OnEvent on_event) : on_event_(std::move(on_event)) {}
  // too_large: a line or an event beyond 8 MiB; and what on_event returns.
  Result<void> feed(std::string_view bytes);

 private:
  Result<void> line(std::string_view text);
  OnEvent on_event_;
  std::string line_;
  StreamEvent event_;
  bool has_data_ = false, after_return_ = false;
};

// Splits text into lines; the last one may lack its end until finish().
class LineStream {
 public:
  using OnLine = std::function<Result<void>(std::string_view)>;
  explicit LineStream(OnLine on_line) : on_line_(std::move(on_line)) {}
  Result<void> feed(std::string_view bytes);
  Result<void> finish();

 private:
  OnLine on_line_;
  std::string line_;
};

}  // namespace naru::cli
