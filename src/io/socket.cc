#include "io/socket.h"

#include <fcntl.h>
#include <linux/netfilter_ipv4.h>
#include <netinet/tcp.h>
#include <sys/stat.h>

#include <cerrno>

#include "io/tls.h"

namespace naru::io {

namespace {

// What went wrong with a stream; `detail` is TLS's own word.
std::unexpected<Error> stream_error(std::string_view doing, std::int64_t result, const std::string& detail) {
  const int number = static_cast<int>(-result);
  switch (number) {
    case ETIMEDOUT:
      return fail(Code::timeout, "{}: timed out", doing);
    case ECANCELED:
      return fail(Code::cancelled, "{}: the connection was closed on this side", doing);
    case ECONNRESET:
      return fail(Code::closed, "{}: the peer reset the connection", doing);
    case EPIPE:
      return fail(Code::closed, "{}: the peer has closed the connection", doing);
    case EPROTO:
      return fail(Code::tls_failure, "{}: {}", doing, detail);
    default:
      errno = number;
      return fail_errno(Code::system, "{}", doing);
  }
}

// -errno or the count; -EAGAIN to wait.
template <class Call>
std::int64_t retry(Call call) {
  while (true) {
    const auto returned = call();
    if (returned >= 0) return returned;
    if (errno != EINTR) return -errno;
  }
}

void set_option(int fd, int level, int name, int value) {
  ::setsockopt(fd, level, name, &value, sizeof value);
}

Result<void> make_non_blocking(int fd) {
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0 || ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 || ::fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
    return fail_errno(Code::system, "fcntl(descriptor {})", fd);
  return {};
}

Address name_of(int fd, int (*get)(int, sockaddr*, socklen_t*)) {
  sockaddr_storage raw{};
  socklen_t length = sizeof raw;
  if (fd < 0 || get(fd, reinterpret_cast<sockaddr*>(&raw), &length) != 0) return {};
  return Address::from(reinterpret_cast<sockaddr*>(&raw), length);
}

}  // namespace

Result<SplicePipe> SplicePipe::create() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) return fail_errno(Code::system, "pipe2");
  return SplicePipe{Fd(ends[0]), Fd(ends[1]), 0};
}

// ---- Stream
// -----------------------------------------------------------------------------------------------------

Stream::Stream() = default;
Stream::Stream(Reactor& reactor, Fd fd) : source_(std::make_unique<Source>(reactor, std::move(fd))) {}
Stream::Stream(Stream&&) noexcept = default;
Stream& Stream::operator=(Stream&& other) noexcept {
  if (this == &other) return *this;
  source_ =
      std::move(other.source_);  // closes: cancels what waits on the old one before its TLS session goes
  tls_ = std::move(other.tls_);
  return *this;
}
Stream::~Stream() {
  source_.reset();
}

Result<Stream> Stream::adopt(Reactor& reactor, Fd fd) {
  TRY(make_non_blocking(fd.get()));
  return Stream(reactor, std::move(fd));
}

bool Stream::open() const {
  return source_ && source_->open();
}
int Stream::fd() const {
  return source_ ? source_->fd() : -1;
}
Reactor& Stream::reactor() const {
  return source_->reactor();
}
void Stream::close() {
  if (source_) source_->close();
}
Fd Stream::release() {
  assert(!tls_);
  return source_ ? source_->release() : Fd();
}

