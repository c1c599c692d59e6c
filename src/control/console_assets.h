// The built web console as files in the program. src/control/console_assets.cc is generated from it.
#pragma once

#include <span>
#include <string_view>

namespace naru::control {

struct ConsoleAsset {
  std::string_view path;          // "/index.html", "/assets/app-1a2b.js"
  std::string_view content_type;  // "text/html; charset=utf-8"
  std::string_view bytes;
  bool immutable = false;         // its name holds its digest: may be cached for ever
};

// Empty when the console was not built.
std::span<const ConsoleAsset> console_assets();

}  // namespace naru::control
