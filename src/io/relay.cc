// Copying between two streams, for pass-through connections and upgraded ones.
#include <array>

#include "io/socket.h"

namespace naru::io {

namespace {

// One direction. Ends at the end of `from`, passing it on; an error closes both, which ends the other
// direction too.
struct Pump {
  Stream& from;
  Stream& to;
  milliseconds idle;
  MonoTime& last_activity;  // of both directions: one may be silent for hours while the other works
  std::uint64_t count = 0;
  Result<void> outcome{};

  Task<void> run() {
    if (from.is_tls() || to.is_tls())
      outcome = co_await copy();
    else
      outcome = co_await splice();
    if (outcome) co_return to.shutdown_write();
    from.close();
    to.close();
  }

  bool gave_up(const Error& error) const {
    return error.code != Code::timeout || std::chrono::steady_clock::now() - last_activity >= idle;
  }
  void note(std::size_t bytes) {
    count += bytes;
    last_activity = std::chrono::steady_clock::now();
  }

  Task<Result<void>> copy() {
    const auto buffer = std::make_unique<std::array<char, 32768>>();
    while (true) {
      auto n = co_await from.read(*buffer, last_activity + idle);
      if (!n && !gave_up(n.error())) continue;
      if (!n) co_return std::unexpected(std::move(n).error());
      if (*n == 0) co_return Result<void>();
      note(0);
      CO_TRY_VOID(co_await to.write(std::string_view(buffer->data(), *n), last_activity + idle));
      note(*n);
    }
  }

  Task<Result<void>> splice() {
    CO_TRY(SplicePipe pipe, SplicePipe::create());
    while (true) {
      auto n = co_await from.splice_in(pipe, 256 * 1024, last_activity + idle);
      if (!n && !gave_up(n.error())) continue;
      if (!n) co_return std::unexpected(std::move(n).error());
      if (*n == 0) co_return Result<void>();
      note(0);
      while (pipe.filled > 0) {
        CO_TRY(const std::size_t written, co_await to.splice_out(pipe, last_activity + idle));
        note(written);
      }
    }
  }
};

}  // namespace

Task<Result<RelayCount>> relay(Stream& a, Stream& b, milliseconds idle) {
  MonoTime last_activity = std::chrono::steady_clock::now();
  Pump there{a, b, idle, last_activity}, back{b, a, idle, last_activity};
  Both both(there.run(), back.run());
  co_await both;
  for (Pump* pump : {&there, &back})
    if (!pump->outcome && pump->outcome.error().code != Code::cancelled)
      co_return std::unexpected(std::move(pump->outcome).error());
  co_return RelayCount{there.count, back.count};
}

}  // namespace naru::io