Stream::ReadOperation Stream::read(std::span<char> buffer, Deadline deadline) {
  return {*source_, tls_.get(), buffer, tls_ ? &ReadOperation::attempt_tls : &ReadOperation::attempt_plain,
          deadline};
}
Stream::ReadOperation Stream::wait_readable(Deadline deadline) {
  return {*source_, tls_.get(), {}, &ReadOperation::attempt_wait, deadline};
}
Stream::WriteOperation Stream::write(std::string_view bytes, Deadline deadline) {
  const iovec single{const_cast<char*>(bytes.data()), bytes.size()};
  return {
      *source_, tls_.get(), single, {}, tls_ ? &WriteOperation::attempt_tls : &WriteOperation::attempt_plain,
      deadline};
}
Stream::WriteOperation Stream::write(std::span<iovec> parts, Deadline deadline) {
  return {
      *source_, tls_.get(), {}, parts, tls_ ? &WriteOperation::attempt_tls : &WriteOperation::attempt_plain,
      deadline};
}
Stream::SpliceOperation Stream::splice_in(SplicePipe& pipe, std::size_t bytes, Deadline deadline) {
  return {*source_, pipe, bytes, true, deadline};
}
Stream::SpliceOperation Stream::splice_out(SplicePipe& pipe, Deadline deadline) {
  return {*source_, pipe, pipe.filled, false, deadline};
}

bool Stream::ReadOperation::attempt_plain(Operation& operation) {
  auto& self = static_cast<ReadOperation&>(operation);
  self.result_ = retry([&] { return ::read(self.source_->fd(), self.buffer_.data(), self.buffer_.size()); });
  return self.result_ != -EAGAIN;
}

bool Stream::ReadOperation::attempt_tls(Operation& operation) {
  auto& self = static_cast<ReadOperation&>(operation);
  self.result_ = self.tls_->read(self.buffer_.data(), self.buffer_.size());
  if (self.result_ == -EPROTO) self.detail_ = self.tls_->last_error();
  return self.result_ != -EAGAIN;
}

bool Stream::ReadOperation::attempt_wait(Operation& operation) {
  auto& self = static_cast<ReadOperation&>(operation);
  char byte;
  self.result_ = retry([&] { return ::recv(self.source_->fd(), &byte, 1, MSG_PEEK); });
  return self.result_ != -EAGAIN;
}

Result<std::size_t> Stream::ReadOperation::await_resume() {
  if (result_ < 0) return stream_error("reading", result_, detail_);
  return static_cast<std::size_t>(result_);
}

void Stream::WriteOperation::advance(std::size_t bytes) {
  while (bytes > 0 || (!parts_.empty() && parts_.front().iov_len == 0)) {
    iovec& part = parts_.front();
    const std::size_t taken = std::min(bytes, part.iov_len);
    part.iov_base = static_cast<char*>(part.iov_base) + taken;
    part.iov_len -= taken;
    bytes -= taken;
    if (part.iov_len == 0) parts_ = parts_.subspan(1);
  }
}

bool Stream::WriteOperation::attempt_plain(Operation& operation) {
  auto& self = static_cast<WriteOperation&>(operation);
  if (self.single_.iov_base != nullptr) self.parts_ = {&self.single_, 1};
  self.advance(0);
  while (!self.parts_.empty()) {
    const int fd = self.source_->fd();
    const auto& first = self.parts_.front();
    const int count = static_cast<int>(std::min<std::size_t>(self.parts_.size(), 1024));
    self.result_ = retry([&] {
      return count == 1 ? ::write(fd, first.iov_base, first.iov_len)
                        : ::writev(fd, self.parts_.data(), count);
    });
    if (self.result_ < 0) return self.result_ != -EAGAIN;
    self.advance(static_cast<std::size_t>(self.result_));
  }
  self.result_ = 0;
  return true;
}

namespace {

constexpr std::size_t kTlsRecord = 16 << 10;

// Small parts go as one record, hence as one packet. Tried again it is the same bytes, as SSL_write(3) wants.
std::int64_t write_gathered(TlsSession& tls, std::span<const iovec> parts) {
  std::string record;
  for (const iovec& part : parts) {
    record.append(static_cast<const char*>(part.iov_base),
                  std::min(part.iov_len, kTlsRecord - record.size()));
    if (record.size() == kTlsRecord) break;
  }
  return tls.write(record.data(), record.size());
}

}  // namespace

