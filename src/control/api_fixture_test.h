// A whole control process in a thread of the test, with a data folder of its own and no launcher, gateway or
// supervisor.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <fstream>
#include <thread>

#include "base/rng.h"
#include "control/checkout.h"
#include "control/control.h"
#include "io/http_client.h"
#include "ipc/channel.h"
#include "ipc/data_folder.h"

namespace naru::control {

class TempFolder {
 public:
  TempFolder() : path_("/tmp/naru-control-" + secure_random_hex(6)) {
    std::filesystem::create_directories(path_);
  }
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

class ControlTest : public testing::Test {
 protected:
  ControlTest() : data_{folder_.path() / "data"} { start(); }
  ~ControlTest() override { stop(); }

  void start() {
    std::filesystem::create_directories(data_.run());
    ControlOptions options;
    options.data = data_.root.string();
    options.unix_listen_fd = ipc::listen_unix(data_.control_socket().string())->release();
    options.tcp_listen_fd = listen_tcp(port_);
    stop_fd_ = ::eventfd(0, EFD_CLOEXEC);
    options.stop_fd = ::dup(stop_fd_);
    options.max_push_bytes = 1 << 20;
    thread_ = std::thread([options] { EXPECT_EQ(run(options), 0); });
  }
  void stop() {
    if (!thread_.joinable()) return;
    const std::uint64_t one = 1;
    EXPECT_EQ(::write(stop_fd_, &one, sizeof one), 8);
    thread_.join();
    ::close(stop_fd_);
  }

  static int listen_tcp(std::uint16_t& port) {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int one = 1;
    ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    EXPECT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::listen(fd, 64), 0);
    socklen_t length = sizeof address;
    ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length);
    port = ntohs(address.sin_port);
    return fd;
  }

  io::Response ask(io::FetchRequest request) {
    request.redirects = 0;
    io::ClientOptions options;
    options.use_proxy_environment = false;
    auto answer = io::fetch(std::move(request), options);
    EXPECT_TRUE(answer) << (answer ? "" : answer.error().message());
    return answer ? *answer : io::Response{};
  }
  io::Response local(std::string method, std::string path, std::string body = "") {
    io::FetchRequest request;
    request.method = std::move(method);
    request.url = "http://localhost" + path;
    request.unix_socket = data_.control_socket().string();
    request.body = std::move(body);
    return ask(std::move(request));
  }
  io::Response remote(std::string method, std::string path, io::Headers headers = {}, std::string body = "") {
    io::FetchRequest request;
    request.method = std::move(method);
    request.url = fmt::format("http://127.0.0.1:{}{}", port_, path);
    request.headers = std::move(headers);
    request.body = std::move(body);
    return ask(std::move(request));
  }
  static Json json(const io::Response& response) {
    auto parsed = parse_json(response.body, "answer");
    EXPECT_TRUE(parsed) << response.body;
    return parsed ? *parsed : Json();
  }
  static std::string code(const io::Response& response) {
    return json(response).value("/error/code"_json_pointer, "");
  }

  // The application's token.
  std::string create_app(const std::string& name) {
    const auto made = local("POST", "/v1/apps", Json{{"app", name}}.dump());
    EXPECT_EQ(made.status, 201) << made.body;
    return json(made).value("token", "");
  }

  TempFolder folder_;
  ipc::DataFolder data_;
  std::uint16_t port_ = 0;

 private:
  int stop_fd_ = -1;
  std::thread thread_;
};

}  // namespace naru::control
