#include "gateway/transfer.h"

#include <poll.h>

#include <array>

namespace naru::gateway {
namespace {

using io::Task;

constexpr std::uint64_t kSpliceFrom = 256 * 1024;  // below, two copies cost less than three system calls
constexpr milliseconds kStopSlice{200}, kAbandonedSlice{1000};

// The next read's deadline: short enough to notice that nobody wants the rest.
io::Deadline slice_end(const Transfer& t, io::Deadline idle_end) {
  if (t.stop != nullptr) return std::min(idle_end, io::after(kStopSlice));
  if (t.abandoned_by != nullptr) return std::min(idle_end, io::after(kAbandonedSlice));
  return idle_end;
}

bool unwanted(const Transfer& t) {
  if (t.stop && *t.stop) return true;
  if (!t.abandoned_by) return false;
  const Peer peer = peer_of(*t.abandoned_by);
  return peer == Peer::gone || (peer == Peer::ended_its_side && t.silent >= t.ended_side);
}

// complete: bytes were read (or, at the end of an until-close body, were not: `ended`).
Task<BodyEnd> fill(Transfer& t, bool& ended) {
  const io::Deadline idle_end = io::after(t.read_idle);
  while (true) {
    if (t.stop && *t.stop) co_return BodyEnd::stopped;
    auto got = co_await t.from->read(t.in->space(), slice_end(t, idle_end));
    if (got && *got > 0) {
      t.in->filled(*got);
      co_return BodyEnd::complete;
    }
    if (got) {
      ended = true;
      co_return BodyEnd::complete;
    }
    if (got.error().code != Code::timeout) co_return BodyEnd::source_cut;
    const io::Deadline now = std::chrono::steady_clock::now();
    t.silent = t.read_idle - std::chrono::duration_cast<milliseconds>(idle_end - now);
    if (unwanted(t)) co_return BodyEnd::stopped;
    if (now >= idle_end) co_return BodyEnd::source_stalled;
  }
}

// One piece of body, in the coding that the receiver gets.
Task<bool> emit(Transfer& t, std::string_view data) {
  if (data.empty()) co_return true;
  t.bytes += data.size();
  if (!t.chunked_out) {
    auto written = co_await t.to->write(data, io::after(t.write_idle));
    co_return written.has_value();
  }
  std::string size;
  http1::append_chunk_size(size, data.size());
  std::array<iovec, 3> parts{iovec{size.data(), size.size()},
                             iovec{const_cast<char*>(data.data()), data.size()},
                             iovec{const_cast<char*>("\r\n"), 2}};
  auto written = co_await t.to->write(std::span<iovec>(parts), io::after(t.write_idle));
  co_return written.has_value();
}

Task<bool> emit_end(Transfer& t) {
  if (!t.chunked_out) co_return true;
  auto written = co_await t.to->write(http1::kLastChunk, io::after(t.write_idle));
  co_return written.has_value();
}

Task<BodyEnd> splice_length(Transfer& t, io::SplicePipe& pipe, std::uint64_t& left) {
  while (left > 0) {
    if (pipe.filled == 0) {
      const auto most = static_cast<std::size_t>(std::min<std::uint64_t>(left, 1 << 20));
      auto got = co_await t.from->splice_in(pipe, most, io::after(t.read_idle));
      if (!got && got.error().code == Code::timeout) co_return BodyEnd::source_stalled;
      if (!got || *got == 0) co_return BodyEnd::source_cut;
    }
    auto put = co_await t.to->splice_out(pipe, io::after(t.write_idle));
    if (!put) co_return BodyEnd::sink_failed;
    left -= *put;
    t.bytes += *put;
  }
  co_return BodyEnd::complete;
}

Task<BodyEnd> copy_length(Transfer& t) {
  std::uint64_t left = t.framing.length;
  while (left > 0) {
    if (t.in->empty()) {
      if (left >= kSpliceFrom && t.pipes && !t.chunked_out && !t.from->is_tls() && !t.to->is_tls() && !t.stop)
        if (auto pipe = t.pipes->take()) {
          const BodyEnd end = co_await splice_length(t, *pipe, left);
          t.pipes->give(std::move(pipe));
          co_return end;
        }
      t.in->expect(left);
      bool ended = false;
      const BodyEnd end = co_await fill(t, ended);
      if (end != BodyEnd::complete) co_return end;
      if (ended) co_return BodyEnd::source_cut;
    }
    const std::string_view data =
        t.in->view().substr(0, static_cast<std::size_t>(std::min<std::uint64_t>(left, t.in->size())));
    if (!co_await emit(t, data)) co_return BodyEnd::sink_failed;
    left -= data.size();
    t.in->consume(data.size());
  }
  co_return co_await emit_end(t) ? BodyEnd::complete : BodyEnd::sink_failed;
}

Task<BodyEnd> copy_chunked(Transfer& t) {
  http1::ChunkDecoder decoder;
  while (true) {
    if (t.in->empty()) {
      bool ended = false;
      const BodyEnd end = co_await fill(t, ended);
      if (end != BodyEnd::complete) co_return end;
      if (ended) co_return BodyEnd::source_cut;
    }
    const http1::ChunkDecoder::Step step = decoder.next(t.in->view());
    if (step.outcome == http1::Outcome::refused) co_return BodyEnd::source_malformed;
    if (!co_await emit(t, step.data)) co_return BodyEnd::sink_failed;
    t.in->consume(step.consumed);
    if (step.outcome == http1::Outcome::complete) break;
  }
  co_return co_await emit_end(t) ? BodyEnd::complete : BodyEnd::sink_failed;
}

Task<BodyEnd> copy_until_close(Transfer& t) {
  while (true) {
    if (!co_await emit(t, t.in->view())) co_return BodyEnd::sink_failed;
    t.in->clear();
    bool ended = false;
    const BodyEnd end = co_await fill(t, ended);
    if (end != BodyEnd::complete) co_return end;
    if (ended) break;
  }
  co_return co_await emit_end(t) ? BodyEnd::complete : BodyEnd::sink_failed;
}

}  // namespace

std::unique_ptr<io::SplicePipe> PipeCache::take() {
  if (!idle_.empty()) {
    auto pipe = std::move(idle_.back());
    idle_.pop_back();
    return pipe;
  }
  auto pipe = io::SplicePipe::create();
  return pipe ? std::make_unique<io::SplicePipe>(std::move(*pipe)) : nullptr;
}

void PipeCache::give(std::unique_ptr<io::SplicePipe> pipe) {
  if (pipe->filled == 0 && idle_.size() < 16) idle_.push_back(std::move(pipe));
}

Task<BodyEnd> run_transfer(Transfer& t) {
  switch (t.framing.kind) {
    case http1::BodyKind::none:
      co_return BodyEnd::complete;
    case http1::BodyKind::length:
      co_return co_await copy_length(t);
    case http1::BodyKind::chunked:
      co_return co_await copy_chunked(t);
    case http1::BodyKind::until_close:
      co_return co_await copy_until_close(t);
  }
  co_return BodyEnd::complete;
}

Peer peer_of(const io::Stream& stream) {
  pollfd one{stream.fd(), POLLRDHUP, 0};
  if (stream.fd() < 0) return Peer::gone;
  if (poll(&one, 1, 0) <= 0) return Peer::here;
  if ((one.revents & (POLLHUP | POLLERR)) != 0) return Peer::gone;
  return (one.revents & POLLRDHUP) != 0 ? Peer::ended_its_side : Peer::here;
}

bool hung_up(const io::Stream& stream) {
  return peer_of(stream) != Peer::here;
}

}  // namespace naru::gateway
