#include "gateway/buffer.h"

#include <gtest/gtest.h>

#include <string>

namespace naru::gateway {
namespace {

void put(Buffer& buffer, std::string_view bytes, std::size_t limit = Buffer::kBlock) {
  const std::span<char> space = buffer.space(limit);
  ASSERT_GE(space.size(), bytes.size());
  std::ranges::copy(bytes, space.begin());
  buffer.filled(bytes.size());
}

TEST(Buffer, MovesWhatIsLeftToTheFrontBeforeItGrows) {
  Buffer buffer;
  put(buffer, std::string(Buffer::kBlock - 2, 'a') + "bc");
  buffer.consume(Buffer::kBlock - 2);
  EXPECT_EQ(buffer.space().size(), Buffer::kBlock - 2);
  EXPECT_EQ(buffer.view(), "bc");
}

TEST(Buffer, IsFullAtItsLimit) {
  Buffer buffer;
  put(buffer, std::string(Buffer::kBlock, 'a'));
  EXPECT_TRUE(buffer.space().empty());
  EXPECT_EQ(buffer.space(3 * Buffer::kBlock).size(), Buffer::kBlock);
  EXPECT_EQ(buffer.view(), std::string(Buffer::kBlock, 'a'));
}

TEST(Buffer, ExpectsMuchWithALargerBlockAndNeverMoreThanTheLargest) {
  Buffer buffer;
  buffer.expect(Buffer::kBlock);
  EXPECT_EQ(buffer.space().size(), Buffer::kBlock);
  buffer.expect(Buffer::kBlock + 1);
  EXPECT_EQ(buffer.space().size(), Buffer::kBlock + 1);
  buffer.expect(std::uint64_t{1} << 40);
  EXPECT_EQ(buffer.space().size(), Buffer::kLargest);
  buffer.release_if_empty();
  EXPECT_EQ(buffer.space().size(), Buffer::kBlock);
}

TEST(Buffer, KeepsWhatItHoldsWhenMuchIsExpected) {
  Buffer buffer;
  put(buffer, "held");
  buffer.expect(Buffer::kLargest);
  EXPECT_EQ(buffer.view(), "held");
}

}  // namespace
}  // namespace naru::gateway
