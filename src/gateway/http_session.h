// One client's HTTP/1.1 connection, request after request: read a strict head, find the service, find the
// user's side, send to an instance, stream both bodies, count.
#pragma once

#include <memory>
#include <string>

#include "gateway/assign.h"
#include "gateway/head_rewrite.h"
#include "gateway/pages.h"
#include "gateway/transfer.h"
#include "gateway/upstream.h"
#include "gateway/worker.h"

namespace naru::gateway {

// What a connection is for, before any request. `service` is set for host ports and inner calls, by the
// snapshot that was current when it came; it is looked up anew for every request.
struct Arrival {
  std::shared_ptr<const Origin> origin;
  bool edge = true;
  std::string client_ip;              // of the peer
  bool from_here = false;             // the peer is on this machine
  std::uint32_t client_address = 0;   // IPv4, or 0
  std::uint32_t virtual_address = 0;  // inner: what the caller dialled
  std::uint16_t virtual_port = 0;
  std::uint32_t draw = 0;  // 0..9,999, for this connection
};

struct Destination {
  const route::Environment* environment = nullptr;
  const route::Service* service = nullptr;
  std::uint16_t port = 0;
};
// By listener or virtual address, without a Host. No service: nothing answers there.
Destination destination_of(const route::Snapshot& routes, const Arrival& arrival);

class HttpSession : public std::enable_shared_from_this<HttpSession> {
 public:
  HttpSession(Worker& worker, io::Stream client, Arrival arrival)
      : worker_(worker),
        client_(std::move(client)),
        arrival_(std::move(arrival)),
        request_done_(worker.reactor()) {}

  // `early` is what was read while detecting the protocol. Until the connection ends.
  static io::Task<void> run(std::shared_ptr<HttpSession> self, std::string early);

 private:
  enum class After : std::uint8_t { next_request, close };
  // How an attempt on one endpoint ended before an answer's head; `answered` has one.
  enum class Attempt : std::uint8_t {
    answered,
    no_instance,
    connect_failed,
    broken,
    malformed,
    first_byte_timeout,
    gave_up,      // the client left while it waited
    client_fault  // it cut its body short, or left in the middle of it
  };

  // What belongs to one request; forgotten after it.
  struct Current {
    std::shared_ptr<const route::Snapshot> routes;  // keeps what the pointers below point to
    Destination to;
    Visitor visitor;  // at the edge; points into the head or the arrival
    Assignment assigned;
    Trace trace;
    MonoTime started{}, answered{};
    MonoTime sent{};  // the request, whole: from then on an instance that says nothing is silent
    ipc::StepEvidence evidence;
    std::int64_t slow_us = 0;
    bool body_in_buffer = true;  // the whole request is here already
    bool body_started = false;   // some of it was taken from the client: it cannot be sent again
    bool tunnel = false;
    bool client_asked = false;  // whether it is still there
    std::uint32_t tried = 0;    // the address of the last attempt's instance
  };

  io::Task<bool> read_head();
  io::Task<After> serve_request();
  std::optional<Page> locate();
  Page unknown_host() const;
  io::Task<std::optional<Page>> wait_for_instances();
  void assign();
  io::Task<After> forward();
  io::Task<Attempt> attempt(const route::Pool& pool, std::uint32_t avoid);
  io::Task<Attempt> open_upstream(const route::Target& target, bool allow_reuse);
  io::Task<Attempt> exchange_heads();
  io::Task<Result<void>> send_request();
  io::Task<Attempt> read_answer_head();
  std::optional<Attempt> parse_answer_head(std::size_t& scanned, int& informational);
  bool reusable(const http1::ResponseHead& head) const;
  io::Task<After> pass_answer(bool counts);
  io::Task<After> tunnel(bool counts);
  io::Task<After> answer_page(Page page);
  io::Task<After> answer_bad_body();
  io::Task<After> end_connection();
  static io::Task<void> pump_request(std::shared_ptr<HttpSession> self);
  io::Task<void> join_pump();

  bool replayable() const;  // GET, HEAD, OPTIONS without a body
  bool may_retry(Attempt ended, const route::Pool& pool) const;
  const Bounds& bounds() const { return worker_.bounds(); }
  bool keeps_alive() const;
  io::Task<bool> client_left();
  Page page_for(Attempt ended) const;
  void drop_upstream();
  void count_first(const route::Pool& pool, Attempt ended);
  ipc::Outcome outcome(Attempt ended) const;
  void count_incomplete(std::uint32_t slot, bool first);
  void count_given_up(std::uint32_t slot);
  void count_given_up_midway(milliseconds silent);
  bool says_something(milliseconds silent) const;
  void record_failure(ipc::Outcome outcome, int status);

  Worker& worker_;
  io::Stream client_;
  Arrival arrival_;
  Buffer in_;
  http1::RequestHead head_;
  std::size_t head_bytes_ = 0;
  Current now_;
  std::string out_;

  std::unique_ptr<Upstream> upstream_;
  std::uint32_t upstream_slot_ = ipc::kNoSlot;
  UpstreamPool::Load load_;

  // The request's body on its way, beside the answer.
  Buffer body_in_;
  Transfer body_;
  BodyEnd body_end_ = BodyEnd::complete;
  bool pumping_ = false, stop_body_ = false;
  io::Event request_done_;
};

}  // namespace naru::gateway
