// Streams (TCP, Unix, TLS over either), listeners, datagrams. All non-blocking and close-on-exec. A stream is
// not virtual: reading and writing a plain one is one branch and one system call.
//
// Every operation takes a deadline and is cancelled by close() (from the same thread): Code::timeout,
// Code::cancelled. A reset or broken pipe is Code::closed. One reader and one writer at a time.
#pragma once

#include <sys/uio.h>

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "io/address.h"
#include "io/reactor.h"

namespace naru::io {

class TlsSession;  // tls.h

struct PeerCredentials {  // SO_PEERCRED
  int pid = 0;
  unsigned uid = 0, gid = 0;
};

// A pipe of the kernel for splice(2); reuse it for many copies.
struct SplicePipe {
  Fd read_end, write_end;
  std::size_t filled = 0;  // bytes inside
  static Result<SplicePipe> create();
};

class Stream {
 public:
  Stream();                         // closed
  Stream(Reactor& reactor, Fd fd);  // takes over a connected, non-blocking socket (or pipe end)
  Stream(Stream&&) noexcept;
  Stream& operator=(Stream&&) noexcept;
  ~Stream();

  // Sets O_NONBLOCK and O_CLOEXEC: for descriptors that come from elsewhere.
  static Result<Stream> adopt(Reactor& reactor, Fd fd);

  bool open() const;
  int fd() const;
  Reactor& reactor() const;
  bool is_tls() const { return tls_ != nullptr; }
  TlsSession* tls() const { return tls_.get(); }

  // Closes at once (TLS: without close_notify; call shutdown first). Wakes pending operations with
  // `cancelled`.
  void close();
  Fd release();  // plain streams only

  class ReadOperation;
  class WriteOperation;
  class SpliceOperation;

  // At least one byte, or 0 at the end of the stream. `buffer` must not be empty.
  ReadOperation read(std::span<char> buffer, Deadline deadline = kNever);
  // All of it. The bytes must live until the operation is over.
  WriteOperation write(std::string_view bytes, Deadline deadline = kNever);
  // All of it, gathered; the parts are used up as they are written. At most 1,024 parts.
  WriteOperation write(std::span<iovec> parts, Deadline deadline = kNever);
  // Up to `bytes` from this plain stream into the pipe: how many; 0 at the end of the stream.
  SpliceOperation splice_in(SplicePipe& pipe, std::size_t bytes, Deadline deadline = kNever);
  // At least one byte from the pipe into this plain stream: how many.
  SpliceOperation splice_out(SplicePipe& pipe, Deadline deadline = kNever);
  // Waits until the peer has sent something or has closed; reads nothing. (Idle upstream connections: a
  // readable one is dead.)
  ReadOperation wait_readable(Deadline deadline = kNever);

  // Without waiting: what is there now. nullopt: nothing yet. 0: end.
  Result<std::optional<std::size_t>> try_read(std::span<char> buffer);

  // No more writes from us. TLS sends close_notify first (best effort).
  void shutdown_write();
  // For an answer that must reach a peer that is still sending (a reset would destroy it): shuts down writing
  // and throws away what arrives, for at most `patience` and 1 MiB, then closes (RFC 9112 9.6).
  static Task<void> linger_and_close(Stream stream, milliseconds patience = milliseconds(1000));

  Address local_address() const;
  Address peer_address() const;
  // The address that the client meant before nftables redirected it (SO_ORIGINAL_DST).
  Result<Address> original_destination() const;
  Result<PeerCredentials> peer_credentials() const;  // Unix only
  void set_no_delay(bool on);

 private:
  friend Task<Result<void>> start_tls(Stream& stream, std::unique_ptr<TlsSession> session, Deadline deadline);
  friend Task<Result<Stream>> connect(Reactor& reactor, Address address, Deadline deadline);
  std::unique_ptr<Source> source_;
  std::unique_ptr<TlsSession> tls_;
};

// Client TLS is in tls.h. Tries every address in turn within the deadline. unreachable, timeout
Task<Result<Stream>> connect(Reactor& reactor, Address address, Deadline deadline);
Task<Result<Stream>> connect_any(Reactor& reactor, std::vector<Address> addresses, Deadline deadline);

struct ListenOptions {
  int backlog = 1024;
  bool reuse_port = false;
  unsigned unix_mode = 0600;   // of a Unix socket's file; a stale file (nobody listens) is replaced
  bool transparent_v6 = true;  // an IPv6 wildcard also takes IPv4
};

class Listener {
 public:
  Listener() = default;  // closed
  // A TCP port 0 picks a free one: see address().
  static Result<Listener> listen(Reactor& reactor, const Address& address, ListenOptions options = {});
  // A descriptor that listens already (inherited from the supervisor).
  static Result<Listener> adopt(Reactor& reactor, Fd fd);

