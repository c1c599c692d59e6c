#include "model/json.h"

#include <gtest/gtest.h>

namespace naru {
namespace {

TEST(Json, RefusesWhatIsNestedTooDeep) {
  const auto deep = [](std::size_t levels) { return std::string(levels, '[') + std::string(levels, ']'); };
  EXPECT_TRUE(parse_json(deep(60), "a test"));
  for (const std::size_t levels : {70u, 400'000u}) {
    const auto refused = parse_json(deep(levels), "a test");
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Code::malformed);
  }
}

TEST(Json, RefusesGarbage) {
  for (const char* text : {"", "{", "[1,]", "nul", "{\"a\":}", "\xff\xfe"})
    EXPECT_FALSE(parse_json(text, "a test")) << text;
}

}  // namespace
}  // namespace naru
