// What docs/api.md promises to whoever has no token, and no session.
#include "control/api.h"
#include "control/api_fixture_test.h"

namespace naru::control {
namespace {

class WithoutAToken : public ControlTest {};

// Every address that there is, and some that there are not.
TEST_F(WithoutAToken, NothingIsAnswered) {
  create_app("shop");
  const auto refused = [&](const std::string& method, const std::string& path) {
    const auto answer = remote(method, path, {{"Accept", "*/*"}});
    EXPECT_EQ(answer.status, 401) << method << ' ' << path << ' ' << answer.body;
    const std::string_view git = "naru: no token was given\nhint: in the repository: naru app connect shop\n";
    const bool nothing_else = method == "HEAD"            ? answer.body.empty()
                              : path.starts_with("/git/") ? answer.body == git  // it shows its person text
                                                          : code(answer) == "unauthorized";
    EXPECT_TRUE(nothing_else) << method << ' ' << path << ' ' << answer.body;
  };
  std::vector<std::string> for_anybody;
  for (const auto routes : {app_routes(), pipeline_routes(), log_routes(), exec_routes(), event_routes(),
                            image_routes(), platform_routes(), git_routes(), console_routes()})
    for (const Route& route : routes) {
      std::string path(route.pattern);
      if (path.ends_with("{*}")) path.replace(path.size() - 3, 3, "info/refs");
      if (const auto at = path.find("{}"); at != std::string::npos) path.replace(at, 2, "shop");
      if (route.access == Access::anybody) for_anybody.push_back(fmt::format("{} {}", route.method, path));
      refused(route.method == "*" ? "GET" : std::string(route.method), path);
      if (route.method == "GET") refused("HEAD", path);
    }
  EXPECT_EQ(for_anybody, std::vector<std::string>{"GET /login"}) << "what docs/api.md says";
  for (const char* path :
       {"/v1/nothing", "/nothing", "/favicon.ico", "/login.html", "/index.html", "/login?code=x"})
    refused("GET", path);
  refused("POST", "/login");
  EXPECT_EQ(remote("GET", "/v1/apps", {{"Authorization", "Bearer naru_wrong"}}).status, 401);
  EXPECT_EQ(json(local("GET", "/v1/version")).value("api_port", 0), port_);
}

// A browser is told how to log in, by a page that asks for nothing else; the answer is 401 all the same.
TEST_F(WithoutAToken, OnlyABrowserGetsTheLoginPage) {
  create_app("shop");
  const io::Headers browser{{"Accept", "text/html,application/xhtml+xml"}};
  for (const char* path : {"/", "/login", "/login?code=x", "/apps/shop"}) {
    const auto answer = remote("GET", path, browser);
    EXPECT_EQ(answer.status, 401) << path;
    EXPECT_EQ(answer.header("content-type"), "text/html; charset=utf-8") << path;
    EXPECT_NE(answer.body.find("<code>naru open</code>"), std::string::npos) << answer.body;
    for (const char* other : {"src=", "href=\"/f", "url(", "@import"})
      EXPECT_EQ(answer.body.find(other), std::string::npos) << other << ": it would be refused";
  }
  for (const char* path : {"/v1/apps", "/assets/index.js", "/favicon.svg", "/nothing"})
    EXPECT_EQ(code(remote("GET", path, browser)), "unauthorized") << path;
}

}  // namespace
}  // namespace naru::control
