// A gateway with real sockets on loopback for tests: instances are threads at 127.0.0.2, .3, ... on one port.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <atomic>
#include <filesystem>
#include <map>
#include <mutex>
#include <thread>

#include "gateway/assign.h"
#include "gateway/steering.h"
#include "route/user_ids.h"

namespace naru::gateway::testing {

inline sockaddr_in loopback(const std::string& ip, std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  inet_pton(AF_INET, ip.c_str(), &address.sin_addr);
  return address;
}

inline std::uint16_t port_of_socket(int fd) {
  sockaddr_in address{};
  socklen_t length = sizeof address;
  getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length);
  return ntohs(address.sin_port);
}

// A bound socket; listening when it is a stream.
inline Fd bound(const std::string& ip, std::uint16_t port = 0, int type = SOCK_STREAM) {
  Fd fd(socket(AF_INET, type | SOCK_CLOEXEC, 0));
  const int on = 1;
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  const sockaddr_in address = loopback(ip, port);
  if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return {};
  if (type == SOCK_STREAM) listen(fd.get(), 512);
  return fd;
}

// A blocking client. Every wait is bounded by a minute: only what has gone wrong takes so long.
class Client {
 public:
  explicit Client(std::uint16_t port, const std::string& ip = "127.0.0.1")
      : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const timeval bound{60, 0};
    setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &bound, sizeof bound);
    setsockopt(fd_.get(), SOL_SOCKET, SO_SNDTIMEO, &bound, sizeof bound);
    const sockaddr_in address = loopback(ip, port);
    connected = connect(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  }
  int fd() const { return fd_.get(); }
  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
    return true;
  }
  // False at the end of the stream, a reset, or after a minute.
  bool read_some() {
    char buffer[65536];
    const ssize_t got = recv(fd_.get(), buffer, sizeof buffer, 0);
    if (got <= 0) return false;
    in.append(buffer, static_cast<std::size_t>(got));
    return true;
  }
  bool read_until(std::string_view mark) {
    while (in.find(mark) == std::string::npos)
      if (!read_some()) return false;
    return true;
  }
  std::string read_to_end() {
    while (read_some()) {
    }
    return std::exchange(in, {});
  }
  std::string take(std::size_t bytes) {
    while (in.size() < bytes && read_some()) {
    }
    std::string out = in.substr(0, bytes);
    in.erase(0, out.size());
    return out;
  }
  // Head and body by Content-Length; "" when the connection ended before.
  std::string read_answer(bool head_only = false) {
    if (!read_until("\r\n\r\n")) return {};
    const std::size_t end = in.find("\r\n\r\n") + 4;
    std::size_t length = 0;
    if (const auto at = in.find("Content-Length: "); at != std::string::npos && at < end && !head_only)
      length = std::stoul(in.substr(at + 16));
    return take(end + length);
  }
  void close_now() { fd_.reset(); }
  bool connected = false;
  std::string in;

 private:
  Fd fd_;
};

inline std::string get(std::string_view path = "/", std::string_view more = "",
                       std::string_view host = "web.production.shop.localhost") {
  return fmt::format("GET {} HTTP/1.1\r\nHost: {}\r\n{}\r\n", path, host, more);
}
// Of a user in a private network: counts alone.
inline std::string cookie(std::uint64_t user) {
  static std::map<std::uint64_t, std::string> ids;
  auto& id = ids[user];
  if (id.empty()) id = route::UserIds("users").make("", WallTime{});
  return fmt::format("Cookie: a=b; naru_user={}\r\n", id);
}
inline std::string answer(std::string_view body, std::string_view status = "200 OK",
                          std::string_view more = "") {
  return fmt::format("HTTP/1.1 {}\r\nContent-Length: {}\r\n{}\r\n{}", status, body.size(), more, body);
}

// One instance: a thread a connection. By default it answers every request (without a body) with its name.
class Backend {
 public:
  using Serve = std::function<void(Client&, Backend&)>;  // the whole connection, in raw bytes

