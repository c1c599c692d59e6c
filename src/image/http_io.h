// The HTTP port over src/io: HTTPS with the system's CA, HTTPS_PROXY and NO_PROXY from the environment.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "image/ports.h"

namespace naru::io {
class BlockingClient;
}

namespace naru::image {

// Keeps one connection pool for each thread that asks at the same time.
class IoHttp final : public HttpPort {
 public:
  IoHttp();
  ~IoHttp() override;
  Result<HttpAnswer> get(const HttpGet& request, const Sink& sink) override;

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<io::BlockingClient>> idle_;
};

}  // namespace naru::image
