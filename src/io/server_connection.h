// One connection of the HTTP server. Private to src/io.
#pragma once

#include <list>
#include <map>
#include <set>

#include "io/http_server.h"

namespace naru::io {

// One listener, and who came in there.
struct HttpServer::Entrance {
  Entrance(Listener l, ListenerOptions o) : listener(std::move(l)), options(std::move(o)) {}
  struct Handshake {
    ServerConnection* connection = nullptr;
    MonoTime since{};
  };
  Listener listener;
  ListenerOptions options;
  std::size_t connections = 0;
  std::map<std::string, std::size_t> by_peer;  // counted ones only: per_address
  std::list<Handshake> handshakes;             // the oldest first
  std::size_t turned_away = 0;                 // since it was logged
  MonoTime logged{};

  // Whom a client counts as; "": as nobody.
  std::string peer_key(const Address& peer) const;
  bool takes(const std::string& peer_key);  // false: told to the log, now and then
  bool full();                              // may end an old handshake
};

struct HttpServer::State {
  State(Reactor& r, ServerOptions o) : reactor(r), options(std::move(o)), changed(r) {}
  Reactor& reactor;
  ServerOptions options;
  std::vector<std::shared_ptr<Entrance>> entrances;
  std::set<ServerConnection*> connections;
  std::size_t over_tcp = 0;  // of them
  Event changed;             // a connection has ended
  bool stopping = false;
  std::string date;
  std::int64_t date_second = 0;

  const std::string& date_now();
  void close_listeners();
  // With a Unix socket beside TCP ports one part in kUnixPart of all connections is for it alone: who floods
  // the port does not lock out whoever has the machine.
  static constexpr std::size_t kUnixPart = 8;
  bool full(bool tcp) const;
};

class ServerConnection {
 public:
  ServerConnection(std::shared_ptr<HttpServer::State> state, std::shared_ptr<HttpServer::Entrance> entrance,
                   Stream stream);
  ~ServerConnection();
  ServerConnection(const ServerConnection&) = delete;
  ServerConnection& operator=(const ServerConnection&) = delete;

  // The whole life of the connection.
  Task<void> serve();
  void close_if_idle();
  void cut() { stream_.close(); }

 private:
  friend class Request;
  friend class ResponseWriter;
  enum class Next : std::uint8_t { again, close, linger, gone };

  Task<bool> shake_hands();  // false: it is no TLS, and has been told so, or is over
  void forget_handshake();
  Task<void> tell_plain_client();
  Task<Next> serve_one();
  Task<http1::Outcome> read_head(http1::Refusal& refusal);
  bool prepare_request(http1::Refusal& refusal);
  Task<void> run_handler();
  Task<Next> after_handler();
  Task<Next> refuse(http1::Refusal refusal, std::string_view hint = {});  // "": the catalogue's

  // The body, raw and decoded.
  Task<Result<std::size_t>> read_body(std::span<char> buffer);
  Task<Result<std::size_t>> read_length_body(std::span<char> buffer);
  Task<Result<std::size_t>> read_chunked_body(std::span<char> buffer);
  Task<Result<std::size_t>> fill();  // more raw bytes to in_; 0 at the end
  Task<bool> drain_body();
  Result<void> check_limit(std::uint64_t bytes) const;

  Task<Result<void>> write_all(std::string_view bytes);

  std::shared_ptr<HttpServer::State> state_;
  std::shared_ptr<HttpServer::Entrance> entrance_;
  Stream stream_;
  Address peer_;
  std::string peer_key_;
  bool over_unix_ = false, tls_ = false;

  std::string in_;          // received, not yet consumed; always on the heap, so that a swap moves no bytes
  std::string head_bytes_;  // what the views of the present request point into
  http1::RequestHead head_;
  Request request_;
  ResponseWriter response_;

  http1::ChunkDecoder chunks_;
  std::uint64_t body_left_ = 0, body_seen_ = 0;
  bool body_done_ = false, body_failed_ = false, continue_pending_ = false, close_after_ = false;
  bool idle_ = true, served_any_ = false;
};

}  // namespace naru::io
