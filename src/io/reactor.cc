#include "io/reactor.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <cerrno>
#include <csignal>
#include <mutex>
#include <vector>

#include "base/log.h"

namespace naru::io {

namespace {
constexpr int kBudget = 128;  // operations a coroutine may complete at once before others get a turn
constexpr std::size_t kMaxJobs = 65536;
constexpr int kMaxEvents = 256;

std::uint64_t to_tick(MonoTime time) {
  return static_cast<std::uint64_t>(std::chrono::ceil<milliseconds>(time.time_since_epoch()).count());
}
}  // namespace

// ---- Operation
// --------------------------------------------------------------------------------------------------

Operation::~Operation() {
  if (source_ != nullptr && source_->pending_[static_cast<int>(direction_)] == this)
    source_->pending_[static_cast<int>(direction_)] = nullptr;
}

bool Operation::await_ready() {
  if (attempt_ == nullptr) return false;
  if (!source_->open()) {
    result_ = -ECANCELED;
    return true;
  }
  if (!attempt_(*this)) return false;
  // Fairness: whoever is always ready gives way now and then.
  if (--reactor_->budget_ > 0) return true;
  source_ = nullptr;
  return false;
}

void Operation::await_suspend(std::coroutine_handle<> waiter) {
  waiter_ = waiter;
  ready_.owner = this;
  if (attempt_ == nullptr ? deadline_ == Deadline::min() : source_ == nullptr) {
    reactor_->ready_.push_back(ready_);
    return;
  }
  if (source_ != nullptr) {
    const auto registered = source_->ensure_registered();
    if (!registered) {
      result_ = -registered.error().sys_errno;
      return finish();
    }
    Operation*& slot = source_->pending_[static_cast<int>(direction_)];
    assert(slot == nullptr && "one operation in each direction at a time");
    slot = this;
  }
  if (deadline_ != kNever) {
    timer_.owner = this;
    timer_.fire = &Operation::on_timer;
    reactor_->wheel_.arm(timer_, to_tick(deadline_));
  }
}

void Operation::finish() {
  timer_.unlink();
  if (source_ != nullptr && source_->pending_[static_cast<int>(direction_)] == this)
    source_->pending_[static_cast<int>(direction_)] = nullptr;
  source_ = nullptr;
  if (!ready_.linked()) reactor_->ready_.push_back(ready_);
}

void Operation::on_timer(detail::TimerNode& node) {
  Operation& self = *static_cast<Timer&>(node).owner;
  self.result_ = -ETIMEDOUT;
  self.finish();
}

// ---- Source
// -----------------------------------------------------------------------------------------------------

Result<void> Source::ensure_registered() {
  if (registered_) return {};
  epoll_event event{};
  event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
  event.data.ptr = this;
  if (::epoll_ctl(reactor_->epoll_.get(), EPOLL_CTL_ADD, fd_.get(), &event) != 0)
    return fail_errno(Code::system, "epoll_ctl(add descriptor {})", fd_.get());
  registered_ = true;
  return {};
}

void Source::cancel_operations() {
  for (Operation* operation : {pending_[0], pending_[1]}) {
    if (operation == nullptr) continue;
    operation->result_ = -ECANCELED;
    operation->finish();
  }
}

void Source::close() {
  if (!fd_.valid()) return;
  cancel_operations();
  // Explicitly: a duplicate of the descriptor (in a child) would keep the registration alive.
  if (registered_) ::epoll_ctl(reactor_->epoll_.get(), EPOLL_CTL_DEL, fd_.get(), nullptr);
  registered_ = false;
  fd_.reset();
}

Fd Source::release() {
  cancel_operations();
  if (registered_) ::epoll_ctl(reactor_->epoll_.get(), EPOLL_CTL_DEL, fd_.get(), nullptr);
  registered_ = false;
  return std::move(fd_);
}

// Only attempts; coroutines are resumed after the whole batch, so no Source of the batch can have gone.
void Source::on_events(std::uint32_t events) {
  const bool failed = (events & (EPOLLHUP | EPOLLERR)) != 0;
  const bool readable = failed || retry_both_ || (events & (EPOLLIN | EPOLLRDHUP)) != 0;
  const bool writable = failed || retry_both_ || (events & EPOLLOUT) != 0;
  if (Operation* operation = pending_[0]; operation != nullptr && readable && operation->attempt_(*operation))
    operation->finish();
  if (Operation* operation = pending_[1]; operation != nullptr && writable && operation->attempt_(*operation))
    operation->finish();
}

// ---- Event
// ------------------------------------------------------------------------------------------------------

void Event::raise() {
  raised_ = true;
  if (waiter_ == nullptr) return;
  waiter_->result_ = 1;
  std::exchange(waiter_, nullptr)->finish();
}

void Event::Wait::await_suspend(std::coroutine_handle<> waiter) {
  assert(event_.waiter_ == nullptr && "one waiter at a time");
  event_.waiter_ = this;
  Operation::await_suspend(waiter);
}

Result<void> Event::Wait::await_resume() {
  if (event_.waiter_ == this) event_.waiter_ = nullptr;
  if (event_.raised_ || result_ == 1) return {};
  return fail(Code::timeout, "waiting for an event: timed out");
}

// ---- Remote
// -----------------------------------------------------------------------------------------------------

struct Reactor::Remote::Box {
  std::mutex mutex;
  std::vector<Job> jobs;
  Fd wake;  // eventfd
  bool open = true;
  bool stop = false;
};

bool Reactor::Remote::post(Job job) const {
  if (!box_) return false;
  std::lock_guard lock(box_->mutex);
  if (!box_->open || box_->jobs.size() >= kMaxJobs) return false;
  box_->jobs.push_back(std::move(job));
  if (box_->jobs.size() == 1) {
    const std::uint64_t one = 1;
    (void)!::write(box_->wake.get(), &one, sizeof one);
  }
  return true;
}

// ---- Reactor
// ----------------------------------------------------------------------------------------------------

// A spawned coroutine; its promise is a node of the reactor's list, so that the reactor can destroy it.
struct Reactor::Detached {
  struct promise_type : detail::Link {
    promise_type(Reactor* owner, Task<void>&) : reactor(owner) {
      reactor->roots_.push_back(*this);
      ++reactor->spawned_;
    }
    ~promise_type() { --reactor->spawned_; }
    Detached get_return_object() const { return {}; }
    std::suspend_never initial_suspend() const noexcept { return {}; }
    std::suspend_never final_suspend() const noexcept { return {}; }
    void return_void() const {}
    void unhandled_exception() const noexcept { std::terminate(); }
    static void* operator new(std::size_t bytes) { return allocate_frame(bytes); }
    static void operator delete(void* frame, std::size_t bytes) noexcept { free_frame(frame, bytes); }
    Reactor* reactor;
  };
};

Reactor::Detached Reactor::detach(Reactor*, Task<void> task) {
  try {
    co_await std::move(task);
  } catch (const std::exception& e) {
    log_event(Level::error, "io.task_failed", {{"what", e.what()}});
  } catch (...) {
    log_event(Level::error, "io.task_failed", {{"what", "an exception of an unknown type"}});
  }
}

void Reactor::spawn(Task<void> task) {
  detach(this, std::move(task));
}

std::uint64_t Reactor::tick_now() {
  return static_cast<std::uint64_t>(
      std::chrono::floor<milliseconds>(std::chrono::steady_clock::now().time_since_epoch()).count());
}

Result<std::unique_ptr<Reactor>> Reactor::create() {
  struct sigaction action{};
  if (::sigaction(SIGPIPE, nullptr, &action) == 0 && action.sa_handler == SIG_DFL) ::signal(SIGPIPE, SIG_IGN);
  Fd epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll) return fail_errno(Code::system, "epoll_create1");
  auto box = std::make_shared<Remote::Box>();
  box->wake = Fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!box->wake) return fail_errno(Code::system, "eventfd");
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.ptr = nullptr;
  if (::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, box->wake.get(), &event) != 0)
    return fail_errno(Code::system, "epoll_ctl(eventfd)");
  std::unique_ptr<Reactor> reactor(new Reactor(std::move(epoll)));
  reactor->remote_.box_ = std::move(box);
  return reactor;
}