  class AcceptOperation;
  AcceptOperation accept(Deadline deadline = kNever);
  Address address() const;
  int fd() const { return source_->fd(); }
  Reactor& reactor() const { return source_->reactor(); }
  bool open() const { return source_ && source_->open(); }
  void close() {
    if (source_) source_->close();
  }

 private:
  explicit Listener(std::unique_ptr<Source> source) : source_(std::move(source)) {}
  std::unique_ptr<Source> source_;
};

// UDP (also connected Unix datagrams).
class DatagramSocket {
 public:
  static Result<DatagramSocket> bind(Reactor& reactor, const Address& address);
  static Result<DatagramSocket> adopt(Reactor& reactor, Fd fd);
  struct Received {
    std::size_t bytes = 0;
    Address from;
  };
  class ReceiveOperation;
  ReceiveOperation receive(std::span<char> buffer, Deadline deadline = kNever);
  // Datagrams are dropped rather than waited for: unavailable when the socket's buffer is full.
  Result<void> send_to(std::string_view bytes, const Address& to);
  Address address() const;
  int fd() const { return source_->fd(); }
  void close() {
    if (source_) source_->close();
  }

 private:
  explicit DatagramSocket(std::unique_ptr<Source> source) : source_(std::move(source)) {}
  std::unique_ptr<Source> source_;
};

// Both directions until both have ended; half-closes are passed on; plain streams are spliced. `idle`:
// silence in both directions that ends it (timeout).
struct RelayCount {
  std::uint64_t a_to_b = 0, b_to_a = 0;
};
Task<Result<RelayCount>> relay(Stream& a, Stream& b, milliseconds idle);

// ---- awaiters
// --------------------------------------------------------------------------------------------------- An
// awaiter keeps no reference to its Stream: a stream may be closed and destroyed (not moved) while it waits.
class Stream::ReadOperation : public Operation {
 public:
  ReadOperation(Source& source, TlsSession* tls, std::span<char> buffer, Attempt attempt, Deadline deadline)
      : Operation(source.reactor(), &source, Direction::read, attempt, deadline),
        tls_(tls),
        buffer_(buffer) {}
  Result<std::size_t> await_resume();

 private:
  friend class Stream;
  static bool attempt_plain(Operation& self);
  static bool attempt_tls(Operation& self);
  static bool attempt_wait(Operation& self);
  TlsSession* tls_;
  std::span<char> buffer_;
  std::string detail_;
};

class Stream::WriteOperation : public Operation {
 public:
  WriteOperation(Source& source, TlsSession* tls, iovec single, std::span<iovec> parts, Attempt attempt,
                 Deadline deadline)
      : Operation(source.reactor(), &source, Direction::write, attempt, deadline),
        tls_(tls),
        single_(single),
        parts_(parts) {}
  Result<void> await_resume();

 private:
  friend class Stream;
  static bool attempt_plain(Operation& self);
  static bool attempt_tls(Operation& self);
  void advance(std::size_t bytes);
  TlsSession* tls_;
  iovec single_;  // when parts_ is empty
  std::span<iovec> parts_;
  std::string detail_;
};

class Stream::SpliceOperation : public Operation {
 public:
  SpliceOperation(Source& source, SplicePipe& pipe, std::size_t bytes, bool in, Deadline deadline)
      : Operation(source.reactor(), &source, in ? Direction::read : Direction::write,
                  &SpliceOperation::attempt, deadline),
        pipe_(pipe),
        bytes_(bytes),
        in_(in) {}
  Result<std::size_t> await_resume();

 private:
  static bool attempt(Operation& self);
  SplicePipe& pipe_;
  std::size_t bytes_;
  bool in_;
};

class Listener::AcceptOperation : public Operation {
 public:
  AcceptOperation(Source& source, Deadline deadline)
      : Operation(source.reactor(), &source, Direction::read, &AcceptOperation::attempt, deadline) {}
  Result<Stream> await_resume();  // busy when out of descriptors (EMFILE): wait a little before trying again

 private:
  static bool attempt(Operation& self);
  Fd accepted_;
};

class DatagramSocket::ReceiveOperation : public Operation {
 public:
  ReceiveOperation(Source& source, std::span<char> buffer, Deadline deadline)
      : Operation(source.reactor(), &source, Direction::read, &ReceiveOperation::attempt, deadline),
        buffer_(buffer) {}
  Result<Received> await_resume();

 private:
  static bool attempt(Operation& self);
  std::span<char> buffer_;
  sockaddr_storage from_{};
  socklen_t from_length_ = 0;
};

inline Listener::AcceptOperation Listener::accept(Deadline deadline) {
  return {*source_, deadline};
}
inline DatagramSocket::ReceiveOperation DatagramSocket::receive(std::span<char> buffer, Deadline deadline) {
  return {*source_, buffer, deadline};
}

}  // namespace naru::io
