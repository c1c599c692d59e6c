// For tests of src/io: a server in a thread of its own, temporary folders, other programs.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <future>
#include <thread>

#include "io/http_client.h"
#include "io/http_server.h"

namespace naru::io::testing {

struct TemporaryFolder {
  std::filesystem::path path;
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "naru-io-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) std::abort();
    path = name;
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path); }
};

// Standard output and error of a shell command.
inline std::string shell(const std::string& command, int* status = nullptr) {
  std::FILE* pipe = ::popen((command + " 2>&1").c_str(), "re");
  std::string out;
  char buffer[4096];
  while (std::size_t n = std::fread(buffer, 1, sizeof buffer, pipe)) out.append(buffer, n);
  const int code = ::pclose(pipe);
  if (status != nullptr) *status = WIFEXITED(code) ? WEXITSTATUS(code) : -1;
  return out;
}

// A certificate signed by itself, in files; `more`: further options of openssl-req(1).
struct Certificate {
  TemporaryFolder folder;
  std::string file = (folder.path / "cert.pem").string(), key = (folder.path / "key.pem").string();
  explicit Certificate(const std::string& names = "DNS:localhost",
                       const std::string& more = "-nodes -days 2") {
    int status = 0;
    const std::string said =
        shell(fmt::format("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -subj "
                          "/CN=localhost {} {} -keyout {} -out {}",
                          names.empty() ? "" : "-addext subjectAltName=" + names, more, key, file),
              &status);
    EXPECT_EQ(status, 0) << said;
  }
  // From now on it is one that was over yesterday.
  void expire() const {
    int status = 0;
    const std::string said = shell(
        fmt::format("openssl x509 -in {0} -signkey {1} -days -1 -out {0}.over && mv {0}.over {0}", file, key),
        &status);
    EXPECT_EQ(status, 0) << said;
  }
  ServerPem pem() const { return {read(file), read(key), file, key}; }
  std::shared_ptr<TlsIdentity> identity() const {
    return std::make_shared<TlsIdentity>(TlsContext::server(pem()).value());
  }
  // A client that trusts this certificate and nothing else.
  ClientOptions trusting() const {
    return ClientOptions{.tls = TlsContext::client({.ca_file = file}).value()};
  }
  static std::string read(const std::string& path) {
    std::ifstream in(path);
    return {std::istreambuf_iterator<char>(in), {}};
  }
};

inline Address loopback() {
  return Address::of_ip("127.0.0.1", 0).value();
}

// Runs `handler` on a reactor in another thread until destroyed.
class TestServer {
 public:
  explicit TestServer(Handler handler, ServerOptions options = {}, Address address = loopback(),
                      const ListenerOptions& listening = {}) {
    options.handler = std::move(handler);
    std::promise<Address> ready;
    thread_ = std::thread([this, options = std::move(options), address, listening, &ready]() mutable {
      reactor_ = std::move(Reactor::create().value());
      server_ = HttpServer::start(*reactor_, std::move(options), Listener::listen(*reactor_, address).value(),
                                  listening);
      ready.set_value(server_->address());
      reactor_->run();
      reactor_->block_on(server_->stop(milliseconds(0)));
      server_.reset();
      reactor_.reset();
    });
    address_ = ready.get_future().get();
  }
  ~TestServer() {
    reactor_->stop();
    thread_.join();
  }
  std::string url(std::string_view path = "/") const {
    return fmt::format("http://{}{}", address_.text(), path);
  }
  const Address& address() const { return address_; }
  Reactor& reactor() { return *reactor_; }
  HttpServer& server() { return *server_; }

 private:
  std::unique_ptr<Reactor> reactor_;
  std::unique_ptr<HttpServer> server_;
  Address address_;
  std::thread thread_;
};

// Sends raw bytes (in pieces of `piece`) and gives all that comes back until the server closes.
inline Task<Result<std::string>> exchange_raw(Reactor& reactor, Address to, std::string bytes,
                                              bool half_close = false) {
  CO_TRY(Stream stream, co_await connect(reactor, to, after(seconds(10))));
  auto written = co_await stream.write(bytes, after(seconds(10)));
  if (written && half_close) stream.shutdown_write();
  std::string out;
  const auto buffer = std::make_unique<std::array<char, 4096>>();
  while (true) {
    const auto n = co_await stream.read(*buffer, after(seconds(10)));
    if (!n && n.error().code == Code::closed) co_return out;
    if (!n) co_return std::unexpected(n.error());
    if (*n == 0) co_return out;
    out.append(buffer->data(), *n);
  }
}

inline std::string raw(const Address& to, std::string bytes, bool half_close = false) {
  auto reactor = std::move(Reactor::create().value());
  auto result = reactor->block_on(exchange_raw(*reactor, to, std::move(bytes), half_close));
  return result ? *result : "error: " + result.error().message();
}

}  // namespace naru::io::testing
