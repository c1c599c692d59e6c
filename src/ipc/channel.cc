#include "ipc/channel.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <array>
#include <cstring>

namespace naru::ipc {

namespace {

constexpr std::size_t kHeader = 4;
constexpr std::size_t kReadChunk = 64UL << 10;
constexpr std::size_t kMessagesAtOnce = 64;  // one busy peer must not starve the others of a poll loop

Result<sockaddr_un> address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path)
    return fail(Code::invalid_argument,
                "'{}' is too long for a socket's path (at most {} bytes); choose a shorter data folder", path,
                sizeof address.sun_path - 1);
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

Result<std::string> frame(const Json& body, std::size_t fds) {
  Json copy;
  const Json* out = &body;
  if (fds > 0) {
    if (!body.is_object()) return fail(Code::invalid_argument, "channel: a message must be a JSON object");
    copy = body;
    copy["fds"] = fds;
    out = &copy;
  }
  // Replaces what is not UTF-8 (a path, a container's output) instead of throwing.
  const std::string text = out->dump(-1, ' ', false, Json::error_handler_t::replace);
  if (text.size() > kMaxMessage)
    return fail(Code::too_large, "channel: a message of {} bytes is over the bound of {}", text.size(),
                kMaxMessage);
  std::string bytes(kHeader, '\0');
  for (std::size_t i = 0; i < kHeader; ++i) bytes[i] = static_cast<char>((text.size() >> (8 * i)) & 255);
  return bytes + text;
}

// One sendmsg; 0 when the socket is full.
Result<std::size_t> send_some(int socket, std::string_view bytes, std::span<const int> fds) {
  iovec part{const_cast<char*>(bytes.data()), bytes.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * kMaxFds)> control{};
  if (!fds.empty()) {
    message.msg_control = control.data();
    message.msg_controllen = CMSG_SPACE(sizeof(int) * fds.size());
    cmsghdr* head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof(int) * fds.size());
    std::memcpy(CMSG_DATA(head), fds.data(), sizeof(int) * fds.size());
  }
  while (true) {
    const ssize_t sent = ::sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0) return static_cast<std::size_t>(sent);
    if (errno == EINTR) continue;
    if (errno == EAGAIN || errno == EWOULDBLOCK) return std::size_t{0};
    return fail_errno(errno == EPIPE || errno == ECONNRESET ? Code::closed : Code::system,
                      "channel: sendmsg");
  }
}

}  // namespace

Channel::Channel(Fd socket) : socket_(std::move(socket)) {
  const int flags = ::fcntl(socket_.get(), F_GETFL);
  if (flags >= 0) ::fcntl(socket_.get(), F_SETFL, flags | O_NONBLOCK);
  if (flags >= 0) ::fcntl(socket_.get(), F_SETFD, FD_CLOEXEC);
}

Result<Channel> Channel::connect(const std::string& path) {
  const sockaddr_un address = TRY(address_of(path));
  Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) return fail_errno(Code::system, "channel: socket");
  // Connecting to a Unix socket waits only while its backlog is full.
  while (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    if (errno == EINTR) continue;
    return fail_errno(Code::unavailable, "connect to {}", path);
  }
  return Channel(std::move(socket));
}

Result<std::pair<Channel, Channel>> Channel::pair() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
    return fail_errno(Code::system, "channel: socketpair");
  return std::pair(Channel(Fd(ends[0])), Channel(Fd(ends[1])));
}

void Channel::close() {
  socket_.reset();
  outgoing_.clear();
  incoming_.clear();
  incoming_fds_.clear();
  queued_bytes_ = consumed_ = 0;
}

Result<void> Channel::wait(short events, MonoTime deadline, std::string_view doing) const {
  while (true) {
    const auto left = std::chrono::ceil<milliseconds>(deadline - std::chrono::steady_clock::now()).count();
    if (left <= 0) return fail(Code::timeout, "channel: {} took too long", doing);
    pollfd entry{socket_.get(), events, 0};
    const int ready = ::poll(&entry, 1, static_cast<int>(std::min<std::int64_t>(left, 1'000'000)));
    if (ready > 0) return {};
    if (ready < 0 && errno != EINTR) return fail_errno(Code::system, "channel: poll");
  }
}

