// The built web console as files in the program. Its source is generated at build time from console/
// (cmake/console.cmake, console/embed.mjs).
#pragma once

#include <span>
#include <string_view>

namespace naru::control {

struct ConsoleAsset {
  std::string_view path;          // "/index.html", "/assets/app-1a2b.js"
  std::string_view content_type;  // "text/html; charset=utf-8"
  std::string_view bytes;
  bool immutable = false;  // its name holds its digest: may be cached for ever
};

// Empty when the console was not built: npm was missing, or -DNARU_CONSOLE=OFF. "/login.html" is for who has
// no session.
std::span<const ConsoleAsset> console_assets();

}  // namespace naru::control