bool Stream::WriteOperation::attempt_tls(Operation& operation) {
  auto& self = static_cast<WriteOperation&>(operation);
  if (self.single_.iov_base != nullptr) self.parts_ = {&self.single_, 1};
  self.advance(0);
  while (!self.parts_.empty()) {
    const iovec& first = self.parts_.front();
    if (self.parts_.size() > 1 && first.iov_len < kTlsRecord)
      self.result_ = write_gathered(*self.tls_, self.parts_);
    else
      self.result_ = self.tls_->write(static_cast<const char*>(first.iov_base), first.iov_len);
    if (self.result_ == -EPROTO) self.detail_ = self.tls_->last_error();
    if (self.result_ < 0) return self.result_ != -EAGAIN;
    self.advance(static_cast<std::size_t>(self.result_));
  }
  self.result_ = 0;
  return true;
}

Result<void> Stream::WriteOperation::await_resume() {
  if (result_ < 0) return stream_error("writing", result_, detail_);
  return {};
}

bool Stream::SpliceOperation::attempt(Operation& operation) {
  auto& self = static_cast<SpliceOperation&>(operation);
  constexpr unsigned kFlags = SPLICE_F_NONBLOCK | SPLICE_F_MOVE;
  const int fd = self.source_->fd();
  self.result_ = retry([&] {
    return self.in_ ? ::splice(fd, nullptr, self.pipe_.write_end.get(), nullptr, self.bytes_, kFlags)
                    : ::splice(self.pipe_.read_end.get(), nullptr, fd, nullptr, self.bytes_, kFlags);
  });
  if (self.result_ > 0 && self.in_) self.pipe_.filled += static_cast<std::size_t>(self.result_);
  if (self.result_ > 0 && !self.in_) self.pipe_.filled -= static_cast<std::size_t>(self.result_);
  return self.result_ != -EAGAIN;
}

Result<std::size_t> Stream::SpliceOperation::await_resume() {
  if (result_ < 0) return stream_error("splicing", result_, {});
  return static_cast<std::size_t>(result_);
}

Result<std::optional<std::size_t>> Stream::try_read(std::span<char> buffer) {
  if (!open()) return stream_error("reading", -ECANCELED, {});
  const std::int64_t result = tls_ ? tls_->read(buffer.data(), buffer.size())
                                   : retry([&] { return ::read(fd(), buffer.data(), buffer.size()); });
  if (result == -EAGAIN) return std::nullopt;
  if (result < 0) return stream_error("reading", result, tls_ ? tls_->last_error() : std::string());
  return static_cast<std::size_t>(result);
}

void Stream::shutdown_write() {
  if (!open()) return;
  if (tls_) tls_->send_close_notify();
  ::shutdown(fd(), SHUT_WR);
}

Task<void> Stream::linger_and_close(Stream stream, milliseconds patience) {
  if (!stream.open()) co_return;
  stream.shutdown_write();
  const Deadline deadline = after(patience);
  const auto scrap = std::make_unique<std::array<char, 16384>>();
  for (std::size_t thrown_away = 0; thrown_away < (1u << 20);) {
    const auto n = co_await stream.read(*scrap, deadline);
    if (!n || *n == 0) break;
    thrown_away += *n;
  }
}

Address Stream::local_address() const {
  return name_of(fd(), &::getsockname);
}
Address Stream::peer_address() const {
  return name_of(fd(), &::getpeername);
}

Result<Address> Stream::original_destination() const {
  sockaddr_storage raw{};
  socklen_t length = sizeof raw;
  const bool v6 = local_address().family() == AF_INET6;
  if (::getsockopt(fd(), v6 ? SOL_IPV6 : SOL_IP, SO_ORIGINAL_DST, &raw, &length) != 0)
    return fail_errno(Code::system, "getsockopt(SO_ORIGINAL_DST)");
  return Address::from(reinterpret_cast<sockaddr*>(&raw), length);
}

Result<PeerCredentials> Stream::peer_credentials() const {
  ucred raw{};
  socklen_t length = sizeof raw;
  if (local_address().family() != AF_UNIX)
    return fail(Code::unsupported, "only a Unix socket knows its peer's user");
  if (::getsockopt(fd(), SOL_SOCKET, SO_PEERCRED, &raw, &length) != 0)
    return fail_errno(Code::system, "getsockopt(SO_PEERCRED)");
  return PeerCredentials{raw.pid, raw.uid, raw.gid};
}