Result<void> Channel::send(const Json& body, milliseconds timeout, std::span<const int> fds) {
  if (!valid()) return fail(Code::closed, "channel: closed");
  if (fds.size() > kMaxFds)
    return fail(Code::too_large, "channel: {} descriptors in one message; at most {}", fds.size(), kMaxFds);
  const std::string bytes = TRY(frame(body, fds.size()));
  const MonoTime deadline = std::chrono::steady_clock::now() + timeout;
  std::size_t sent = 0;
  while (sent < bytes.size()) {
    const std::size_t now = TRY(send_some(socket_.get(), std::string_view(bytes).substr(sent),
                                          sent == 0 ? fds : std::span<const int>{}));
    sent += now;
    if (now == 0) TRY(wait(POLLOUT, deadline, "sending"));
  }
  return {};
}

Result<void> Channel::queue(const Json& body, std::vector<Fd> fds) {
  if (!valid()) return fail(Code::closed, "channel: closed");
  if (fds.size() > kMaxFds)
    return fail(Code::too_large, "channel: {} descriptors in one message; at most {}", fds.size(), kMaxFds);
  std::string bytes = TRY(frame(body, fds.size()));
  if (queued_bytes_ + bytes.size() > kMaxQueued)
    return fail(Code::too_large, "channel: the peer does not read: {} bytes wait already (bound {})",
                queued_bytes_, kMaxQueued);
  queued_bytes_ += bytes.size();
  outgoing_.push_back({std::move(bytes), 0, std::move(fds)});
  return {};
}

Result<void> Channel::flush() {
  while (!outgoing_.empty()) {
    Outgoing& first = outgoing_.front();
    std::vector<int> numbers;
    if (first.sent == 0)
      for (const Fd& fd : first.fds) numbers.push_back(fd.get());
    const std::size_t now =
        TRY(send_some(socket_.get(), std::string_view(first.bytes).substr(first.sent), numbers));
    if (now == 0) return {};
    first.sent += now;
    first.fds.clear();
    if (first.sent < first.bytes.size()) continue;
    queued_bytes_ -= first.bytes.size();
    outgoing_.pop_front();
  }
  return {};
}

Result<bool> Channel::read_some() {
  const std::size_t before = incoming_.size();
  incoming_.resize(before + kReadChunk);
  iovec part{incoming_.data() + before, kReadChunk};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * kMaxFds)> control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  ssize_t got = 0;
  do got = ::recvmsg(socket_.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  while (got < 0 && errno == EINTR);
  const int error = errno;
  incoming_.resize(before + static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
  if (got < 0) {
    errno = error;
    if (error == EAGAIN || error == EWOULDBLOCK) return false;
    return fail_errno(error == ECONNRESET ? Code::closed : Code::system, "channel: recvmsg");
  }
  for (cmsghdr* head = CMSG_FIRSTHDR(&message); head != nullptr; head = CMSG_NXTHDR(&message, head)) {
    if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int number = -1;
      std::memcpy(&number, CMSG_DATA(head) + i * sizeof(int), sizeof(int));
      incoming_fds_.emplace_back(number);
    }
  }
  if ((message.msg_flags & MSG_CTRUNC) != 0 || incoming_fds_.size() > 2 * kMaxFds)
    return fail(Code::too_large, "channel: more descriptors than a message may have ({})", kMaxFds);
  if (got == 0) {
    if (incoming_.size() > consumed_)
      return fail(Code::closed, "channel: the peer went away in the middle of a message");
    return fail(Code::closed, "channel: the peer closed the connection");
  }
  return true;
}

