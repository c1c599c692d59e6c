// The HTTP port over src/io: HTTPS with the system's CA, HTTPS_PROXY and NO_PROXY from the environment.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "image/ports.h"

namespace naru::io {
class Address;
class BlockingClient;
struct Url;
}  // namespace naru::io

namespace naru::image {

// Keeps one connection pool for each thread that asks at the same time.
class IoHttp final : public HttpPort {
 public:
  // `may_connect` is asked as io::ClientOptions says; empty: everywhere.
  using MayConnect = std::function<Result<void>(const io::Url& url, const io::Address& address)>;
  explicit IoHttp(MayConnect may_connect = {});
  ~IoHttp() override;
  Result<HttpAnswer> get(const HttpGet& request, const Sink& sink) override;

 private:
  const MayConnect may_connect_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<io::BlockingClient>> idle_;
};

}  // namespace naru::image