void Stream::set_no_delay(bool on) {
  set_option(fd(), IPPROTO_TCP, TCP_NODELAY, on ? 1 : 0);
}

// ---- connecting
// -------------------------------------------------------------------------------------------------

namespace {

class ConnectOperation : public Operation {
 public:
  ConnectOperation(Source& source, const Address& address, Deadline deadline)
      : Operation(source.reactor(), &source, Direction::write, &ConnectOperation::attempt, deadline),
        address_(address) {}
  std::int64_t await_resume() const { return result_; }

 private:
  // connect(2) again on a socket that is connecting tells how far it is.
  static bool attempt(Operation& operation) {
    auto& self = static_cast<ConnectOperation&>(operation);
    self.result_ =
        ::connect(self.source_->fd(), self.address_.raw(), self.address_.length()) == 0 ? 0 : -errno;
    if (self.result_ == -EISCONN) self.result_ = 0;
    return self.result_ != -EINPROGRESS && self.result_ != -EALREADY && self.result_ != -EINTR;
  }
  const Address& address_;
};

}  // namespace

Task<Result<Stream>> connect(Reactor& reactor, Address address, Deadline deadline) {
  while (true) {
    Fd fd(::socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!fd) co_return fail_errno(Code::system, "socket");
    if (address.family() != AF_UNIX) set_option(fd.get(), IPPROTO_TCP, TCP_NODELAY, 1);
    Stream stream(reactor, std::move(fd));
    const std::int64_t result = co_await ConnectOperation(*stream.source_, address, deadline);
    if (result == 0) co_return std::move(stream);
    if (result == -ETIMEDOUT) co_return fail(Code::timeout, "connecting to {}: timed out", address.text());
    if (result == -EAGAIN && std::chrono::steady_clock::now() < deadline) {
      // A Unix listener's backlog is full; the kernel gives no event for it to have room again.
      co_await sleep(reactor, milliseconds(5));
      continue;
    }
    errno = static_cast<int>(-result);
    co_return fail_errno(Code::unreachable, "connecting to {}", address.text());
  }
}

Task<Result<Stream>> connect_any(Reactor& reactor, std::vector<Address> addresses, Deadline deadline) {
  Result<Stream> last = fail(Code::unreachable, "there is no address to connect to");
  for (std::size_t i = 0; i < addresses.size(); ++i) {
    // What is left is shared, so that one silent address does not use up everything.
    const auto now = std::chrono::steady_clock::now();
    Deadline until = deadline;
    if (deadline != kNever && deadline > now)
      until = now + (deadline - now) / static_cast<int>(addresses.size() - i);
    last = co_await connect(reactor, addresses[i], until);
    if (last) break;
  }
  co_return last;
}

// ---- Listener
// ---------------------------------------------------------------------------------------------------

namespace {

// A socket file that nobody listens on any more (the process was killed) is in the way of bind(2).
void remove_stale(const Address& address) {
  if (address.text().starts_with("unix:@")) return;
  Fd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (::connect(probe.get(), address.raw(), address.length()) != 0 && errno == ECONNREFUSED)
    ::unlink(address.text().c_str() + 5);
}

}  // namespace

