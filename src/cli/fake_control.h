// For tests: a control that answers what a test says, in a data folder of its own, and the command line run
// against it.
#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <mutex>
#include <sstream>

#include "cli/command_line.h"
#include "io/testing.h"
#include "ipc/data_folder.h"

namespace naru::cli::testing {

// Some Tuesday, so that golden files can say "4m05s ago".
constexpr std::int64_t kNow = 1'735'700'000'000;

class FixedClock final : public Clock {
 public:
  WallTime wall() const override { return from_epoch_ms(kNow); }
  MonoTime mono() const override { return now; }
  MonoTime now;
};

struct Ran {
  int status = 0;
  std::string out, err;
};

class FakeControl {
 public:
  using Handler = std::function<io::Task<void>(io::Request&, io::ResponseWriter&)>;

  // Answers by "METHOD /path?query"; anything else is 404.
  explicit FakeControl(std::map<std::string, Json> answers = {}) : answers_(std::move(answers)) {
    std::filesystem::create_directories(data() + "/run");
    server_ = std::make_unique<io::testing::TestServer>(
        [this](io::Request& request, io::ResponseWriter& response) { return handle(request, response); },
        io::ServerOptions{}, io::Address::of_unix(data() + "/run/control.sock").value());
  }
  // Takes a request over, before the answers are looked at.
  std::map<std::string, Handler> special;
  std::optional<Json> otherwise;  // the answer to everything else, instead of 404

  std::string data() const { return folder_.path.string(); }
  std::vector<std::string> requests() {
    const std::lock_guard lock(mutex_);
    return requests_;
  }
  std::string last_request() {
    const auto all = requests();
    return all.empty() ? "" : all.back();
  }
  std::string last_body() {
    const std::lock_guard lock(mutex_);
    return body_;
  }

 private:
  io::Task<void> handle(io::Request& request, io::ResponseWriter& response) {
    const std::string key = fmt::format("{} {}", request.method(), request.target());
    {
      const std::lock_guard lock(mutex_);
      requests_.push_back(key);
    }
    const auto body = co_await request.read_all();
    {
      const std::lock_guard lock(mutex_);
      if (body) body_ = *body;
    }
    if (const auto found = special.find(key); found != special.end()) {
      co_await found->second(request, response);
      co_return;
    }
    const auto found = answers_.find(key);
    if (found != answers_.end()) {
      (void)co_await response.send_json(200, found->second);
      co_return;
    }
    if (otherwise) {
      (void)co_await response.send_json(200, *otherwise);
      co_return;
    }
    const Error error{Code::not_found, "there is no " + key, 0, "ask for something else"};
    (void)co_await response.send_error(error);
  }

  io::testing::TemporaryFolder folder_;
  std::map<std::string, Json> answers_;
  std::mutex mutex_;
  std::vector<std::string> requests_;
  std::string body_;
  std::unique_ptr<io::testing::TestServer> server_;
};

// A git repository of its own to stand in, and back again: `naru app create` writes where it is called.
class WorkTree {
 public:
  WorkTree() : before_(std::filesystem::current_path()) {
    std::filesystem::current_path(folder_.path);
    io::testing::shell("git init -q -b trunk .");
  }
  ~WorkTree() { std::filesystem::current_path(before_); }
  WorkTree(const WorkTree&) = delete;
  WorkTree& operator=(const WorkTree&) = delete;
  std::string path() const { return folder_.path.string(); }

 private:
  io::testing::TemporaryFolder folder_;
  std::filesystem::path before_;
};

struct RunOptions {
  std::map<std::string, std::string> environment = {};
  Processes processes = {};
  bool colour = false, interactive = false;
  int columns = 120, rows = 0;
  std::optional<std::string> typed = {};  // a person sits there, and types this
};

inline Ran run_line(std::vector<std::string> words, RunOptions options = {}) {
  Ran ran;
  Terminal terminal;
  terminal.out = [&](std::string_view text) { ran.out += text; };
  terminal.err = [&](std::string_view text) { ran.err += text; };
  terminal.style.colour = options.colour;
  terminal.interactive = options.interactive;
  if (options.typed) terminal.read_line = [&] { return *options.typed; };
  terminal.columns = options.columns;
  terminal.rows = options.rows;
  FixedClock clock;
  const GetVariable variable = [&](const char* name) -> std::optional<std::string> {
    const auto found = options.environment.find(name);
    return found == options.environment.end() ? std::nullopt : std::optional(found->second);
  };
  const Pause pause = [&](milliseconds time) { clock.now += time; };
  ran.status = run_words(words, options.processes, terminal, variable, clock, pause);
  return ran;
}
inline Ran run_on(const FakeControl& control, std::vector<std::string> words, RunOptions options = {}) {
  options.environment["NARU_DATA"] = control.data();
  return run_line(std::move(words), std::move(options));
}

// Compares with src/cli/testdata/<name>; NARU_UPDATE=1 writes it.
inline void expect_golden(const std::string& name, const std::string& text) {
  const std::filesystem::path path = std::filesystem::path("src/cli/testdata") / name;
  if (std::getenv("NARU_UPDATE") != nullptr) {
    std::ofstream(path) << text;
    return;
  }
  std::ifstream file(path);
  ASSERT_TRUE(file) << path << " is missing: run the test once with NARU_UPDATE=1 and read what it wrote";
  std::stringstream wanted;
  wanted << file.rdbuf();
  EXPECT_EQ(text, wanted.str()) << name;
}

}  // namespace naru::cli::testing
