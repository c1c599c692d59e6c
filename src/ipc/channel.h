// JSON messages with file descriptors over a Unix stream socket: a four-byte little-endian length, then one
// JSON object of at most kMaxMessage bytes. Descriptors travel beside the bytes (SCM_RIGHTS, unix(7)); the
// object's own key "fds" says how many of them belong to the message (the channel writes and checks it).
//
// One Channel is used by one thread at a time. Two ways of use, not to be mixed within one direction:
//   blocking      send(), receive(): with a deadline
//   non-blocking  queue() + flush() when poll(2) says POLLOUT (wants_write()), read_available() on POLLIN
// Errors: closed (the peer went away), timeout, too_large (a message or the queue is over its bound),
// malformed. After any error but timeout-before-the-first-byte the channel is of no more use: close it.
#pragma once

#include <deque>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/fd.h"
#include "model/json.h"

namespace naru::ipc {

inline constexpr std::size_t kMaxMessage = 16U << 20;  // bytes of JSON
inline constexpr std::size_t kMaxFds = 64;             // in one message
inline constexpr std::size_t kMaxQueued = 32U << 20;   // bytes waiting to be written by flush()

struct Message {
  Json body;
  std::vector<Fd> fds;
};

class Channel {
 public:
  Channel() = default;
  // Takes a connected stream socket, an inherited one too; it becomes non-blocking (all waiting is done by
  // poll(2)) and closed on exec: no program that we start reads along.
  explicit Channel(Fd socket);
  static Result<Channel> connect(const std::string& path);
  static Result<std::pair<Channel, Channel>> pair();

  int fd() const { return socket_.get(); }
  bool valid() const { return socket_.valid(); }
  void close();

  // Blocking. The descriptors are duplicated into the peer; the caller keeps its own.
  Result<void> send(const Json& body, milliseconds timeout, std::span<const int> fds = {});
  Result<Message> receive(milliseconds timeout);

  // Non-blocking. queue() takes the descriptors and closes them once sent.
  Result<void> queue(const Json& body, std::vector<Fd> fds = {});
  Result<void> flush();
  bool wants_write() const { return !outgoing_.empty(); }
  // Everything complete that can be read now (at most a few dozen messages a call; poll again for more).
  // At end of file: the messages that came before it, then closed at the next call.
  Result<std::vector<Message>> read_available();

 private:
  struct Outgoing {
    std::string bytes;
    std::size_t sent = 0;
    std::vector<Fd> fds;
  };
  Result<bool> read_some();  // false: nothing there now
  Result<std::optional<Message>> take_message();
  Result<void> wait(short events, MonoTime deadline, std::string_view doing) const;

  Fd socket_;
  std::string incoming_;
  std::size_t consumed_ = 0;
  std::vector<Fd> incoming_fds_;
  std::deque<Outgoing> outgoing_;
  std::size_t queued_bytes_ = 0;
  bool ended_ = false;
};

// A listening Unix socket at `path` (an old one is replaced), mode 0600 or as given.
Result<Fd> listen_unix(const std::string& path, unsigned mode = 0600);
// Who is at the other end, as the kernel knows it (SO_PEERCRED at connect time).
struct Peer {
  int pid = 0;
  unsigned uid = 0, gid = 0;
};
Result<Peer> peer_of(int socket);

// Errors on the wire: {"code", "context", "errno", "remedy"}.
Json error_to_json(const Error& error);
Error error_from_json(const Json& json);

}  // namespace naru::ipc
