// Work and answers across threads, for reactors.
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "io/reactor.h"

namespace naru::io {

// One value from any thread to one coroutine.
//   auto [promise, answer] = make_one_shot<Reply>(reactor);   // promise goes to the other thread
//   CO_TRY(auto reply, co_await answer.wait(after(30s)));     // timeout; cancelled when the promise was
//   dropped
template <class T>
class OneShot {
  struct State {
    explicit State(Reactor& reactor) : event(reactor) {}
    Event event;
    std::optional<T> value;
  };

 public:
  class Promise {
   public:
    Promise() = default;
    Promise(std::shared_ptr<State> state, Reactor::Remote remote)
        : state_(std::move(state)), remote_(std::move(remote)) {}
    Promise(Promise&&) noexcept = default;
    Promise& operator=(Promise&&) noexcept = default;
    ~Promise() {
      if (state_) deliver(std::nullopt);
    }
    void set(T value) {
      if (state_) deliver(std::optional<T>(std::move(value)));
    }

   private:
    void deliver(std::optional<T> value) {
      // The state is only touched, and let go, on the reactor's thread.
      (void)remote_.post([state = std::move(state_), value = std::move(value)]() mutable {
        state->value = std::move(value);
        state->event.raise();
      });
    }
    std::shared_ptr<State> state_;
    Reactor::Remote remote_;
  };

  explicit OneShot(Reactor& reactor) : state_(std::make_shared<State>(reactor)), reactor_(&reactor) {}
  Promise promise() { return Promise(state_, reactor_->remote()); }  // once
  Task<Result<T>> wait(Deadline deadline = kNever) {
    auto state = state_;
    CO_TRY_VOID(co_await state->event.wait(deadline));
    if (!state->value) co_return fail(Code::cancelled, "the work was dropped before it was done");
    co_return std::move(*state->value);
  }

 private:
  std::shared_ptr<State> state_;
  Reactor* reactor_;
};

// Threads that run blocking work (files, processes). Bounded: `busy` when the queue is full.
class WorkerPool {
 public:
  explicit WorkerPool(std::size_t threads, std::size_t queue = 1024);
  ~WorkerPool();  // runs what is queued, then joins
  bool post(Reactor::Job job);

 private:
  void work();
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Reactor::Job> jobs_;
  std::size_t bound_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

// Runs fn() on a worker and gives its Result. What fn captures must be its own (values).
template <class F, class R = std::invoke_result_t<F>>
Task<R> offload(Reactor& reactor, WorkerPool& pool, F fn) {
  OneShot<R> answer(reactor);
  auto promise = answer.promise();
  const bool queued =
      pool.post([promise = std::move(promise), fn = std::move(fn)]() mutable { promise.set(fn()); });
  if (!queued) co_return fail(Code::busy, "too much work is waiting for a worker thread");
  auto result = co_await answer.wait();
  if (!result) co_return std::unexpected(std::move(result).error());
  co_return std::move(*result);
}

}  // namespace naru::io