Reactor::~Reactor() {
  std::vector<Job> dropped;
  {
    std::lock_guard lock(remote_.box_->mutex);
    remote_.box_->open = false;
    dropped.swap(remote_.box_->jobs);
  }
  while (roots_.linked()) {
    auto& promise = static_cast<Detached::promise_type&>(*roots_.next);
    std::coroutine_handle<Detached::promise_type>::from_promise(promise).destroy();
  }
}

void Reactor::run() {
  while (!stopping_) turn(true);
  stopping_ = false;
}

void Reactor::stop() {
  (void)remote_.post([this] { stopping_ = true; });
}

void Reactor::run_ready() {
  detail::Link batch;
  batch.take_all(ready_);
  while (batch.linked()) {
    Operation& operation = *static_cast<Operation::Ready&>(*batch.next).owner;
    operation.ready_.unlink();
    budget_ = kBudget;
    operation.waiter_.resume();
  }
}

void Reactor::run_jobs() {
  std::vector<Job> jobs;
  {
    std::lock_guard lock(remote_.box_->mutex);
    std::uint64_t count = 0;
    (void)!::read(remote_.box_->wake.get(), &count, sizeof count);
    jobs.swap(remote_.box_->jobs);
  }
  for (Job& job : jobs) {
    budget_ = kBudget;
    job();
  }
}

// One round: ready coroutines, then what the kernel and the clock say.
void Reactor::turn(bool block) {
  int timeout = 0;
  if (block && !ready_.linked()) timeout = wheel_.next_in(tick_now());
  epoll_event events[kMaxEvents];
  const int count = ::epoll_wait(epoll_.get(), events, kMaxEvents, timeout);
  bool jobs = false;
  for (int i = 0; i < count; ++i) {
    if (events[i].data.ptr == nullptr)
      jobs = true;
    else
      static_cast<Source*>(events[i].data.ptr)->on_events(events[i].events);
  }
  wheel_.advance(tick_now());
  if (jobs) run_jobs();
  run_ready();
}

}  // namespace naru::io
