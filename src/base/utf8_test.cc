#include "base/utf8.h"

#include <gtest/gtest.h>

namespace naru {
namespace {

TEST(Utf8, TakesCharactersAndSingleBytesOfWhatIsNone) {
  EXPECT_EQ(first_character("\xea\xb8\x80!").code, U'글');
  EXPECT_EQ(first_character("\xea\xb8\x80!").bytes, 3u);
  EXPECT_EQ(first_character("\xf0\x9f\x98\x80").code, 0x1f600u);
  for (const char* text :
       {"\x80", "\xc0\x9b", "\xe0\x80\x9b", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf5", "\xe2\x82"})
    EXPECT_TRUE(first_character(text).malformed && first_character(text).bytes == 1) << text;
}

TEST(Utf8, ABeginningEndsWithAWholeCharacter) {
  EXPECT_EQ(beginning("\xea\xb8\x80!", 9), "\xea\xb8\x80!");
  EXPECT_EQ(beginning("a\xea\xb8\x80!", 3), "a");
  EXPECT_EQ(beginning("a\xea\xb8\x80!", 4), "a\xea\xb8\x80");
  EXPECT_EQ(beginning("\x80\x80\x80", 2), "");
}

TEST(Printable, LeavesTextAndTakesWhatSteersATerminal) {
  EXPECT_EQ(printable("plain\ttext\nwith caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"),
            "plain\ttext\nwith caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80");
  EXPECT_EQ(printable("\x1b[31mred\x1b[0m \r\b\x07\x7f"), "?[31mred?[0m ????");
  EXPECT_EQ(printable(std::string_view("a\0b", 3)), "a?b");
  EXPECT_EQ(printable("\xc2\x9b"
                      "31m\xc2\xa0"),
            "?31m\xc2\xa0");
  EXPECT_EQ(printable("\x9b"
                      "31m \xc3"),
            "?31m ?");
  EXPECT_EQ(printable("\xc0\x9b \xe0\x80\x9b \xed\xa0\x80 \xf4\x90\x80\x80"), "?? ??? ??? ????");
  EXPECT_EQ(printable("\xe2\x80\xae over"), "? over") << "right-to-left override";
}

}  // namespace
}  // namespace naru
