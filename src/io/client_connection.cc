#include "io/client_connection.h"

#include <array>

namespace naru::io {

namespace {
constexpr std::size_t kReadSize = 16 * 1024;
constexpr std::size_t kPiece = 64 * 1024;
Deadline earlier(milliseconds idle, Deadline total) {
  return std::min(after(idle), total);
}
}  // namespace

bool ClientConnection::alive() {
  char byte;
  const auto n = stream_.try_read(std::span(&byte, 1));
  return n && !n->has_value();
}

Task<Result<void>> ClientConnection::exchange(const FetchRequest& request, std::string head, Deadline total) {
  done_ = got_anything_ = false;
  auto sent = co_await stream_.write(head, earlier(request.idle_timeout, total));
  if (sent) sent = co_await send_body(request, total);
  // A server that refuses a body answers and closes before it has read it all: the answer says why.
  if (!sent && sent.error().code != Code::closed) co_return sent;
  const milliseconds patience =
      sent ? request.idle_timeout : std::min<milliseconds>(request.idle_timeout, seconds(2));
  auto answered = co_await read_head(request.method, patience, total);
  if (!answered && !sent) co_return sent;
  if (!sent) keep_alive_ = false;
  co_return answered;
}

Task<Result<void>> ClientConnection::send_body(const FetchRequest& request, Deadline total) {
  std::string_view rest = request.body;
  while (!rest.empty()) {
    const std::string_view piece = rest.substr(0, kPiece);
    CO_TRY_VOID(co_await stream_.write(piece, earlier(request.idle_timeout, total)));
    rest.remove_prefix(piece.size());
  }
  if (!request.body_source && !request.body_stream) co_return Result<void>();
  const auto buffer = std::make_unique<std::array<char, kPiece>>();
  std::uint64_t sent = 0;
  std::string size_line;
  while (true) {
    Result<std::size_t> n = 0;
    if (request.body_source)
      n = request.body_source(*buffer);
    else
      n = co_await request.body_stream(*buffer);
    if (!n) co_return std::unexpected(std::move(n).error());
    if (*n == 0) break;
    sent += *n;
    if (request.body_length && sent > *request.body_length) break;
    const std::string_view data(buffer->data(), *n);
    if (request.body_length) {
      CO_TRY_VOID(co_await stream_.write(data, earlier(request.idle_timeout, total)));
      continue;
    }
    size_line.clear();
    http1::append_chunk_size(size_line, data.size());
    iovec parts[3] = {
        {size_line.data(), size_line.size()}, {buffer->data(), *n}, {const_cast<char*>("\r\n"), 2}};
    CO_TRY_VOID(co_await stream_.write(std::span(parts), earlier(request.idle_timeout, total)));
  }
  if (!request.body_length)
    co_return co_await stream_.write(http1::kLastChunk, earlier(request.idle_timeout, total));
  if (sent != *request.body_length)
    co_return fail(Code::invalid_argument, "the body's source does not give the {} bytes that were announced",
                   *request.body_length);
  co_return Result<void>();
}

Task<Result<std::size_t>> ClientConnection::fill(Deadline deadline) {
  const std::size_t had = in_.size();
  in_.resize(had + kReadSize);
  auto n = co_await stream_.read(std::span(in_).subspan(had), deadline);
  in_.resize(had + n.value_or(0));
  if (n.value_or(0) > 0) got_anything_ = true;
  co_return n;
}

Task<Result<void>> ClientConnection::read_head(std::string_view method, milliseconds idle, Deadline total) {
  std::size_t scanned = 0;
  const Deadline deadline = earlier(idle, total);
  for (int interim = 0; interim < 16;) {
    const http1::Parsed parsed = http1::parse_response(in_, scanned, method, head_);
    if (parsed.outcome == http1::Outcome::refused)
      co_return fail(Code::malformed, "the answer is malformed: {}", parsed.refusal.reason);
    if (parsed.outcome == http1::Outcome::incomplete) {
      CO_TRY(const std::size_t n, co_await fill(deadline));
      if (n == 0) co_return fail(Code::closed, "the server closed the connection before it answered");
      continue;
    }
    if (head_.status < 200 && head_.status != 101) {  // 100 Continue, 103 Early Hints
      in_.erase(0, parsed.consumed);
      scanned = 0;
      ++interim;
      continue;
    }
    if (in_.capacity() < 64) in_.reserve(64);
    head_bytes_ = std::string();
    head_bytes_.reserve(64);
    head_bytes_.swap(in_);  // both on the heap: the views of the head stay valid
    in_.assign(head_bytes_, parsed.consumed);
    keep_alive_ = head_.keep_alive && head_.status != 101;
    left_ = head_.framing.length;
    chunks_ = http1::ChunkDecoder();
    done_ = head_.framing.kind == http1::BodyKind::none;
    co_return Result<void>();
  }
  co_return fail(Code::malformed, "the server sends interim answers without end");
}

Task<Result<std::size_t>> ClientConnection::read_chunked(std::span<char> buffer, Deadline deadline) {
  while (true) {
    const auto step = chunks_.next(std::string_view(in_).substr(0, buffer.size()));
    if (step.outcome == http1::Outcome::refused)
      co_return fail(Code::malformed, "the chunked answer is malformed: {}", step.refusal.reason);
    const std::size_t got = step.data.copy(buffer.data(), step.data.size());
    in_.erase(0, step.consumed);
    done_ = step.outcome == http1::Outcome::complete;
    if (got > 0 || done_) co_return got;
    if (!in_.empty() && step.consumed > 0) continue;
    CO_TRY(const std::size_t n, co_await fill(deadline));
    if (n == 0) co_return fail(Code::closed, "the chunked answer was cut short");
  }
}

Task<Result<std::size_t>> ClientConnection::read(std::span<char> buffer, Deadline deadline) {
  if (done_ || buffer.empty()) co_return 0;
  const http1::BodyKind kind = head_.framing.kind;
  if (kind == http1::BodyKind::chunked) co_return co_await read_chunked(buffer, deadline);
  const bool bounded = kind == http1::BodyKind::length;
  const std::size_t wanted =
      bounded ? static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), left_)) : buffer.size();
  std::size_t got = std::min(wanted, in_.size());
  if (got > 0) {
    in_.copy(buffer.data(), got);
    in_.erase(0, got);
  } else {
    CO_TRY(got, co_await stream_.read(buffer.subspan(0, wanted), deadline));
  }
  if (bounded) {
    if (got == 0)
      co_return fail(Code::closed, "the answer was cut short: {} of {} bytes are missing", left_,
                     head_.framing.length);
    left_ -= got;
    done_ = left_ == 0;
  } else {
    done_ = got == 0;
  }
  co_return got;
}

Stream ClientConnection::take(std::string& pending) {
  pending = std::move(in_);
  keep_alive_ = false;
  done_ = true;
  return std::move(stream_);
}

}  // namespace naru::io
