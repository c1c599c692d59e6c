// The API of control (docs/api.md): who may ask, and which function answers. Everything here runs on the
// reactor's thread; what blocks goes to Context::pool.
#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <vector>

#include "build/cache.h"
#include "control/api_sampler.h"
#include "control/core.h"
#include "control/deliveries.h"
#include "control/executor.h"
#include "control/grants_to_drop.h"
#include "control/housekeeping.h"
#include "control/links.h"
#include "control/pipeline_log.h"
#include "control/tls_listener.h"
#include "control/tokens.h"
#include "image/store.h"
#include "io/http_server.h"
#include "io/offload.h"
#include "ipc/data_folder.h"
#include "ipc/launcher_client.h"

namespace naru::control {

// Work that holds a worker thread for long: pulls, imports, removals. There are fewer places than threads, so
// that however many ask, the rest of the API is answered.
class LongWork {
 public:
  static constexpr int kPlaces = 4;
  using Place = std::shared_ptr<void>;  // given back with its last copy, on any thread
  Result<Place> take();                 // busy

 private:
  std::shared_ptr<std::atomic<int>> taken_ = std::make_shared<std::atomic<int>>(0);
};

// What the answers are made of; all borrowed, all outlive the server.
struct Context {
  const ipc::DataFolder& data;
  const Clock& clock;
  Core& core;
  ipc::LauncherClient& launcher;
  GatewayLink& gateway;
  const ipc::Telemetry& telemetry;
  const image::Store& images;
  Executor& executor;
  PipelineLog& log;
  Tokens& tokens;
  GrantsToDrop& grants_to_drop;
  Sampler& sampler;
  Housekeeping& housekeeping;
  ImageGate& gate;
  io::Reactor& reactor;
  io::WorkerPool& pool;    // requests
  io::WorkerPool& pushes;  // what hooks of git wait for, so that a flood of requests cannot starve a push
  Deliveries& deliveries;
  std::atomic<bool>& stopping;
  // Begins the end of the platform; with `all` when its containers have been stopped, which takes a while.
  // Those that run on all the same. conflict: it has begun; after another error the platform goes on.
  std::function<Result<std::vector<std::string>>(bool all)> down;
  std::string version, executable;  // the naru program, for hooks
  std::uint16_t gateway_port = 0, tcp_port = 0;
  std::string tcp_ip;
  WallTime started{};
  std::uint64_t max_push_bytes = 0;
  int git_running = 0;
  LongWork long_work{};
  const TlsListener* tls = nullptr;  // for other machines; null: there is none

  std::optional<TlsListener::Standing> tls_standing() const {
    return tls == nullptr ? std::nullopt : tls->standing();
  }
  Surroundings around() const {
    return {gateway_port, executor.listener_errors(), sampler.usage(), clock.wall()};
  }
};

// One request being answered.
struct Call {
  Context& context;
  io::Request& request;
  io::ResponseWriter& response;
  std::vector<std::string> parameters;  // what the route's {} matched
  Identity who;

  const std::string& app() const { return parameters.front(); }
  std::string query(std::string_view key, std::string_view otherwise = "") const;
  bool flag(std::string_view key) const;  // "1" or "true"
  Result<std::uint64_t> number(std::string_view key, std::uint64_t otherwise, std::uint64_t most) const;
  // Nobody waits for the answer any more.
  bool over() const { return context.stopping || request.client_gone(); }

  // Runs on a worker thread; what fn captures must be its own.
  template <class F>
  auto work(F fn) {
    return io::offload(context.reactor, context.pool, std::move(fn));
  }
  // The same for what takes longer than a moment; busy when too much of it runs.
  template <class F, class R = std::invoke_result_t<F>>
  io::Task<R> long_work(F fn) {
    CO_TRY(auto place, context.long_work.take());
    auto job = [place = std::move(place), fn = std::move(fn)]() mutable { return fn(); };
    co_return co_await work(std::move(job));
  }
};

using Answer = io::Task<Result<void>>;
using Answerer = Answer (*)(Call&);

// anybody: /login alone, where a person without a session begins.
enum class Access { anybody, local, admin, app, any_token };
struct Route {
  std::string_view method, pattern;  // "/v1/apps/{}/status"; a last "{*}" takes the rest
  Access access = Access::admin;
  Answerer answer = nullptr;
};

// The body as a JSON object ({} when there is none). malformed, too_large.
io::Task<Result<Json>> read_json(Call& call, std::size_t limit = 1 << 20);
// Members of a body, checked; invalid_argument names what is wrong.
Result<std::string> text_member(const Json& body, const char* name, const char* otherwise = nullptr);

// Each file's routes.
std::span<const Route> app_routes();
std::span<const Route> pipeline_routes();
std::span<const Route> log_routes();
std::span<const Route> exec_routes();
std::span<const Route> event_routes();
std::span<const Route> image_routes();
std::span<const Route> platform_routes();
std::span<const Route> git_routes();
std::span<const Route> console_routes();

class Api {
 public:
  explicit Api(Context& context);
  io::Task<void> handle(io::Request& request, io::ResponseWriter& response);

 private:
  struct Match {
    const Route* route = nullptr;
    std::vector<std::string> parameters;
    bool other_method = false;
  };
  Match find(std::string_view method, const std::string& path) const;
  Result<void> check_origin(const io::Request& request) const;
  bool is_our_host(const io::Request& request) const;
  Result<Identity> identify(const io::Request& request) const;
  Result<Identity> admit(const Match& match, const io::Request& request) const;
  Answer answer(io::Request& request, io::ResponseWriter& response);

  Context& context_;
  std::vector<const Route*> routes_;
};

}  // namespace naru::control
