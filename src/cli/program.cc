#include "cli/program.h"

#include <fcntl.h>
#include <grp.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <charconv>
#include <cstdlib>

#include "base/environment.h"
#include "base/fd.h"
#include "os/process.h"

namespace naru::cli {

namespace {

constexpr std::size_t kMaxOutput = 64 << 10;
constexpr int kNoProgram = 127;

std::optional<unsigned> id_variable(const char* name) {
  const auto text = environment_variable(name);
  if (!text) return std::nullopt;
  unsigned id = 0;
  const char* const last = text->data() + text->size();
  const auto [end, error] = std::from_chars(text->data(), last, id);
  if (error != std::errc() || end != last) return std::nullopt;
  return id;
}

void become_caller_of_sudo() {
  const auto uid = id_variable("SUDO_UID"), gid = id_variable("SUDO_GID");
  if (::geteuid() != 0 || !uid || !gid) return;
  if (::setgroups(0, nullptr) != 0 || ::setgid(*gid) != 0 || ::setuid(*uid) != 0) ::_exit(kNoProgram);
}

// As a file in memory, not a pipe: a program that ends without reading it does no harm.
Result<Fd> as_file(std::string_view input) {
  Fd file(::memfd_create("input", MFD_CLOEXEC));
  if (!file) return fail_errno(Code::system, "memfd_create");
  while (!input.empty()) {
    const ssize_t n = ::write(file.get(), input.data(), input.size());
    if (n <= 0) return fail_errno(Code::system, "memfd: write");
    input.remove_prefix(static_cast<std::size_t>(n));
  }
  if (::lseek(file.get(), 0, SEEK_SET) != 0) return fail_errno(Code::system, "memfd: lseek");
  return file;
}

}  // namespace

Result<ProgramEnd> run_program(const std::vector<std::string>& argv, std::string_view input) {
  std::vector<char*> words;
  for (const std::string& word : argv) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return fail_errno(Code::system, "pipe2");
  const Fd read_end(ends[0]);
  Fd write_end(ends[1]);
  Fd given;
  if (!input.empty()) given = TRY(as_file(input));
  const pid_t child = ::fork();
  if (child < 0) return fail_errno(Code::system, "fork");
  if (child == 0) {
    const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
    ::dup2(given ? given.get() : null, STDIN_FILENO);
    ::dup2(write_end.get(), STDOUT_FILENO);
    ::dup2(null, STDERR_FILENO);
    become_caller_of_sudo();
    ::execvp(words[0], words.data());
    ::_exit(kNoProgram);
  }
  write_end.reset();
  ProgramEnd end;
  char buffer[4096];
  while (true) {
    const ssize_t n = ::read(read_end.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    if (end.output.size() < kMaxOutput) end.output.append(buffer, static_cast<std::size_t>(n));
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  end.status = os::exit_code_of(status);
  if (end.status == kNoProgram)
    return fail(Code::command_not_found, "the program '{}' cannot be run", argv.front());
  return end;
}

}  // namespace naru::cli
