// One run of `git http-backend` (git-http-backend(1), RFC 3875) with its body and answer streamed through
// pipes.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "io/http_server.h"
#include "io/socket.h"

namespace naru::control {

class GitProcess {
 public:
  // The environment is exactly `environment`. Its process group is killed when this is destroyed before it
  // has ended.
  static Result<GitProcess> start(io::Reactor& reactor, const std::vector<std::string>& environment);
  GitProcess(GitProcess&& other) noexcept;
  GitProcess& operator=(GitProcess&&) = delete;
  ~GitProcess();

  io::Stream input, output;

  void terminate();  // and what it started; its temporary files go with it
  // Waits for its end; kills it when it takes longer than `patience`.
  io::Task<void> reap(milliseconds patience);

 private:
  GitProcess(pid_t pid, io::Stream in, io::Stream out)
      : input(std::move(in)), output(std::move(out)), pid_(pid) {}
  pid_t pid_ = 0;
};

// Body to its standard input, its answer to the client, both with back-pressure. A client that goes away in
// the middle of the answer does not stop it. To a push that meets one of `bounds`, a hint is said before
// git's own words.
struct PushBounds {
  std::uint64_t bytes = 0;  // of a pack, as git was told
  std::string folder;       // its disk takes what is pushed
};
io::Task<Result<void>> run_git(io::Request& request, io::ResponseWriter& response,
                               const std::vector<std::string>& environment, const PushBounds& bounds);

}  // namespace naru::control