  Backend(std::string ip, std::uint16_t port, Serve serve)
      : name(ip), serve_(std::move(serve)), listener_(bound(ip, port)) {
    accepting_ = std::thread([this] {
      while (true) {
        const int fd = accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC);
        if (fd < 0) return;
        const std::lock_guard lock(mutex_);
        ++connections;
        open_.push_back(fd);
        threads_.emplace_back([this, fd] { carry(fd); });
      }
    });
  }
  ~Backend() { stop(); }
  void stop() {
    if (!accepting_.joinable()) return;
    shutdown(listener_.get(), SHUT_RDWR);
    accepting_.join();
    listener_.reset();
    {
      const std::lock_guard lock(mutex_);
      for (const int fd : open_) shutdown(fd, SHUT_RDWR);
    }
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }
  void saw(const std::string& head) {
    const std::lock_guard lock(mutex_);
    heads_.push_back(head);
  }
  std::vector<std::string> heads() {
    const std::lock_guard lock(mutex_);
    return heads_;
  }

  // Request heads without bodies, each answered by `respond(head)`; "" closes the connection.
  static Serve each(std::function<std::string(const std::string&, Backend&)> respond) {
    return [respond](Client& client, Backend& self) {
      while (client.read_until("\r\n\r\n")) {
        const std::string head = client.take(client.in.find("\r\n\r\n") + 4);
        self.saw(head);
        const std::string out = respond(head, self);
        if (out.empty() || !client.send(out)) return;
      }
    };
  }
  static Serve naming() {
    return each([](const std::string&, Backend& self) { return answer(self.name); });
  }

  const std::string name;
  std::atomic<int> connections{0};

 private:
  class Adopted;
  void carry(int fd);
  Serve serve_;
  Fd listener_;
  std::thread accepting_;
  std::mutex mutex_;
  std::vector<std::thread> threads_;
  std::vector<int> open_;
  std::vector<std::string> heads_;
};

// A Client over an accepted socket.
class Backend::Adopted : public Client {
 public:
  explicit Adopted(int fd) : Client(0) { dup3(fd, this->fd(), O_CLOEXEC); }
};

inline void Backend::carry(int fd) {
  {
    Adopted client(fd);
    const timeval bound{60, 0};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &bound, sizeof bound);
    serve_(client, *this);
  }
  const std::lock_guard lock(mutex_);
  std::erase(open_, fd);
  shutdown(fd, SHUT_RDWR);
  close(fd);
}

// The gateway itself, on a thread, with its two peers played by the test.
class World {
 public:
  explicit World(Bounds of = {}) : bounds(of) {
    char pattern[] = "/tmp/naru-gateway-XXXXXX";
    folder = mkdtemp(pattern);
    telemetry.emplace(*ipc::Telemetry::create());
    service_port = port_of_socket(bound("127.0.0.2").get());
    add_listener("edge", ListenerKind::http, bound("127.0.0.1"));
    add_listener("port:web", ListenerKind::tcp, bound("127.0.0.1"));
    table.revision = 1;
    table.user_key = "users";
    EnvironmentRoute environment{"shop", "production", "shop.production", {}, {}, {}};
    ServiceRoute web{"web", "10.88.2.2", {{service_port, ""}}, {}, {}, false};
    web.stable = {1, 0, {}};
    environment.services = {web};
    table.environments = {environment};
    table.host_ports = {{"port:web", "shop", "production", "web", service_port}};
    start();
  }
  ~World() {
    stop();
    backends.clear();
    std::filesystem::remove_all(folder);
  }

  EnvironmentRoute& environment() { return table.environments[0]; }
  ServiceRoute& web() { return environment().services[0]; }
  std::uint16_t edge() { return port_of_socket(sockets.at(0).get()); }
  std::uint16_t host_port() { return port_of_socket(sockets.at(1).get()); }

  Backend& stable(Backend::Serve serve = Backend::naming()) {
    return add(web().stable, "127.0.0.2", std::move(serve));
  }
  Backend& canary(Backend::Serve serve = Backend::naming(), std::uint32_t weight = 10'000) {
    if (!environment().split) environment().split = Split{7, 1, 2, "salt", BasisPoints{weight}, 0, 0, "", ""};
    if (!web().canary) web().canary = RouteSide{2, 1, {}};
    return add(*web().canary, "127.0.0.3", std::move(serve));
  }
  Backend& add(RouteSide& side, const std::string& ip, Backend::Serve serve) {
    backends.push_back(std::make_unique<Backend>(ip, service_port, std::move(serve)));
    side.endpoints.push_back({ip, ip});
    return *backends.back();
  }

