// The second half of HttpSession: what goes back to the client.
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "gateway/http_session.h"

namespace naru::gateway {

using io::Task;

namespace {

// An HTTP/1.0 client takes the end of the connection for the end of the body.
void reset_on_close(const io::Stream& stream) {
  const linger at_once{1, 0};
  setsockopt(stream.fd(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
}

}  // namespace

bool HttpSession::keeps_alive() const {
  return head_.keep_alive && !worker_.draining();
}

Page HttpSession::page_for(Attempt ended) const {
  const std::string& label = now_.to.service->label;
  switch (ended) {
    case Attempt::no_instance:
      return no_instance_page(label);
    case Attempt::connect_failed:
      return unreachable_page(label, "no connection to its instance could be made");
    case Attempt::broken:
      return unreachable_page(label, "its instance closed the connection");
    case Attempt::malformed:
      return unreachable_page(label,
                              "its instance's answer is not HTTP/1.1 (what speaks another protocol says "
                              "app_protocol: tcp at its ports, and is reached by a port)");
    case Attempt::first_byte_timeout:
      return first_byte_page(label, std::chrono::duration_cast<seconds>(bounds().first_byte).count());
    case Attempt::answered:
    case Attempt::gave_up:
    case Attempt::client_fault:
      break;
  }
  return {500, "A fault of the gateway's own."};
}

Task<HttpSession::After> HttpSession::answer_page(Page page) {
  // A body that nobody reads is in the way of the next request.
  const bool close = !keeps_alive() || !now_.body_in_buffer;
  out_ = render_page(page, head_.method == "HEAD", close);
  auto written = co_await client_.write(out_, io::after(bounds().write));
  if (!written) co_return After::close;
  if (!close) co_return After::next_request;
  co_return co_await end_connection();
}

// To close a socket with unread bytes resets it, and what the client has not yet read of its answer is lost
// (RFC 9112 9.6). There are such bytes when it did not want to end here: when the gateway drains, or did not
// read the body.
Task<HttpSession::After> HttpSession::end_connection() {
  int unread = 0;
  const bool more = in_.size() > head_bytes_ || ioctl(client_.fd(), FIONREAD, &unread) != 0 || unread > 0;
  if (more || !now_.body_in_buffer || worker_.draining())
    co_await io::Stream::linger_and_close(std::move(client_), bounds().linger);
  co_return After::close;
}

// Whether the next request may follow on this connection. An instance that sends a body where none may be
// would have it taken for the next answer.
bool HttpSession::reusable(const http1::ResponseHead& head) const {
  if (!head.keep_alive || head.framing.kind == http1::BodyKind::until_close) return false;
  if (head.status == 204) return !head.chunked && head.content_length.value_or(0) == 0;
  return head.status != 304 || !head.chunked;
}

// The client broke off in its body, or that made no sense: its own doing, which counts for nobody. Who has
// only ended its own side reads on.
Task<HttpSession::After> HttpSession::answer_bad_body() {
  co_await join_pump();
  if (!now_.body_started) co_return After::close;
  switch (body_end_) {
    case BodyEnd::source_stalled:
      co_return co_await answer_page(late_page("body"));
    case BodyEnd::source_malformed:
      co_return co_await answer_page(refused_page({400, "its body is not the chunked coding"}));
    case BodyEnd::source_cut:
      co_return co_await answer_page(refused_page({400, "its body was cut short"}));
    case BodyEnd::complete:
    case BodyEnd::sink_failed:
    case BodyEnd::stopped:
      break;
  }
  co_return After::close;
}

Task<HttpSession::After> HttpSession::pass_answer(bool counts) {
  Upstream& upstream = *upstream_;
  const http1::Framing framing = upstream.head.framing;
  const bool length_unknown =
      framing.kind == http1::BodyKind::chunked || framing.kind == http1::BodyKind::until_close;
  const bool chunked = length_unknown && head_.minor_version == 1;
  const bool close = !keeps_alive() || (length_unknown && !chunked);
  const bool events = upstream.head.find("content-type").value_or("").starts_with("text/event-stream");
  const bool keeps = reusable(upstream.head);

  out_.clear();
  append_response_head(out_, {.head = upstream.head,
                              .chunked = chunked,
                              .close = close,
                              .keep_alive_1_0 = !close && head_.minor_version == 0,
                              .new_cookie = now_.assigned.new_cookie});
  // A small body that came with its head leaves with it: one write, as nearly every answer needs.
  std::size_t at_once = 0;
  if (framing.kind == http1::BodyKind::length && framing.length <= upstream.in.size()) {
    at_once = static_cast<std::size_t>(framing.length);
    out_.append(upstream.in.view().substr(0, at_once));
    upstream.in.consume(at_once);
  }
  auto written = co_await client_.write(out_, io::after(bounds().write));
  BodyEnd end = written ? BodyEnd::complete : BodyEnd::sink_failed;
  Transfer body{.from = &upstream.stream,
                .in = &upstream.in,
                .to = &client_,
                .framing = framing,
                .chunked_out = chunked,
                .read_idle = events ? bounds().stream : bounds().response_body,
                .write_idle = bounds().write,
                .abandoned_by = events || head_.keep_alive ? &client_ : nullptr,
                .ended_side = events ? 0ms : bounds().ended_side,
                .pipes = &worker_.pipes()};
  if (written && !(framing.kind == http1::BodyKind::length && framing.length == at_once))
    end = co_await run_transfer(body);
  worker_.telemetry().bytes(upstream_slot_, 0, at_once + body.bytes);

  const std::uint32_t slot = upstream_slot_;
  if (end == BodyEnd::source_cut || end == BodyEnd::source_malformed || end == BodyEnd::source_stalled)
    count_incomplete(slot, counts);
  // Of an answer whose length nobody knows (a stream may be silent for long) a client that leaves says
  // nothing.
  if (counts && end == BodyEnd::stopped && !length_unknown) count_given_up_midway(body.silent);
  co_await join_pump();  // the server answered before it had read everything
  const bool request_whole = now_.body_in_buffer || body_end_ == BodyEnd::complete;
  const bool clean = end == BodyEnd::complete && request_whole && keeps && upstream.in.empty();
  auto keep = clean ? std::move(upstream_) : nullptr;
  drop_upstream();
  if (keep) worker_.upstreams().give_back(std::move(keep));
  if (end != BodyEnd::complete) {  // cut, so that the client sees that it is not whole
    if (length_unknown && !chunked) reset_on_close(client_);
    co_return After::close;
  }
  if (close || !request_whole) co_return co_await end_connection();
  co_return After::next_request;
}

// 101: from here on bytes, both ways.
Task<HttpSession::After> HttpSession::tunnel(bool counts) {
  (void)counts;  // the handshake was counted; how a tunnel ends says nothing
  out_.clear();
  append_response_head(out_,
                       {.head = upstream_->head, .upgrade = true, .new_cookie = now_.assigned.new_cookie});
  out_.append(upstream_->in.view());
  upstream_->in.clear();
  auto written = co_await client_.write(out_, io::after(bounds().write));
  if (!written) co_return After::close;
  const std::string early(in_.view().substr(head_bytes_));
  if (!early.empty()) {
    auto passed = co_await upstream_->stream.write(early, io::after(bounds().write));
    if (!passed) co_return After::close;
  }
  now_.routes.reset();  // a tunnel may last for days: the table need not
  auto relayed = co_await io::relay(client_, upstream_->stream, bounds().stream);
  if (relayed) worker_.telemetry().bytes(upstream_slot_, relayed->a_to_b, relayed->b_to_a);
  co_return After::close;
}

}  // namespace naru::gateway
