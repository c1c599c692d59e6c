// GET from one repository of a registry: where it is, its token, redirects, retries. Internal to pull.
#pragma once

#include <mutex>
#include <string>

#include "image/pull.h"

namespace naru::image {

struct Challenge {
  std::string scheme;  // lower case: "bearer", "basic"
  std::map<std::string, std::string> parameters;
};
// WWW-Authenticate (RFC 9110, 11.6.1; one challenge). malformed.
Result<Challenge> parse_challenge(std::string_view header);

// Every byte that is not unreserved as %XX (RFC 3986, 2.3).
std::string percent_encoded(std::string_view text);

class Registry {
 public:
  Registry(HttpPort& http, const format::ImageReference& reference, const PullOptions& options);

  struct Document {
    std::string bytes;
    std::string media_type;     // Content-Type without parameters
    std::string stated_digest;  // Docker-Content-Digest, may be empty
  };
  // `path` below /v2/<repository>/. image_unknown: 404.
  Result<Document> document(const std::string& path, const std::string& accept, std::size_t max_bytes);
  // A blob of exactly `size` bytes into `writer`, which is made anew for each attempt.
  using Begin = std::function<Result<BlobWriter>()>;
  Result<BlobWriter> blob(const Digest& digest, std::uint64_t size, const Begin& begin);

 private:
  struct Outcome {
    HttpAnswer answer;
    std::string problem;  // the beginning of an error's body
  };
  Result<Outcome> get(const std::string& url, const HttpGet& request, const HttpPort::Sink& sink);
  Result<> authenticate(const HttpAnswer& refusal);
  Error refused(const std::string& url, const Outcome& outcome) const;
  template <class Attempt>
  auto with_retries(const Attempt& attempt) -> decltype(attempt());

  HttpPort& http_;
  const PullOptions& options_;
  std::string name_;    // of the image, for errors
  std::string base_;    // "https://registry-1.docker.io"
  std::string prefix_;  // base_ + "/v2/<repository>/"
  std::string scope_;
  std::mutex mutex_;  // guards token_
  std::string token_;
};

}  // namespace naru::image