  void add_listener(const std::string& name, ListenerKind kind, Fd fd) {
    listeners.push_back({name, kind, "127.0.0.1", port_of_socket(fd.get())});
    sockets.push_back(std::move(fd));
  }

  void start() {
    auto [ours, theirs] = *ipc::Channel::pair();
    supervisor = std::move(ours);
    const std::string path = folder + "/gateway.sock";
    control_listener = *ipc::listen_unix(path);
    stop_fd = Fd(eventfd(0, EFD_CLOEXEC));
    GatewayOptions options;
    options.supervisor_fd = theirs.fd();
    options.control_listen_fd = control_listener.get();
    options.telemetry_fd = telemetry->fd();
    options.table_path = folder + "/routes.json";
    options.resolv_conf = folder + "/resolv.conf";
    options.resolver_port = resolver_port;
    options.threads = 2;
    options.drain = drain_for;
    options.bounds = bounds;
    steering = *Steering::start(options);
    thread = std::thread([this] { steering->run(stop_fd.get()); });
    std::vector<int> fds;
    for (const Fd& fd : sockets) fds.push_back(fd.get());
    const Json body = ipc::ListenersMessage{listeners, false};
    ASSERT_TRUE(supervisor.send(body, 5s, fds));
    control = *ipc::Channel::connect(path);
  }
  ipc::EvidenceCounters evidence() { return telemetry->evidence_of(evidence_of(*environment().split)); }
  void ask_to_stop() {
    const std::uint64_t one = 1;
    ASSERT_EQ(write(stop_fd.get(), &one, sizeof one), static_cast<ssize_t>(sizeof one));
  }
  void stop() {
    if (!thread.joinable()) return;
    ask_to_stop();
    thread.join();
    steering.reset();
    control.close();
    supervisor.close();
  }
  // Sends the table and waits until every thread has it; gives the answer.
  Json publish() {
    ++table.revision;
    if (environment().split) telemetry->give_evidence(evidence_of(*environment().split));
    return publish(Json{{"routes", table}});
  }
  Json publish(const Json& body) {
    EXPECT_TRUE(control.send(body, 5s));
    while (true) {
      auto message = control.receive(60s);
      if (!message) return {{"error", message.error().message()}};
      if (!message->body.contains("stats")) return message->body;
    }
  }
  // As the gateway says; nothing when it says nothing within five seconds.
  std::optional<std::size_t> held_requests() {
    if (!control.send({{"ping", 1}}, 5s)) return std::nullopt;
    auto message = control.receive(5s);
    while (message && !message->body.contains("stats")) message = control.receive(5s);
    if (!message) return std::nullopt;
    return message->body["stats"]["held_requests"].get<std::size_t>();
  }
  std::string ask(std::string_view bytes, std::uint16_t port = 0) {
    Client client(port ? port : edge());
    client.send(bytes);
    return client.read_answer();
  }
  static std::string body_of(const std::string& whole) {
    const auto at = whole.find("\r\n\r\n");
    return at == std::string::npos ? whole : whole.substr(at + 4);
  }
  // Until it holds, for at most a minute.
  static bool eventually(const std::function<bool()>& holds) {
    const MonoTime end = std::chrono::steady_clock::now() + 60s;
    while (!holds()) {
      if (std::chrono::steady_clock::now() > end) return false;
      poll(nullptr, 0, 5);
    }
    return true;
  }

  const Bounds bounds;
  std::string folder;
  seconds drain_for{0};
  std::uint16_t service_port = 0, resolver_port = 53;
  std::optional<ipc::Telemetry> telemetry;
  RouteTable table;
  std::vector<std::unique_ptr<Backend>> backends;
  std::vector<ListenerSpec> listeners;
  std::vector<Fd> sockets;
  ipc::Channel supervisor, control;
  Fd control_listener, stop_fd;
  std::unique_ptr<Steering> steering;
  std::thread thread;
};

}  // namespace naru::gateway::testing
