#include "model/grant.h"

#include <gtest/gtest.h>

namespace naru {
namespace {

Grant bind(std::string path, bool writable = false) {
  return {GrantKind::bind, std::move(path), writable};
}

TEST(Grant, IsReadAndWrittenTheSame) {
  for (const char* text : {"cap:NET_ADMIN", "bind:/srv/photos", "bind:/srv/photos:rw", "bind:/srv/a b"}) {
    const auto grant = parse_grant(text);
    ASSERT_TRUE(grant) << grant.error().message();
    EXPECT_EQ(grant->text(), text);
  }
  EXPECT_EQ(parse_grant("cap:cap_net_admin")->text(), "cap:NET_ADMIN");
  EXPECT_EQ(parse_grant("bind:/srv//photos/./:ro")->text(), "bind:/srv/photos");
}

TEST(Grant, OfAFolderCoversWhatLiesInIt) {
  const Grant grant = bind("/srv/photos");
  EXPECT_TRUE(grant.covers(bind("/srv/photos")));
  EXPECT_TRUE(grant.covers(bind("/srv/photos/2024")));
  EXPECT_FALSE(grant.covers(bind("/srv/photos2")));
  EXPECT_FALSE(grant.covers(bind("/srv")));
  EXPECT_FALSE(grant.covers(bind("/srv/photos", true)));
  EXPECT_TRUE(bind("/srv", true).covers(bind("/srv/photos")));
  EXPECT_FALSE(grant.covers({GrantKind::capability, "/srv/photos", false}));
}

// Root copies it from an error, and who pushed chose the path.
TEST(Grant, NamesACommandThatAShellReadsAsItIs) {
  EXPECT_EQ(allow_command("shop/staging", bind("/srv/photos", true)),
            "naru app allow shop bind:/srv/photos:rw");
  EXPECT_EQ(allow_command("shop", bind("/srv/x; reboot #")), "naru app allow shop 'bind:/srv/x; reboot #'");
  EXPECT_EQ(allow_command("shop", bind("/srv/$(id)")), "naru app allow shop 'bind:/srv/$(id)'");
  EXPECT_EQ(allow_command("shop", bind("/srv/it's")), R"(naru app allow shop 'bind:/srv/it'\''s')");
}

}  // namespace
}  // namespace naru
