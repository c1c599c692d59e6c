// One connection of the HTTP client, and one exchange at a time on it. Private to src/io.
#pragma once

#include "io/http_client.h"

namespace naru::io {

// Which proxy a URL goes through, if any. Pure.
struct ProxyChoice {
  std::string https_proxy, http_proxy, no_proxy;
  static ProxyChoice from(const ClientOptions& options);
  // The proxy's URL, or "".
  const std::string& of(const Url& url) const;
};

class ClientConnection {
 public:
  ClientConnection(std::string key, Stream stream) : key_(std::move(key)), stream_(std::move(stream)) {}

  const std::string& key() const { return key_; }
  Stream& stream() { return stream_; }
  // A pooled connection that has bytes or an end to read is dead.
  bool alive();
  bool reusable() const { return done_ && keep_alive_ && in_.empty() && stream_.open(); }
  bool got_anything() const { return got_anything_; }

  // Sends a head and body, reads the answer's head (and skips 1xx). `total` bounds everything.
  Task<Result<void>> exchange(const FetchRequest& request, std::string head, Deadline total);
  // As Exchange::read.
  Task<Result<std::size_t>> read(std::span<char> buffer, Deadline deadline);

  const http1::ResponseHead& head() const { return head_; }
  Stream take(std::string& pending);

  MonoTime idle_since{};
  bool through_http_proxy = false;  // absolute-form targets

 private:
  Task<Result<void>> send_body(const FetchRequest& request, Deadline total);
  Task<Result<void>> read_head(std::string_view method, milliseconds idle, Deadline total);
  Task<Result<std::size_t>> fill(Deadline deadline);
  Task<Result<std::size_t>> read_chunked(std::span<char> buffer, Deadline deadline);

  std::string key_;
  Stream stream_;
  std::string in_;
  std::string head_bytes_;
  http1::ResponseHead head_;
  http1::ChunkDecoder chunks_;
  std::uint64_t left_ = 0;
  bool done_ = true, keep_alive_ = false, got_anything_ = false;
};

}  // namespace naru::io
