// Reading answers of control: a member that is missing or of another kind is empty, so that a newer or older
// control never makes the command line fail.
#pragma once

#include <cstdint>
#include <string>

#include "cli/terminal.h"
#include "model/json.h"

namespace naru::cli {

const Json& member(const Json& object, const char* key);  // null when there is none
const Json& list(const Json& object, const char* key);    // an empty array when there is none
// Cleaned for a terminal.
std::string text(const Json& object, const char* key);
std::int64_t number(const Json& object, const char* key);
double real(const Json& object, const char* key);
bool flag(const Json& object, const char* key);

std::string count_text(std::int64_t count, std::string_view what);  // "1 user", "2 users"
std::string percent(std::int64_t basis_points);                     // "5%", "2.50%"
std::string bytes_text(double bytes);                               // "1.2 GB"
std::string ago(std::int64_t epoch_ms, std::int64_t now_ms);        // "4m05s ago", "-" for 0
std::string duration_text(std::int64_t ms);                         // "30s", "4m05s"
std::string between(std::int64_t from_ms, std::int64_t to_ms);
std::string clock_time(std::int64_t epoch_ms);  // "14:03:05" in local time

}  // namespace naru::cli
