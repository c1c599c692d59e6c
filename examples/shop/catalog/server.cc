// The catalog: GET /products, GET /products/ID, GET /healthz. A thread per connection, at most kMaxConnections.
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <random>
#include <thread>

#include "catalog.h"
#include "http.h"

namespace {

constexpr int kMaxConnections = 150;
constexpr std::size_t kMaxHead = 16 * 1024;

int from_env(const char* name, int fallback) {
  const char* text = std::getenv(name);
  return text == nullptr || *text == '\0' ? fallback : std::atoi(text);
}

struct Settings {
  std::string headers;  // said in every answer
  int fail_percent = from_env("FAIL_PERCENT", 0);
  int slow_ms = from_env("SLOW_MS", 0);
};

std::string answer(const http::Request& request, const Settings& settings) {
  const auto reply = [&](int status, std::string_view reason, std::string_view body) {
    return http::response(status, reason, body, settings.headers, request.keep_alive);
  };
  if (request.path == "/healthz") return reply(200, "OK", "{\"ok\":true}");
  thread_local std::mt19937 random{std::random_device{}()};
  if (settings.slow_ms > 0) std::this_thread::sleep_for(std::chrono::milliseconds(settings.slow_ms));
  if (static_cast<int>(random() % 100) < settings.fail_percent) return reply(500, "Internal Server Error", "{\"error\":\"the catalog lost its pages\"}");
  if (request.method != "GET") return reply(405, "Method Not Allowed", "{\"error\":\"only GET\"}");
  if (request.path == "/products") return reply(200, "OK", catalog::all_json());
  static constexpr std::string_view kOne = "/products/";
  if (request.path.starts_with(kOne))
    if (const auto product = catalog::find(std::string_view(request.path).substr(kOne.size()))) return reply(200, "OK", catalog::to_json(*product));
  return reply(404, "Not Found", "{\"error\":\"no such thing\"}");
}

bool send_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
  return true;
}

void serve(int fd, const Settings& settings) {
  std::string buffer;
  char chunk[4096];
  while (true) {
    const auto end = buffer.find("\r\n\r\n");
    if (end == std::string::npos) {
      if (buffer.size() > kMaxHead) break;
      const ssize_t got = ::recv(fd, chunk, sizeof chunk, 0);
      if (got <= 0) break;
      buffer.append(chunk, static_cast<std::size_t>(got));
      continue;
    }
    const auto request = http::parse_head(std::string_view(buffer).substr(0, end + 2));
    buffer.erase(0, end + 4);
    if (!request) {
      (void)send_all(fd, http::response(400, "Bad Request", "{\"error\":\"not HTTP\"}", "", false));
      break;
    }
    if (!send_all(fd, answer(*request, settings)) || !request->keep_alive) break;
  }
  ::close(fd);
}

}  // namespace

int main() {
  if (from_env("CRASH_AT_START", 0) != 0) {
    std::fprintf(stderr, "catalog: CRASH_AT_START is set, so this release dies here\n");
    return 1;
  }
  // As the first process of a container, only signals with a handler arrive.
  std::signal(SIGTERM, [](int) { std::_Exit(0); });
  std::signal(SIGINT, [](int) { std::_Exit(0); });
  Settings settings;
  char host[256] = "catalog";
  (void)::gethostname(host, sizeof host - 1);
  const char* release = std::getenv("RELEASE");
  settings.headers = std::string("X-Service: catalog\r\nX-Release: ") + (release == nullptr ? "?" : release) + "\r\nX-Instance: " + host + "\r\n";

  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int on = 1;
  ::setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(from_env("PORT", 8080)));
  if (::bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 || ::listen(listener, 512) != 0) {
    std::perror("catalog: cannot listen");
    return 1;
  }
  std::printf("catalog release %s listens, %zu products\n", release == nullptr ? "?" : release, catalog::kProducts.size());
  std::fflush(stdout);
  static std::atomic<int> open{0};
  while (true) {
    const int fd = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) continue;
    if (open.fetch_add(1) >= kMaxConnections) {
      open.fetch_sub(1);
      (void)send_all(fd, http::response(503, "Service Unavailable", "{\"error\":\"too many connections\"}", settings.headers, false));
      ::close(fd);
      continue;
    }
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    // An idle or silent peer does not keep its thread for ever.
    const timeval idle{60, 0};
    ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &idle, sizeof idle);
    ::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &idle, sizeof idle);
    std::thread([fd, &settings] {
      serve(fd, settings);
      open.fetch_sub(1);
    }).detach();
  }
}
