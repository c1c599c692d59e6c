// naru-traffic: bounded, loopback-only traffic of many users with cookie jars, for the demo and the
// end-to-end tests.
//
//   naru-traffic --url=http://127.0.0.1:8000/ --users=5000 --rate=200 --seconds=60 [--threads=8] [--seed=1]
//                [--patience-ms=20000]
//
// Prints one JSON object a line, each second and at the end: requests, failed (no answer, cut short, or no
// 200), users, latency of that second, and `releases`: how often each release answered (header X-Release).
// SIGTERM ends it early.
#include <csignal>

#include <atomic>
#include <cstdio>
#include <mutex>
#include <thread>

#include "base/rng.h"
#include "io/http_client.h"

namespace naru {
namespace {

std::atomic<bool> stopped{false};

struct Options {
  std::string url;
  std::uint64_t users = 5000, rate = 200, seconds = 60, threads = 8, seed = 1, patience_ms = 20'000;
};

class Traffic {
 public:
  explicit Traffic(Options options)
      : options_(std::move(options)), cookies_(options_.users), begin_(SystemClock().mono()) {}

  int run() {
    std::vector<std::jthread> threads;
    for (std::uint64_t i = 0; i < options_.threads; ++i)
      threads.emplace_back([this, i] { send_requests(i); });
    const MonoTime end = begin_ + seconds(options_.seconds);
    for (int second = 1; !stopped && SystemClock().mono() < end; ++second) {
      const MonoTime next = begin_ + seconds(second);
      while (!stopped && SystemClock().mono() < next) std::this_thread::sleep_for(20ms);
      report(false);
    }
    stopped = true;
    threads.clear();
    report(true);
    return 0;
  }

 private:
  void send_requests(std::uint64_t thread) {
    auto client = io::BlockingClient::create();
    if (!client) return;
    Rng rng(options_.seed * 1000 + thread);
    while (!stopped) {
      const MonoTime due = begin_ + microseconds(next_.fetch_add(1) * 1'000'000 / options_.rate);
      while (!stopped && SystemClock().mono() < due)
        std::this_thread::sleep_for(std::min<nanoseconds>(due - SystemClock().mono(), 20ms));
      if (!stopped) one(**client, rng.below(options_.users));
    }
  }

  void one(io::BlockingClient& client, std::uint64_t user) {
    io::FetchRequest request;
    request.url = options_.url;
    request.redirects = 0;
    request.total_timeout = milliseconds(options_.patience_ms);
    {
      const std::lock_guard lock(mutex_);
      if (!cookies_[user].empty()) request.headers.push_back({"Cookie", cookies_[user]});
    }
    const MonoTime begin = SystemClock().mono();
    const auto response = client.fetch(std::move(request));
    const auto took = std::chrono::duration_cast<microseconds>(SystemClock().mono() - begin).count();
    const std::lock_guard lock(mutex_);
    ++requests_;
    latencies_.push_back(took);
    if (!response || response->status != 200) {
      ++failed_;
      return;
    }
    ++releases_[std::string(response->header("x-release"))];
    const std::string_view set = response->header("set-cookie");
    if (cookies_[user].empty() && !set.empty()) {
      cookies_[user] = set.substr(0, set.find(';'));
      ++known_;
    }
  }

  void report(bool last) {
    const std::lock_guard lock(mutex_);
    std::ranges::sort(latencies_);
    const auto at = [&](double q) {
      return latencies_.empty()
                 ? 0
                 : latencies_[static_cast<std::size_t>(q * static_cast<double>(latencies_.size() - 1))];
    };
    const nlohmann::json line{{"requests", requests_}, {"failed", failed_},  {"users", known_},
                              {"p50_us", at(0.5)},     {"p99_us", at(0.99)}, {"releases", releases_},
                              {"last", last}};
    std::puts(line.dump().c_str());
    std::fflush(stdout);
    latencies_.clear();
  }

  Options options_;
  std::mutex mutex_;
  std::vector<std::string> cookies_;
  std::vector<std::int64_t> latencies_;  // of this second, us
  std::map<std::string, std::uint64_t> releases_;
  std::uint64_t requests_ = 0, failed_ = 0, known_ = 0;
  std::atomic<std::uint64_t> next_{0};
  MonoTime begin_;
};

Result<Options> parse(int argc, char** argv) {
  Options options;
  const std::map<std::string_view, std::pair<std::uint64_t*, std::uint64_t>> numbers{
      {"users", {&options.users, 1'000'000}}, {"rate", {&options.rate, 20'000}},
      {"seconds", {&options.seconds, 3'600}}, {"threads", {&options.threads, 64}},
      {"seed", {&options.seed, 1U << 30}},    {"patience-ms", {&options.patience_ms, 120'000}}};
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    const auto equals = argument.find('=');
    const std::string_view name = argument.starts_with("--") ? argument.substr(2, equals - 2) : "";
    const std::string value(equals == std::string_view::npos ? "" : argument.substr(equals + 1));
    if (name == "url")
      options.url = value;
    else if (const auto found = numbers.find(name); found != numbers.end())
      *found->second.first = std::strtoull(value.c_str(), nullptr, 10);
    else
      return fail(Code::invalid_argument, "unknown argument '{}'", argument);
  }
  for (const auto& [name, bound] : numbers)
    if (*bound.first < 1 || *bound.first > bound.second)
      return fail(Code::invalid_argument, "--{} takes 1 to {}", name, bound.second);
  const auto url = io::Url::parse(options.url);
  if (!url) return std::unexpected(url.error());
  if (url->host != "127.0.0.1" && url->host != "::1" && !url->host.ends_with("localhost"))
    return fail(Code::forbidden, "traffic goes to loopback only, not to {}", url->host);
  return options;
}

}  // namespace
}  // namespace naru

int main(int argc, char** argv) {
  auto options = naru::parse(argc, argv);
  if (!options) {
    std::fprintf(stderr, "error: %s\n", options.error().message().c_str());
    return 2;
  }
  const auto stop = [](int) { naru::stopped = true; };
  std::signal(SIGTERM, stop);
  std::signal(SIGINT, stop);
  return naru::Traffic(std::move(*options)).run();
}
