// naru-bench-backend: answers every request at once, so that what is measured is who stands before it. One
// thread. /64k answers 64 KiB, anything else 1 KiB; keeps connections open; requests have no bodies.
//
//   naru-bench-backend PORT
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <unordered_map>

namespace {

constexpr std::size_t kMaxHead = 16 << 10;

std::string answer_of(std::size_t bytes) {
  return "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: " + std::to_string(bytes) +
         "\r\n\r\n" + std::string(bytes, 'x');
}

struct Connection {
  std::string in;
  std::string out;  // what did not fit
};

class Backend {
 public:
  explicit Backend(int listener) : listener_(listener), epoll_(::epoll_create1(EPOLL_CLOEXEC)) {
    watch(listener_, EPOLLIN, EPOLL_CTL_ADD);
  }

  void run() {
    epoll_event events[128];
    while (true) {
      const int count = ::epoll_wait(epoll_, events, 128, -1);
      for (int i = 0; i < count; ++i) {
        const int fd = events[i].data.fd;
        if (fd == listener_)
          accept_one();
        else if (!serve(fd, connections_[fd]))
          end(fd);
      }
    }
  }

 private:
  void watch(int fd, unsigned what, int how) const {
    epoll_event event{};
    event.events = what;
    event.data.fd = fd;
    ::epoll_ctl(epoll_, how, fd, &event);
  }
  void accept_one() {
    const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;
    const int on = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    connections_[fd] = {};
    watch(fd, EPOLLIN, EPOLL_CTL_ADD);
  }
  void end(int fd) {
    connections_.erase(fd);
    ::close(fd);
  }
  // False: the connection has ended.
  bool serve(int fd, Connection& connection) {
    char piece[16384];
    const ssize_t got = ::read(fd, piece, sizeof piece);
    if (got == 0 || (got < 0 && errno != EAGAIN)) return false;
    if (got > 0) connection.in.append(piece, static_cast<std::size_t>(got));
    for (std::size_t end = 0; (end = connection.in.find("\r\n\r\n")) != std::string::npos;) {
      connection.out += connection.in.starts_with("GET /64k ") ? large_ : small_;
      connection.in.erase(0, end + 4);
    }
    if (connection.in.size() > kMaxHead) return false;
    return flush(fd, connection);
  }
  bool flush(int fd, Connection& connection) const {
    if (connection.out.empty()) return true;
    const ssize_t put = ::write(fd, connection.out.data(), connection.out.size());
    if (put < 0 && errno != EAGAIN) return false;
    if (put > 0) connection.out.erase(0, static_cast<std::size_t>(put));
    watch(fd, connection.out.empty() ? EPOLLIN : EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
    return true;
  }

  int listener_, epoll_;
  std::string small_ = answer_of(1 << 10), large_ = answer_of(64 << 10);
  std::unordered_map<int, Connection> connections_;
};

}  // namespace

int main(int argc, char** argv) {
  const auto port = argc == 2 ? std::strtoul(argv[1], nullptr, 10) : 0;
  if (port < 1 || port > 65535) {
    std::fprintf(stderr, "usage: naru-bench-backend PORT\n");
    return 2;
  }
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGTERM, [](int) { ::_exit(0); });
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int on = 1;
  ::setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in here{};
  here.sin_family = AF_INET;
  here.sin_port = htons(static_cast<std::uint16_t>(port));
  if (::bind(listener, reinterpret_cast<const sockaddr*>(&here), sizeof here) != 0 ||
      ::listen(listener, 512) != 0) {
    std::perror("listen");
    return 1;
  }
  Backend(listener).run();
}
