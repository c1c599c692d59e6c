// What a person names: "shop", "shop/staging", "shop/catalog", "shop/production/catalog".
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace naru::cli {

struct Target {
  std::string app;
  std::string env = "production";
  std::string service;  // may be empty
  std::string text() const { return env == "production" ? app : app + "/" + env; }
};

// APP[/ENV]. invalid_argument
Result<Target> parse_app(std::string_view text);
// APP alone. `why`: "a repository belongs to the whole application"; `instead`: what to type, of its name.
Result<std::string> parse_whole_app(std::string_view text, std::string_view why,
                                    const std::function<std::string(const std::string& app)>& instead);
// APP[/SERVICE] or APP/ENV/SERVICE. invalid_argument
Result<Target> parse_service(std::string_view text);
// "v3" or "3". invalid_argument
Result<std::uint64_t> parse_version(std::string_view text);

}  // namespace naru::cli
