#include "gateway/head_rewrite.h"

#include <gmock/gmock.h>

#include "gateway/test_world.h"

namespace naru::gateway::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(OwnCookies, AreTakenOutAndTheOthersStayByteForByte) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"naru_session=s", ""},
      {"naru_session=s; naru_user=u", ""},
      {"naru_session=s;", ""},
      {"a=1; naru_session=s", "a=1"},
      {"naru_session=s; a=1", "a=1"},
      {"a=1; naru_session=s; b=2", "a=1; b=2"},
      {"a=1;naru_session=s;b=2;", "a=1;b=2;"},
      {"naru_session=s; naru_session=t; a=1; naru_user=u", "a=1"},
      {"\tnaru_session =s ; a=1", "a=1"},
      {"a=\"x; naru_session=s; y\"", "a=\"x; y\""},  // no server's idea of quotes brings it back
      // Not ours, and left alone to the byte.
      {"a=naru_session=s", "a=naru_session=s"},
      {"my_naru_session=s;  b ; ;c", "my_naru_session=s;  b ; ;c"},
      {"naru_session_2=s; naru_sessio=t", "naru_session_2=s; naru_sessio=t"},
      {"Naru_Session=s", "Naru_Session=s"},
      {"naru_session", "naru_session"},
      {"a=1;; b=2 ;", "a=1;; b=2 ;"},
      {"", ""},
  };
  for (const auto& [field, left] : cases) EXPECT_EQ(without_own_cookies(field), left) << field;
}

TEST(OwnCookies, NeverReachAnInstanceFromTheEdge) {
  World world;
  Backend& backend = world.stable();
  world.publish();
  for (const std::uint16_t port : {world.edge(), world.host_port()})
    world.ask(get("/",
                  "cookie: a=1; naru_session=secret-1; b=\"2\"\r\nCOOKIE: naru_session=secret-2\r\nCookie:  "
                  "naru_user=00000000000000000000000000000001;c=3\r\nCookie2: d\r\n"),
              port);
  ASSERT_EQ(backend.heads().size(), 2U);
  for (const std::string& head : backend.heads()) {
    EXPECT_THAT(head, Not(HasSubstr("secret")));
    EXPECT_THAT(head, Not(HasSubstr("naru_")));
    EXPECT_THAT(head, HasSubstr("\r\ncookie: a=1; b=\"2\"\r\n"));
    EXPECT_THAT(head, Not(HasSubstr("COOKIE")));
    EXPECT_THAT(head, HasSubstr("\r\nCookie: c=3\r\n"));
    EXPECT_THAT(head, HasSubstr("\r\nCookie2: d\r\n"));
  }
}

TEST(OwnCookies, AreTakenOutOfAnUpgradeToo) {
  World world;
  Backend& backend = world.stable();
  world.publish();
  world.ask(get("/ws", "Connection: Upgrade\r\nUpgrade: websocket\r\nCookie: naru_session=secret\r\n"));
  EXPECT_THAT(backend.heads().at(0), Not(HasSubstr("ookie")));
}

// Else an application could log its visitors in to the console as somebody else, or move them to another
// side.
TEST(OwnCookies, AreNotSetByAnInstance) {
  World world;
  world.stable(Backend::each([](const std::string&, Backend&) {
    return answer("x", "200 OK",
                  "Set-Cookie: naru_session=mine; Path=/\r\nset-cookie: naru_user=mine\r\nSet-Cookie: "
                  "own=naru_session=1\r\nX-Naru: gateway\r\n");
  }));
  world.publish();
  const std::string got = world.ask(get());
  EXPECT_THAT(got, Not(HasSubstr("mine")));
  EXPECT_THAT(got, HasSubstr("Set-Cookie: own=naru_session=1\r\n"));
  EXPECT_THAT(got, HasSubstr("Set-Cookie: naru_user=")) << "the gateway's own";
  EXPECT_THAT(got, Not(HasSubstr("X-Naru"))) << "only the gateway says which answers are its own";
}

// To CGI and its heirs X_Forwarded_For is X-Forwarded-For.
TEST(Forwarding, IsNotForgedThroughSpellingsThatApplicationsTakeForTheSame) {
  World world;
  Backend& backend = world.stable();
  world.publish();
  world.ask(get("/",
                "X_Forwarded_For: 6.6.6.6\r\nx-forwarded_host: evil\r\nX_Real-IP: 6.6.6.6\r\n"
                "Content_Length: 7\r\nTransfer_Encoding: chunked\r\nProxy: http://evil\r\nX_Own: 1\r\n"));
  const std::string head = backend.heads().at(0);
  for (const char* gone : {"6.6.6.6", "evil", "Content_", "Transfer_"})
    EXPECT_THAT(head, Not(HasSubstr(gone)));
  EXPECT_THAT(head, HasSubstr("X_Own: 1\r\n"));
}

}  // namespace
}  // namespace naru::gateway::testing
