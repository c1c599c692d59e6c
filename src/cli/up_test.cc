// Where control is, what it refuses, and its start and end.
#include "cli/fake_control.h"

namespace naru::cli {
namespace {

using testing::FakeControl;
using testing::run_line;
using testing::run_on;
using testing::RunOptions;

TEST(Operator, WhatOnlyTheServerMayIsSaidWithTheCommandToRunThere) {
  for (const std::vector<std::string>& words :
       std::vector<std::vector<std::string>>{{"open"}, {"down"}, {"down", "--all"}}) {
    const std::string command = fmt::format("{}", fmt::join(words, " "));
    const auto ran = testing::run_line(words, {.environment = {{"NARU_URL", "http://naru.example:7433"}}});
    EXPECT_EQ(ran.status, 1);
    EXPECT_TRUE(ran.err.contains("leads to http://naru.example:7433")) << ran.err;
    EXPECT_TRUE(ran.err.contains("on that machine: sudo naru " + command + ";")) << ran.err;
  }
}

TEST(Errors, OfControlArePrintedWithTheirHint) {
  const auto ran = run_on(FakeControl(), {"releases", "shop"});
  EXPECT_EQ(ran.status, 1);
  EXPECT_EQ(ran.err,
            "error: there is no GET /v1/apps/shop/releases?env=production\nhint: ask for something else\n");
}

TEST(Errors, ThatAreNoAnswersOfControlAreSaidPlainly) {
  FakeControl control;
  control.special["GET /v1/apps"] = [](io::Request&, io::ResponseWriter& response) -> io::Task<void> {
    (void)co_await response.send(200, "<html>");
  };
  control.special["GET /v1/ps"] = [](io::Request&, io::ResponseWriter& response) -> io::Task<void> {
    (void)co_await response.send(502, "bad gateway");
  };
  EXPECT_NE(run_on(control, {"app", "ls"}).err.find("the answer is not JSON"), std::string::npos);
  EXPECT_NE(run_on(control, {"ps"}).err.find("control answered 502 without saying why"), std::string::npos);
}

TEST(Place, NobodyThereIsSaidWithHowToStart) {
  const io::testing::TemporaryFolder folder;
  const std::string data = folder.path.string();
  EXPECT_EQ(run_line({"ps", "--data", data}).err,
            fmt::format("error: Naru is not running on {0}\nhint: start it with `sudo naru up --data {0}`\n",
                        data));
  EXPECT_EQ(run_line({"ps", "--data", data + "/"}).err,
            run_line({"ps"}, {.environment = {{"NARU_DATA", data}}}).err);
  EXPECT_NE(run_line({"ps", "--data", "/" + std::string(200, 'x')}).err.find("too long"), std::string::npos);
}

TEST(Place, ElsewhereIsReachedByAddressAndToken) {
  std::string authorization;
  const io::testing::TestServer server(
      [&](io::Request& request, io::ResponseWriter& response) -> io::Task<void> {
        authorization = request.header("authorization").value_or("");
        const Json body{{"instances", Json::array()}};
        (void)co_await response.send_json(200, body);
      });
  const std::string url = server.url();
  EXPECT_EQ(run_line({"ps"}, {.environment = {{"NARU_URL", url}, {"NARU_TOKEN", "secret"}}}).out,
            "Nothing runs.\n");
  EXPECT_EQ(authorization, "Bearer secret");
  const auto nobody = run_line({"ps"}, {.environment = {{"NARU_URL", "http://127.0.0.1:1"}}});
  EXPECT_NE(nobody.err.find("Naru cannot be reached at http://127.0.0.1:1"), std::string::npos) << nobody.err;
  EXPECT_NE(run_line({"up"}, {.environment = {{"NARU_URL", url}}}).err.find("unset NARU_URL"),
            std::string::npos);
}

TEST(Down, WaitsUntilTheFolderIsFree) {
  FakeControl control({{"POST /v1/down", {{"stopping", true}}}});
  EXPECT_NE(run_on(control, {"down", "--all"}).out.find("every container is stopped"), std::string::npos);
  EXPECT_EQ(Json::parse(control.last_body()), (Json{{"all", true}}));
  EXPECT_EQ(run_on(control, {"down"}).out,
            "Naru is down. Containers run on; nobody is answered at the applications' addresses until `naru "
            "up`.\n");
}

TEST(Down, SaysWhatGoesOnWithoutIt) {
  const auto running = [](const std::string& app, const std::string& phase) {
    return Json{{"app", app}, {"phase", phase}};
  };
  const auto said = [](const Json& instances) {
    return run_on(FakeControl(
                      {{"POST /v1/down", {{"stopping", true}}}, {"GET /v1/ps", {{"instances", instances}}}}),
                  {"down"})
        .out;
  };
  EXPECT_TRUE(said({running("shop", "ready"), running("blog", "running"), running("shop", "failed")})
                  .starts_with("Naru is down. 2 containers of blog, shop run on; nobody is answered"));
  EXPECT_TRUE(said(Json::array({running("shop", "ready")}))
                  .starts_with("Naru is down. 1 container of shop runs on; "));
  EXPECT_TRUE(said(Json::array()).starts_with("Naru is down. No container runs; "));
}

TEST(Down, OfWhatIsDownIsWellButStopsNoContainers) {
  const io::testing::TemporaryFolder folder;
  const std::string data = folder.path.string();
  const auto down = run_line({"down", "--data", data});
  EXPECT_EQ(down.status, 0) << down.err;
  EXPECT_NE(down.out.find("it is down already"), std::string::npos) << down.out;
  const auto all = run_line({"down", "--all", "--data", data});
  EXPECT_EQ(all.status, 1);
  EXPECT_NE(
      all.err.find(fmt::format("sudo naru up --detach --data {0} && sudo naru down --all --data {0}", data)),
      std::string::npos)
      << all.err;
}

TEST(Down, SaysWhatRunsOnAndFails) {
  const Json answer{{"stopping", true}, {"all", true}, {"left", {"shop-web-7.1", "shop-store-8.1"}}};
  const FakeControl control({{"POST /v1/down", answer}});
  const auto ran = run_on(control, {"down", "--all"});
  EXPECT_EQ(ran.status, 1);
  EXPECT_NE(ran.err.find("2 of its containers could not be stopped: shop-web-7.1, shop-store-8.1"),
            std::string::npos)
      << ran.err;
  EXPECT_EQ(ran.out.find("every container is stopped"), std::string::npos);
  const auto as_json = run_on(control, {"down", "--all", "--json"});
  EXPECT_EQ(as_json.status, 1);
  EXPECT_EQ(Json::parse(as_json.out), answer);
}

TEST(Up, ThatRunsAlreadySaysSoWithTheLink) {
  const FakeControl control({{"GET /v1/version", {{"version", "0.1.0"}, {"gateway_port", 8080}}},
                             {"POST /v1/login-link", {{"url", "http://localhost:7433/login?code=7"}}}});
  const auto ran =
      run_on(control, {"up"},
             {.environment = {},
              .processes = {.up = [](const UpRequest&, const std::function<void()>&) -> Result<void> {
                return fail(Code::internal, "must not start");
              }}});
  EXPECT_EQ(ran.status, 0) << ran.err;
  EXPECT_NE(ran.out.find("Naru runs already on " + control.data()), std::string::npos);
  EXPECT_NE(ran.out.find("login?code=7"), std::string::npos);
  EXPECT_EQ(Json::parse(run_on(control, {"up", "--json"}).out)["already_running"], true);
}

TEST(Up, PassesItsOptionsOnAndGreetsOnceControlAnswers) {
  const io::testing::TemporaryFolder folder;
  std::filesystem::create_directories(folder.path / "run");
  UpRequest seen;
  Processes processes;
  processes.up = [&](const UpRequest& request, const std::function<void()>& on_started) -> Result<void> {
    seen = request;
    std::promise<void> greeted;
    const io::testing::TestServer server(
        [&](io::Request& asked, io::ResponseWriter& response) -> io::Task<void> {
          const Json body{{"version", "0.1.0"}, {"gateway_port", 81}, {"url", "http://console"}};
          (void)co_await response.send_json(200, body);
          if (asked.path() == "/v1/login-link") greeted.set_value();
        },
        {}, io::Address::of_unix((folder.path / "run/control.sock").string()).value());
    on_started();
    greeted.get_future().wait();
    return {};
  };
  const auto ran =
      run_line({"up", "--data", folder.path.string(), "--port", "7000", "--gateway-port", "81", "--listen",
                "127.0.0.1", "--allow-registry", "127.0.0.1:5000", "--allow-registry", "localhost"},
               {.environment = {}, .processes = processes});
  EXPECT_EQ(ran.status, 0) << ran.err;
  EXPECT_EQ(seen.control_port, 7000);
  EXPECT_EQ(seen.gateway_port, 81);
  EXPECT_EQ(seen.gateway_address, "127.0.0.1");
  EXPECT_EQ(seen.allowed_registries, (std::vector<std::string>{"127.0.0.1:5000", "localhost"}));
  EXPECT_NE(ran.out.find("http://localhost:81"), std::string::npos);
  EXPECT_NE(ran.out.find("http://console"), std::string::npos);
}

TEST(Up, TakesItsPortsFromVariablesUnlessTheyAreGiven) {
  const io::testing::TemporaryFolder folder;
  UpRequest seen;
  RunOptions options;
  options.environment = {
      {"NARU_DATA", folder.path.string()}, {"NARU_PORT", "7000"}, {"NARU_GATEWAY_PORT", "81"}};
  options.processes.up = [&](const UpRequest& request, const std::function<void()>&) -> Result<void> {
    seen = request;
    return {};
  };
  EXPECT_EQ(run_line({"up", "--gateway-port", "82"}, options).status, 0);
  EXPECT_EQ(seen.control_port, 7000);
  EXPECT_EQ(seen.gateway_port, 82);
  for (const char* wrong : {"0", "65536", "80x", "-1", "http"}) {
    options.environment["NARU_GATEWAY_PORT"] = wrong;
    EXPECT_EQ(
        run_line({"up"}, options).err,
        fmt::format("error: NARU_GATEWAY_PORT is '{}', which is not a port\nhint: give it a number from 1 to "
                    "65535\n",
                    wrong));
  }
}

TEST(Up, ListensToOtherMachinesByTlsOrNotAtAll) {
  const io::testing::TemporaryFolder folder;
  UpRequest seen;
  RunOptions options;
  options.processes.up = [&](const UpRequest& request, const std::function<void()>&) -> Result<void> {
    seen = request;
    return {};
  };
  const auto up = [&](std::vector<std::string> words) {
    words.insert(words.begin(), {"up", "--data", folder.path.string()});
    return run_line(words, options);
  };
  EXPECT_EQ(up({}).status, 0);
  EXPECT_FALSE(seen.tls);
  const std::vector<std::string> pair{"--tls-cert", "/etc/cert.pem", "--tls-key", "key.pem"};
  const auto listening = [&](const std::string& address) {
    return up({"--tls-listen", address, pair[0], pair[1], pair[2], pair[3]});
  };
  EXPECT_EQ(listening("[2001:db8::7]:7443").status, 0);
  ASSERT_TRUE(seen.tls);
  EXPECT_EQ(seen.tls->address, "2001:db8::7");
  EXPECT_EQ(seen.tls->port, 7443);
  EXPECT_EQ(seen.tls->certificate_file, "/etc/cert.pem");
  EXPECT_EQ(seen.tls->key_file, (std::filesystem::current_path() / "key.pem").string());
  EXPECT_EQ(listening(":7443").status, 0);
  EXPECT_EQ(seen.tls->address, "");
  EXPECT_EQ(listening("0.0.0.0:7443").status, 0);
  EXPECT_EQ(seen.tls->address, "0.0.0.0");
  for (const char* wrong :
       {"7443", "naru.example.org:7443", "192.0.2.7", "192.0.2.7:0", "unix:/x", "::1:7443"})
    EXPECT_NE(listening(wrong).err.find("is not an address with a port"), std::string::npos) << wrong;
  EXPECT_EQ(up({"--tls-listen", "127.0.0.1:7443"}).err,
            "error: --tls-listen 127.0.0.1:7443 without --tls-cert and --tls-key: control is served to other "
            "machines by TLS only, never in clear\n"
            "hint: give all three: naru up --tls-listen ADDRESS:PORT --tls-cert FILE --tls-key FILE\n");
  EXPECT_NE(up({"--tls-listen", ":7443", "--tls-cert", "c"}).err.find("without --tls-key"),
            std::string::npos);
  EXPECT_NE(up({"--tls-key", "k"}).err.find("--tls-key without --tls-listen"), std::string::npos);
}

TEST(Up, RefusesARegistryThatNoImageNames) {
  const io::testing::TemporaryFolder folder;
  for (const char* wrong : {"http://127.0.0.1:5000", "127.0.0.1:5000/app", "a,b", "registry", ""})
    EXPECT_NE(run_line({"up", "--data", folder.path.string(), "--allow-registry", wrong})
                  .err.find("is not the place of a registry"),
              std::string::npos)
        << wrong;
}

TEST(Up, DetachedThatCannotStartTellsWhy) {
  const io::testing::TemporaryFolder folder;
  Processes processes;
  processes.up = [](const UpRequest&, const std::function<void()>&) -> Result<void> {
    return std::unexpected(Error{Code::port_taken, "port 8080: taken", 0, "choose another"});
  };
  const auto ran = run_line({"up", "--detach", "--data", folder.path.string()},
                            {.environment = {}, .processes = processes});
  EXPECT_EQ(ran.status, 1);
  EXPECT_EQ(ran.err, "error: port 8080: taken\nhint: choose another\n");
}

}  // namespace
}  // namespace naru::cli