Result<std::optional<Message>> Channel::take_message() {
  const std::string_view rest = std::string_view(incoming_).substr(consumed_);
  if (rest.size() < kHeader) return std::nullopt;
  std::size_t length = 0;
  for (std::size_t i = 0; i < kHeader; ++i)
    length |= static_cast<std::size_t>(static_cast<unsigned char>(rest[i])) << (8 * i);
  if (length > kMaxMessage)
    return fail(Code::too_large, "channel: a message of {} bytes is announced; at most {}", length,
                kMaxMessage);
  if (rest.size() < kHeader + length) return std::nullopt;
  Message message;
  message.body = TRY(parse_json(rest.substr(kHeader, length), "channel: a message"));
  if (!message.body.is_object()) return fail(Code::malformed, "channel: a message is not a JSON object");
  consumed_ += kHeader + length;
  if (consumed_ == incoming_.size() || consumed_ > (1U << 20)) {
    incoming_.erase(0, consumed_);
    consumed_ = 0;
  }
  if (const auto fds = message.body.find("fds"); fds != message.body.end()) {
    if (!fds->is_number_unsigned() || fds->get<std::uint64_t>() > incoming_fds_.size())
      return fail(Code::malformed, "channel: a message names descriptors that did not come with it");
    const auto count = static_cast<std::ptrdiff_t>(fds->get<std::uint64_t>());
    std::move(incoming_fds_.begin(), incoming_fds_.begin() + count, std::back_inserter(message.fds));
    incoming_fds_.erase(incoming_fds_.begin(), incoming_fds_.begin() + count);
    message.body.erase("fds");
  }
  return message;
}

Result<Message> Channel::receive(milliseconds timeout) {
  if (!valid()) return fail(Code::closed, "channel: closed");
  const MonoTime deadline = std::chrono::steady_clock::now() + timeout;
  while (true) {
    if (auto message = TRY(take_message())) return std::move(*message);
    if (!TRY(read_some())) TRY(wait(POLLIN, deadline, "waiting for a message"));
  }
}

Result<std::vector<Message>> Channel::read_available() {
  if (!valid()) return fail(Code::closed, "channel: closed");
  std::vector<Message> messages;
  while (messages.size() < kMessagesAtOnce) {
    if (auto message = TRY(take_message())) {
      messages.push_back(std::move(*message));
      continue;
    }
    if (ended_) {
      if (messages.empty()) return fail(Code::closed, "channel: the peer closed the connection");
      break;
    }
    auto more = read_some();
    if (!more) {
      if (more.error().code != Code::closed || messages.empty())
        return std::unexpected(std::move(more).error());
      ended_ = true;
      break;
    }
    if (!*more) break;
  }
  return messages;
}

Result<Fd> listen_unix(const std::string& path, unsigned mode) {
  const sockaddr_un address = TRY(address_of(path));
  Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) return fail_errno(Code::system, "socket for {}", path);
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return fail_errno(Code::system, "unlink {}", path);
  // fchmod before bind is the mode of the socket file (unix(7)): nobody else can connect in between.
  if (::fchmod(socket.get(), mode) != 0) return fail_errno(Code::system, "fchmod of the socket {}", path);
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return fail_errno(Code::system, "bind {}", path);
  if (::chmod(path.c_str(), mode) != 0) return fail_errno(Code::system, "chmod {}", path);
  if (::listen(socket.get(), 128) != 0) return fail_errno(Code::system, "listen on {}", path);
  return socket;
}

Result<Peer> peer_of(int socket) {
  ucred credentials{};
  socklen_t length = sizeof credentials;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0)
    return fail_errno(Code::system, "SO_PEERCRED");
  return Peer{credentials.pid, credentials.uid, credentials.gid};
}

Json error_to_json(const Error& error) {
  return {{"code", code_info(error.code).name},
          {"context", error.context},
          {"errno", error.sys_errno},
          {"remedy", error.remedy}};
}

Error error_from_json(const Json& json) {
  const auto text = [&](const char* key) {
    const auto found = json.is_object() ? json.find(key) : json.end();
    return json.is_object() && found != json.end() && found->is_string() ? found->get<std::string>()
                                                                         : std::string();
  };
  Error error{code_from_name(text("code")).value_or(Code::internal), text("context"), 0, text("remedy")};
  if (json.is_object())
    if (const auto number = json.find("errno"); number != json.end() && number->is_number_integer())
      error.sys_errno = number->get<int>();
  return error;
}

}  // namespace naru::ipc
