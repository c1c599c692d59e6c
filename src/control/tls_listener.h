// Control's listener for other machines: what it shows comes from the supervisor, which reads the files, and
// may be replaced while it serves. Made and served on the reactor's thread; `standing` from any.
#pragma once

#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "io/http_server.h"
#include "ipc/channel.h"

namespace naru::control {

class TlsListener {
 public:
  // Strangers get at most half of control's connections: whoever is on the machine gets in beside any flood.
  static constexpr std::size_t kMostOfConnections = 2;  // one part in so many
  static constexpr std::size_t kPerAddress = 64, kHandshakes = 256;

  struct Standing {
    std::string url;  // "https://naru.example.org:7443", for people; "" when the names are wildcards alone
    std::vector<std::string> names;  // empty before the first certificate
    WallTime not_before{}, not_after{};
    std::string refused;  // why the newest files were not taken, else ""
    // So long before its end it ought to be renewed.
    std::chrono::seconds renewal() const;
  };

  // `listening` and `channel` (ipc/supervisor_protocol.h) are inherited descriptors. system
  static Result<std::unique_ptr<TlsListener>> adopt(io::Reactor& reactor, int listening, int channel);
  // Serves as soon as the supervisor has said something, with at most a part of the server's `connections`;
  // without a certificate connections are closed at once. Both must outlive the reactor's run.
  void serve(io::HttpServer& server, std::size_t connections);
  std::optional<Standing> standing() const;  // none before the supervisor has said anything

 private:
  TlsListener(io::Reactor& reactor, io::Listener listener, io::Stream waiting, ipc::Channel channel);
  io::Task<void> follow(io::HttpServer& server, std::size_t connections);
  bool hear(io::HttpServer& server, std::size_t connections);  // false: it says nothing any more
  void take(const Json& told);
  void refuse(std::string why);

  io::Reactor& reactor_;
  std::optional<io::Listener> listener_;  // until it is served
  std::uint16_t port_ = 0;
  io::Stream waiting_;  // the channel once more, to wait for what comes
  ipc::Channel channel_;
  std::shared_ptr<io::TlsIdentity> identity_ = std::make_shared<io::TlsIdentity>();
  mutable std::mutex mutex_;
  std::optional<Standing> standing_;
};

}  // namespace naru::control
