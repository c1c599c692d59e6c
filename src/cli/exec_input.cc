#include "cli/exec_input.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace naru::cli {

namespace {

bool send_all(int socket, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return true;
}

void pump(const Fd& socket, const Fd& stop, int from) {
  char buffer[16 << 10];
  while (true) {
    pollfd polls[] = {{from, POLLIN, 0}, {stop.get(), POLLIN, 0}};
    if (::poll(polls, 2, -1) < 0 && errno != EINTR) return;
    if (polls[1].revents != 0) return;
    if (polls[0].revents == 0) continue;
    const ssize_t n = ::read(from, buffer, sizeof buffer);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n <= 0 || !send_all(socket.get(), std::string_view(buffer, static_cast<std::size_t>(n)))) return;
  }
}

}  // namespace

InputPump::InputPump(Fd socket, Fd stop_read, Fd stop_write, int from)
    : stop_write_(std::move(stop_write)),
      thread_([socket = std::move(socket), stop = std::move(stop_read), from] { pump(socket, stop, from); }) {
}

InputPump::~InputPump() {
  stop_write_.reset();  // wakes poll(2) with POLLHUP
  thread_.join();
}

Result<io::Stream> InputPump::start(io::Reactor& reactor, int fd, std::optional<InputPump>& out) {
  int ends[2], stop[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
    return fail_errno(Code::system, "socketpair");
  Fd ours(ends[0]), theirs(ends[1]);
  if (::pipe2(stop, O_CLOEXEC) != 0) return fail_errno(Code::system, "pipe2");
  Fd stop_read(stop[0]), stop_write(stop[1]);
  auto stream = TRY(io::Stream::adopt(reactor, std::move(ours)));
  out.emplace(std::move(theirs), std::move(stop_read), std::move(stop_write), fd);
  return stream;
}

}  // namespace naru::cli
