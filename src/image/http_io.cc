#include "image/http_io.h"

#include "io/http_client.h"

namespace naru::image {

namespace {
constexpr std::size_t kMaxIdle = 8;
}

IoHttp::IoHttp(MayConnect may_connect) : may_connect_(std::move(may_connect)) {}
IoHttp::~IoHttp() = default;

Result<HttpAnswer> IoHttp::get(const HttpGet& request, const Sink& sink) {
  std::unique_ptr<io::BlockingClient> client;
  {
    const std::lock_guard lock(mutex_);
    if (!idle_.empty()) {
      client = std::move(idle_.back());
      idle_.pop_back();
    }
  }
  if (!client) {
    io::ClientOptions options;
    options.may_connect = may_connect_;
    client = TRY(io::BlockingClient::create(std::move(options)));
  }
  HttpAnswer answer;
  io::FetchRequest fetch;
  fetch.url = request.url;
  for (const auto& [name, value] : request.headers) fetch.headers.push_back({name, value});
  fetch.redirects = 0;
  fetch.response_bytes = request.max_body;
  fetch.idle_timeout = request.timeout;
  fetch.total_timeout = request.total_timeout;
  int status = 0;
  fetch.on_head = [&status](int said, const io::Headers&) -> Result<void> {
    status = said;
    return {};
  };
  fetch.on_body = [&](std::string_view bytes) { return sink(status, bytes); };
  const io::Response response = TRY(client->fetch(std::move(fetch)));
  answer.status = response.status;
  for (const auto& header : response.headers) {
    std::string name(header.name);
    std::ranges::transform(name, name.begin(),
                           [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    answer.headers.emplace(std::move(name), header.value);
  }
  const std::lock_guard lock(mutex_);
  if (idle_.size() < kMaxIdle) idle_.push_back(std::move(client));
  return answer;
}

}  // namespace naru::image
