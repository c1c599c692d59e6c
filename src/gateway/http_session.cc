#include "gateway/http_session.h"

#include <array>

#include "gateway/callers.h"

namespace naru::gateway {
namespace {

using io::Task;

constexpr std::size_t kMostKnown = 20;  // host names on the page of one that is not
constexpr milliseconds kKeepBuffer{2'000};
constexpr int kInformational = 32;  // answers of 1xx before the one that counts

std::uint64_t microseconds_between(MonoTime from, MonoTime to) {
  return static_cast<std::uint64_t>(
      std::max<std::int64_t>(0, std::chrono::duration_cast<microseconds>(to - from).count()));
}

ipc::Side telemetry_side(route::Side side) {
  return side == route::Side::canary ? ipc::Side::canary : ipc::Side::stable;
}

ipc::Outcome outcome_of(int status) {
  const int group = std::clamp(status / 100, 1, 5);
  return static_cast<ipc::Outcome>(group - 1);
}

bool safe_method(std::string_view method) {
  return method == "GET" || method == "HEAD" || method == "OPTIONS";
}

bool idempotent_method(std::string_view method) {
  return safe_method(method) || method == "PUT" || method == "DELETE" || method == "TRACE";
}

}  // namespace

Destination destination_of(const route::Snapshot& routes, const Arrival& arrival) {
  if (arrival.origin->kind == ListenerKind::inner) {
    const route::Environment* environment = routes.by_network(arrival.origin->network);
    if (!environment) return {};
    return {environment, environment->by_virtual_address(arrival.virtual_address), arrival.virtual_port};
  }
  const route::HostPort* port = routes.by_listener(arrival.origin->listener);
  return port ? Destination{port->environment, port->service, port->port} : Destination{};
}

// ---- reading requests

Task<void> HttpSession::run(std::shared_ptr<HttpSession> self, std::string early) {
  self->client_.set_no_delay(true);
  if (!early.empty()) self->in_.append(early);
  early = {};
  while (true) {
    if (!co_await self->read_head()) break;
    const After after = co_await self->serve_request();
    co_await self->join_pump();
    self->drop_upstream();
    self->now_ = Current{};
    if (after == After::close) break;
  }
}

// False: the connection is over (whatever was to be said was said).
Task<bool> HttpSession::read_head() {
  std::size_t scanned = 0;
  const http1::Limits limits;
  io::Deadline deadline = io::after(in_.empty() ? bounds().client_idle : bounds().head);
  while (true) {
    if (!in_.empty()) {
      const http1::Parsed parsed = http1::parse_request(in_.view(), scanned, head_, limits);
      if (parsed.outcome == http1::Outcome::complete) {
        head_bytes_ = parsed.consumed;
        co_return true;
      }
      if (parsed.outcome == http1::Outcome::refused) {
        worker_.shared().refused.fetch_add(1, std::memory_order_relaxed);
        const std::string page = render_page(refused_page(parsed.refusal), false, true);
        auto written = co_await client_.write(page, io::after(bounds().write));
        if (written) co_await io::Stream::linger_and_close(std::move(client_), bounds().linger);
        co_return false;
      }
    }
    const bool first = in_.empty();
    const std::span<char> space = in_.space(limits.head_bytes + Buffer::kBlock);
    if (space.empty()) co_return false;  // cannot be: the parser refuses at its own bound before
    auto got = co_await client_.read(space, first ? std::min(deadline, io::after(kKeepBuffer)) : deadline);
    if (!got && got.error().code == Code::timeout && first) {
      in_.release_if_empty();  // connections that only wait cost no buffers
      auto ready = co_await client_.wait_readable(deadline);
      if (!ready) co_return false;
      continue;
    }
    if (first) deadline = io::after(bounds().head);
    if (!got && got.error().code == Code::timeout) {
      const std::string page = render_page(late_page("head"), false, true);
      auto written = co_await client_.write(page, io::after(bounds().write));
      if (written) co_await io::Stream::linger_and_close(std::move(client_), bounds().linger);
      co_return false;
    }
    if (!got || *got == 0) co_return false;
    in_.filled(*got);
  }
}

Task<HttpSession::After> HttpSession::serve_request() {
  now_.started = std::chrono::steady_clock::now();
  worker_.retries().request();
  // What follows the head in the buffer is body, as far as there is one, then the next request. The head's
  // views stay valid: the buffer is not read into before the request is over.
  const std::size_t behind = in_.size() - head_bytes_;
  const http1::Framing& framing = head_.framing;
  now_.body_in_buffer = framing.kind == http1::BodyKind::none ||
                        (framing.kind == http1::BodyKind::length && framing.length <= behind);
  body_in_.clear();
  if (!now_.body_in_buffer) body_in_.append(in_.view().substr(head_bytes_));

  const auto settle = [this, &framing, behind] {
    const bool framed = now_.body_in_buffer && framing.kind == http1::BodyKind::length;
    if (now_.body_in_buffer)
      return in_.consume(head_bytes_ + (framed ? static_cast<std::size_t>(framing.length) : 0));
    in_.consume(head_bytes_ + behind);
    in_.append(body_in_.view());  // the next request, read together with the end of the body
  };

  std::optional<Page> page = locate();
  if (!page && now_.to.service->hold) page = co_await wait_for_instances();
  After after = After::close;
  if (page) {
    if (page->status == 0) co_return After::close;  // the client left while it waited
    after = co_await answer_page(std::move(*page));
  } else {
    assign();
    // At the connection's beginning it might for one of the two releases, or did before the last table.
    if (!may_call(*now_.to.environment, arrival_, *now_.to.service, now_.assigned.side)) {
      refuse_call(worker_, arrival_, now_.to, client_);
      co_return After::close;
    }
    after = co_await forward();
  }
  if (after == After::next_request) settle();
  co_return after;
}

// ---- finding out where to

std::optional<Page> HttpSession::locate() {
  now_.routes = worker_.routes();
  now_.to = {};
  if (!now_.routes) return Page{503, "The gateway has no routes yet. Try again in a moment.", 1};
  if (head_.method == "CONNECT") return Page{501, "CONNECT is not supported: this is no forward proxy."};
  if (arrival_.origin->kind == ListenerKind::http) {
    const route::Service* service = now_.routes->by_host(head_.authority);
    if (!service) return unknown_host();
    now_.to = {service->environment, service, service->http_port()};
    if (now_.to.port == 0)
      return Page{404,
                  fmt::format("{} names no port that may speak HTTP. One that does says `app_protocol: http` "
                              "in the compose file.",
                              service->label)};
  } else {
    now_.to = destination_of(*now_.routes, arrival_);
    if (!now_.to.service) return Page{503, "Nothing serves this address at present. See `naru status`.", 1};
  }
  return std::nullopt;
}

// What runs here is nobody's business who comes over the network.
Page HttpSession::unknown_host() const {
  const Visitor visitor = visitor_of(head_, arrival_.client_ip, arrival_.from_here);
  if (!asks_from_here(head_, visitor, arrival_.from_here)) return unknown_host_page(head_.authority);
  return unknown_host_page(head_.authority, now_.routes->hosts(kMostKnown), visitor.https);
}

// Until the table says that there are instances. Status 0: the client went away.
Task<std::optional<Page>> HttpSession::wait_for_instances() {
  const io::Deadline end = io::after(bounds().hold);
  Worker::Hold hold(worker_, in_.size());
  if (!hold.admitted()) co_return hold_full_page(now_.to.service->label, bounds());
  while (now_.to.service->hold) {
    if (co_await client_left()) co_return Page{0, {}, 0};
    if (std::chrono::steady_clock::now() >= end) co_return no_instance_page(now_.to.service->label);
    co_await hold.wait(250ms);
    std::optional<Page> page = locate();
    if (page) co_return page;
  }
  co_return std::nullopt;
}

void HttpSession::assign() {
  const route::Environment& environment = *now_.to.environment;
  if (arrival_.edge) {
    now_.visitor = visitor_of(head_, arrival_.client_ip, arrival_.from_here);
    now_.assigned =
        assign_edge(environment, now_.routes->user_ids(), head_, now_.visitor.ip, SystemClock().wall());
  } else {
    const route::CallerView caller = environment.caller(arrival_.client_address);
    now_.assigned = assign_inner(environment, head_, caller, arrival_.draw);
    if (environment.split && caller.service && now_.to.service->canary)
      worker_.telemetry().inner_call(caller.service->stable.slot, now_.assigned.split_by_connection);
  }
  if (environment.split && now_.assigned.evidence) {
    now_.evidence = evidence_of(*environment.split);
    now_.slow_us = environment.split->slow_us;
  }
  now_.trace = trace_of(head_, worker_.rng());
  now_.tunnel = wants_tunnel(head_);
}

// Whoever has ended its side has left, or reads on: only what is sent tells. Who reads on passes over an
// interim answer (RFC 9110 15.2); a closed socket answers it with a reset, which the next look sees. HTTP/1.0
// knows none: there, who did not say that this is the last request has left.
Task<bool> HttpSession::client_left() {
  const Peer peer = peer_of(client_);
  if (peer != Peer::ended_its_side) co_return peer == Peer::gone;
  if (head_.minor_version == 0) co_return head_.keep_alive;
  if (std::exchange(now_.client_asked, true)) co_return false;
  auto told = co_await client_.write("HTTP/1.1 100 Continue\r\n\r\n", io::after(bounds().write));
  co_return !told;
}

// ---- attempts

bool HttpSession::replayable() const {
  return safe_method(head_.method) && head_.framing.kind == http1::BodyKind::none;
}

// Nothing of an answer has reached the client. What was never sent may be sent again whatever it is; what was
// sent only when doing it twice does no harm, and then only to save a user from the canary. That is done at
// the edge alone, whichever service failed behind it: a retry further in would hide the failure from the
// evidence. A canary that is silent is given up after `first_byte`, and stable has as long again.
bool HttpSession::may_retry(Attempt ended, const route::Pool& pool) const {
  const bool canary =
      arrival_.edge && now_.to.environment->split && now_.assigned.side == route::Side::canary;
  if (ended == Attempt::no_instance) return canary && &pool != &now_.to.service->stable;
  if (ended == Attempt::connect_failed) return !now_.body_started && (canary || pool.targets.size() > 1);
  if (!canary || !replayable() || now_.tunnel) return false;
  if (ended == Attempt::answered) return upstream_->head.status >= 500;
  return ended == Attempt::broken || ended == Attempt::malformed || ended == Attempt::first_byte_timeout;
}

Task<HttpSession::After> HttpSession::forward() {
  const route::Service& service = *now_.to.service;
  const route::Pool* pool = &service.pool(now_.assigned.side);
  Attempt ended = co_await attempt(*pool, 0);
  if (ended == Attempt::client_fault) co_return co_await answer_bad_body();
  if (ended == Attempt::gave_up) {
    count_given_up(pool->slot);
    co_return After::close;
  }
  count_first(*pool, ended);
  bool first = true;
  // What was never sent makes no load twice: only repeated requests are budgeted.
  const bool unsent = ended == Attempt::connect_failed || ended == Attempt::no_instance;
  if (may_retry(ended, *pool) && (unsent || worker_.retries().take(std::chrono::steady_clock::now()))) {
    const std::uint32_t avoid = ended == Attempt::connect_failed ? now_.tried : 0;
    co_await join_pump();
    drop_upstream();
    worker_.shared().retried.fetch_add(1, std::memory_order_relaxed);
    if (arrival_.edge) {  // from here on a user of the old release, in every service behind
      pool = &service.stable;
      now_.assigned.side = route::Side::stable;
    }
    first = false;
    ended = co_await attempt(*pool, avoid);
    if (ended == Attempt::client_fault) co_return co_await answer_bad_body();
    worker_.telemetry().count(pool->slot, outcome(ended), false);
    if (ended == Attempt::gave_up) co_return After::close;
  }
  if (ended == Attempt::answered) {
    if (upstream_->head.status == 101) co_return co_await tunnel(first);
    co_return co_await pass_answer(first);
  }
  co_await join_pump();
  drop_upstream();
  co_return co_await answer_page(page_for(ended));
}

Task<HttpSession::Attempt> HttpSession::attempt(const route::Pool& pool, std::uint32_t avoid) {
  const route::Target* target = worker_.upstreams().choose(pool.targets, now_.to.port, avoid);
  if (!target) co_return Attempt::no_instance;
  now_.tried = target->address;
  upstream_slot_ = pool.slot;
  load_ = UpstreamPool::Load(worker_.upstreams(), {target->address, now_.to.port});
  worker_.telemetry().active(pool.slot, worker_.shared().generation, 1);
  Attempt ended = co_await open_upstream(*target, true);
  if (ended == Attempt::answered) {
    const bool reused = upstream_->reused;
    ended = co_await exchange_heads();
    // A connection kept open may die just when it is used again: that is nobody's failure.
    if (ended == Attempt::broken && reused && upstream_->in.empty() && idempotent_method(head_.method) &&
        !now_.body_started) {
      upstream_.reset();
      ended = co_await open_upstream(*target, false);
      if (ended == Attempt::answered) ended = co_await exchange_heads();
    }
  }
  co_return ended;
}

Task<HttpSession::Attempt> HttpSession::open_upstream(const route::Target& target, bool allow_reuse) {
  const EndpointKey endpoint{target.address, now_.to.port};
  if (allow_reuse)
    upstream_ =
        worker_.upstreams().take_idle(endpoint, !idempotent_method(head_.method) || !now_.body_in_buffer);
  if (upstream_) co_return Attempt::answered;
  auto connected = co_await worker_.upstreams().connect(endpoint);
  if (!connected) co_return Attempt::connect_failed;
  upstream_ = std::move(*connected);
  co_return Attempt::answered;
}

Task<Result<void>> HttpSession::send_request() {
  out_.clear();
  append_request_head(out_, {.head = head_,
                             .environment = *now_.to.environment,
                             .side = now_.assigned.side,
                             .edge = arrival_.edge,
                             .visitor = now_.visitor,
                             .trace = now_.trace,
                             .upgrade = now_.tunnel,
                             .own_host = now_.to.service->name});
  if (now_.body_in_buffer && head_.framing.kind == http1::BodyKind::length) {
    const std::string_view body =
        in_.view().substr(head_bytes_, static_cast<std::size_t>(head_.framing.length));
    worker_.telemetry().bytes(upstream_slot_, body.size(), 0);
    std::array<iovec, 2> parts{iovec{out_.data(), out_.size()},
                               iovec{const_cast<char*>(body.data()), body.size()}};
    co_return co_await upstream_->stream.write(std::span<iovec>(parts), io::after(bounds().write));
  }
  co_return co_await upstream_->stream.write(out_, io::after(bounds().write));
}

Task<HttpSession::Attempt> HttpSession::exchange_heads() {
  auto sent = co_await send_request();
  if (!sent) co_return Attempt::broken;
  if (!now_.body_in_buffer) {
    if (head_.expect_continue && body_in_.empty()) {
      auto told = co_await client_.write("HTTP/1.1 100 Continue\r\n\r\n", io::after(bounds().write));
      if (!told) co_return Attempt::client_fault;
    }
    now_.body_started = true;
    stop_body_ = false;
    request_done_.clear();
    body_ = Transfer{.from = &client_,
                     .in = &body_in_,
                     .to = &upstream_->stream,
                     .framing = head_.framing,
                     .chunked_out = head_.framing.kind == http1::BodyKind::chunked,
                     .read_idle = bounds().request_body,
                     .write_idle = bounds().write,
                     .stop = &stop_body_};
    pumping_ = true;
    worker_.reactor().spawn(pump_request(shared_from_this()));
  }
  co_return co_await read_answer_head();
}

// Beside the answer, since a server may answer before it has read everything, or while it reads.
Task<void> HttpSession::pump_request(std::shared_ptr<HttpSession> self) {
  self->body_end_ = co_await run_transfer(self->body_);
  if (self->body_end_ == BodyEnd::complete) self->now_.sent = std::chrono::steady_clock::now();
  self->worker_.telemetry().bytes(self->upstream_slot_, self->body_.bytes, 0);
  // A body cut short must not look whole to the server: the connection goes.
  const bool cut = self->body_end_ != BodyEnd::complete && self->body_end_ != BodyEnd::sink_failed &&
                   self->body_end_ != BodyEnd::stopped;
  if (cut && self->upstream_) self->upstream_->stream.close();
  self->pumping_ = false;
  self->request_done_.raise();
}

Task<void> HttpSession::join_pump() {
  if (!pumping_) co_return;
  stop_body_ = true;
  if (upstream_) upstream_->stream.close();  // its write may wait for a server that reads no more
  auto waited = co_await request_done_.wait(io::kNever);
  (void)waited;
}

// What the bytes so far say; nothing: more are needed. The views stay valid until the body is read: the
// answer's head is written before.
std::optional<HttpSession::Attempt> HttpSession::parse_answer_head(std::size_t& scanned, int& informational) {
  Upstream& upstream = *upstream_;
  while (!upstream.in.empty()) {
    const http1::Parsed parsed =
        http1::parse_response(upstream.in.view(), scanned, head_.method, upstream.head, http1::Limits{});
    if (parsed.outcome == http1::Outcome::refused) return Attempt::malformed;
    if (parsed.outcome == http1::Outcome::incomplete) return std::nullopt;
    const http1::ResponseHead& head = upstream.head;
    // Only to what was asked for (RFC 9110 7.8).
    const bool switches = head.status == 101;
    if (switches &&
        !(now_.tunnel && head.connection_upgrade && http1::list_contains(head_.upgrade, head.upgrade)))
      return Attempt::malformed;
    upstream.in.consume(parsed.consumed);
    if (switches || head.status >= 200) {
      now_.answered = std::chrono::steady_clock::now();
      return Attempt::answered;
    }
    if (++informational > kInformational) return Attempt::malformed;
    scanned = 0;
  }
  return std::nullopt;
}

Task<HttpSession::Attempt> HttpSession::read_answer_head() {
  std::size_t scanned = 0;
  int informational = 0;
  io::Deadline end = io::after(bounds().first_byte);
  now_.sent = end - bounds().first_byte;
  Upstream& upstream = *upstream_;
  while (true) {
    if (const auto ended = parse_answer_head(scanned, informational)) co_return *ended;
    if (pumping_) end = io::after(bounds().first_byte);  // the request is still on its way
    if (std::chrono::steady_clock::now() >= end) co_return Attempt::first_byte_timeout;
    const std::span<char> space = upstream.in.space(http1::Limits{}.head_bytes + Buffer::kBlock);
    if (space.empty()) co_return Attempt::malformed;
    auto got = co_await upstream.stream.read(space, std::min(end, io::after(bounds().client_check)));
    if (got && *got > 0) {
      upstream.in.filled(*got);
      continue;
    }
    const bool client_cut =
        !pumping_ && now_.body_started && body_end_ != BodyEnd::complete && body_end_ != BodyEnd::sink_failed;
    if (got || got.error().code != Code::timeout)
      co_return client_cut ? Attempt::client_fault : Attempt::broken;
    if (pumping_) continue;
    if (co_await client_left()) co_return Attempt::gave_up;
  }
}

void HttpSession::drop_upstream() {
  if (upstream_slot_ != ipc::kNoSlot)
    worker_.telemetry().active(upstream_slot_, worker_.shared().generation, -1);
  upstream_slot_ = ipc::kNoSlot;
  load_.end();
  upstream_.reset();
}

// ---- counting

ipc::Outcome HttpSession::outcome(Attempt ended) const {
  switch (ended) {
    case Attempt::answered:
      return outcome_of(upstream_->head.status);
    case Attempt::malformed:
      return ipc::Outcome::status_5xx;
    case Attempt::first_byte_timeout:
      return ipc::Outcome::first_byte_timeout;
    case Attempt::gave_up:
    case Attempt::client_fault:
      return ipc::Outcome::given_up;
    case Attempt::no_instance:
    case Attempt::connect_failed:
    case Attempt::broken:
      break;
  }
  return ipc::Outcome::connect_failure;
}

// Only the first attempt is evidence, on the side that the user was assigned to.
void HttpSession::count_first(const route::Pool& pool, Attempt ended) {
  ipc::Telemetry& telemetry = worker_.telemetry();
  const int status = ended == Attempt::answered ? upstream_->head.status : 0;
  const MonoTime until = ended == Attempt::answered ? now_.answered : std::chrono::steady_clock::now();
  const std::uint64_t took = microseconds_between(now_.started, until);
  telemetry.count(pool.slot, outcome(ended), arrival_.edge);
  if (status && status != 101) telemetry.latency(pool.slot, took, arrival_.edge);
  const bool bad = status == 0 || status >= 500;
  telemetry.evidence(now_.evidence,
                     {.side = telemetry_side(now_.assigned.side),
                      .bucket = now_.assigned.bucket,
                      .bad = bad,
                      .slow = now_.slow_us > 0 && took > static_cast<std::uint64_t>(now_.slow_us)});
  if (bad) record_failure(outcome(ended), status);
}

// Whether a client that left says something about the release: not while the instance may still have answered
// in time.
bool HttpSession::says_something(milliseconds silent) const {
  return silent >= bounds().patience && silent > microseconds(now_.slow_us);
}

// The client left before an answer began: slow for its user, and bad when he has met nothing else.
void HttpSession::count_given_up(std::uint32_t slot) {
  worker_.telemetry().count(slot, ipc::Outcome::given_up, arrival_.edge);
  const auto silent = std::chrono::steady_clock::now() - now_.sent;
  if (!says_something(std::chrono::duration_cast<milliseconds>(silent))) return;
  const bool bad = worker_.telemetry().evidence(now_.evidence, {.side = telemetry_side(now_.assigned.side),
                                                                .bucket = now_.assigned.bucket,
                                                                .slow = true,
                                                                .unanswered = true});
  if (bad) record_failure(ipc::Outcome::given_up, 0);
}

// The client left in the middle of an answer of which more was promised.
void HttpSession::count_given_up_midway(milliseconds silent) {
  if (!says_something(silent)) return;
  worker_.telemetry().evidence(now_.evidence, {.side = telemetry_side(now_.assigned.side),
                                               .bucket = now_.assigned.bucket,
                                               .slow = true,
                                               .again = true});
}

void HttpSession::count_incomplete(std::uint32_t slot, bool first) {
  worker_.telemetry().count(slot, ipc::Outcome::incomplete, first && arrival_.edge);
  if (!first) return;
  worker_.telemetry().evidence(now_.evidence, {.side = telemetry_side(now_.assigned.side),
                                               .bucket = now_.assigned.bucket,
                                               .bad = true,
                                               .again = true});
  record_failure(ipc::Outcome::incomplete, 0);
}

void HttpSession::record_failure(ipc::Outcome outcome, int status) {
  if (now_.evidence.slot == ipc::kNoSlot) return;
  worker_.telemetry().failed(
      now_.evidence, {.side = telemetry_side(now_.assigned.side),
                      .status = static_cast<std::uint16_t>(status),
                      .outcome = outcome,
                      .method = std::string(head_.method),
                      .path = std::string(head_.path),
                      .service = now_.to.service->name,
                      .trace_id = now_.trace.trace_id,
                      .duration_us = microseconds_between(now_.started, std::chrono::steady_clock::now()),
                      .time = SystemClock().wall()});
}

}  // namespace naru::gateway