Result<Listener> Listener::listen(Reactor& reactor, const Address& address, ListenOptions options) {
  Fd fd(::socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return fail_errno(Code::system, "socket");
  const bool local = address.family() == AF_UNIX;
  if (!local) {
    set_option(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1);
    set_option(fd.get(), IPPROTO_TCP, TCP_NODELAY, 1);  // accepted sockets inherit it
    if (options.reuse_port) set_option(fd.get(), SOL_SOCKET, SO_REUSEPORT, 1);
    if (address.family() == AF_INET6)
      set_option(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, options.transparent_v6 ? 0 : 1);
  } else {
    remove_stale(address);
    ::fchmod(fd.get(),
             options.unix_mode);  // Linux: the file is made with these bits, never wider for a moment
  }
  if (::bind(fd.get(), address.raw(), address.length()) != 0)
    return fail_errno(errno == EADDRINUSE ? Code::already_exists : Code::system, "listening on {}",
                      address.text());
  if (local && !address.text().starts_with("unix:@") &&
      ::chmod(address.text().c_str() + 5, options.unix_mode) != 0)
    return fail_errno(Code::system, "chmod({})", address.text());
  if (::listen(fd.get(), options.backlog) != 0)
    return fail_errno(errno == EADDRINUSE ? Code::already_exists : Code::system, "listening on {}",
                      address.text());
  return Listener(std::make_unique<Source>(reactor, std::move(fd)));
}

Result<Listener> Listener::adopt(Reactor& reactor, Fd fd) {
  TRY(make_non_blocking(fd.get()));
  return Listener(std::make_unique<Source>(reactor, std::move(fd)));
}

Address Listener::address() const {
  return name_of(source_ ? source_->fd() : -1, &::getsockname);
}

bool Listener::AcceptOperation::attempt(Operation& operation) {
  auto& self = static_cast<AcceptOperation&>(operation);
  do {
    self.result_ =
        retry([&] { return ::accept4(self.source_->fd(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC); });
  } while (self.result_ == -ECONNABORTED || self.result_ == -EPROTO);
  if (self.result_ >= 0) self.accepted_ = Fd(static_cast<int>(self.result_));
  return self.result_ != -EAGAIN;
}

Result<Stream> Listener::AcceptOperation::await_resume() {
  if (accepted_) return Stream(*reactor_, std::move(accepted_));
  if (result_ == -EMFILE || result_ == -ENFILE || result_ == -ENOBUFS || result_ == -ENOMEM)
    return fail(Code::busy, "accepting a connection: out of descriptors or memory");
  return stream_error("accepting a connection", result_, {});
}

// ---- DatagramSocket
// ---------------------------------------------------------------------------------------------

Result<DatagramSocket> DatagramSocket::bind(Reactor& reactor, const Address& address) {
  Fd fd(::socket(address.family(), SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return fail_errno(Code::system, "socket");
  if (::bind(fd.get(), address.raw(), address.length()) != 0)
    return fail_errno(Code::system, "binding {}", address.text());
  return DatagramSocket(std::make_unique<Source>(reactor, std::move(fd)));
}

Result<DatagramSocket> DatagramSocket::adopt(Reactor& reactor, Fd fd) {
  TRY(make_non_blocking(fd.get()));
  return DatagramSocket(std::make_unique<Source>(reactor, std::move(fd)));
}

Result<void> DatagramSocket::send_to(std::string_view bytes, const Address& to) {
  const auto sent =
      retry([&] { return ::sendto(fd(), bytes.data(), bytes.size(), MSG_NOSIGNAL, to.raw(), to.length()); });
  if (sent == -EAGAIN || sent == -ENOBUFS)
    return fail(Code::unavailable, "the datagram for {} was dropped: the buffer is full", to.text());
  if (sent >= 0) return {};
  errno = static_cast<int>(-sent);
  return fail_errno(Code::system, "sending a datagram to {}", to.text());
}

Address DatagramSocket::address() const {
  return name_of(source_->fd(), &::getsockname);
}

bool DatagramSocket::ReceiveOperation::attempt(Operation& operation) {
  auto& self = static_cast<ReceiveOperation&>(operation);
  self.from_length_ = sizeof self.from_;
  self.result_ = retry([&] {
    return ::recvfrom(self.source_->fd(), self.buffer_.data(), self.buffer_.size(), 0,
                      reinterpret_cast<sockaddr*>(&self.from_), &self.from_length_);
  });
  return self.result_ != -EAGAIN;
}

Result<DatagramSocket::Received> DatagramSocket::ReceiveOperation::await_resume() {
  if (result_ < 0) return stream_error("receiving a datagram", result_, {});
  return Received{static_cast<std::size_t>(result_),
                  Address::from(reinterpret_cast<const sockaddr*>(&from_), from_length_)};
}

}  // namespace naru::io
