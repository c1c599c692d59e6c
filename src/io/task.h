// Coroutines: Task<T> is lazy, runs on the thread that awaits it, and belongs to one reactor thread.
//
//   Task<Result<std::string>> greet(Stream& stream) {
//     CO_TRY(auto n, co_await stream.read(buffer, deadline));
//     co_return std::string(buffer.data(), n);
//   }
//
// Rules (g++ 12, and lifetimes):
//   - no co_await inside TRY (a statement expression): use CO_TRY / CO_TRY_VOID, or a variable;
//   - no co_await inside ?:, && or || (g++ 12 destroys temporaries that were never made): use if and a
//   variable;
//   - no braced temporary (Error{...}, Headers{...}, {.a = b}) inside a co_await expression: g++ 12 copies
//   its bytes, and a
//     short std::string in it is then freed twice. Name it first, or let a function return it;
//   - no braced initializer list (a vector written as {a, b}) inside a co_await expression: name the vector
//   first;
//   - what a coroutine takes by reference must outlive it; a lambda that is a coroutine must outlive it too,
//   with
//     its captures: pass what it needs as parameters by value;
//   - keep large buffers out of the frame (a connection object, a unique_ptr).
// Awaiting starts the child on the present stack and returns there when it finishes without suspending, so a
// loop over ready operations does not grow the stack (g++ makes tail calls of symmetric transfer only when
// optimising). A Task that is destroyed before it has finished destroys its frame and cancels what it awaits.
#pragma once

#include <coroutine>
#include <cstddef>
#include <exception>
#include <optional>
#include <utility>

namespace naru::io {

// Frames come from a freelist of the thread (bounded; plain malloc under sanitizers).
void* allocate_frame(std::size_t bytes);
void free_frame(void* frame, std::size_t bytes) noexcept;

template <class T>
class Task;

namespace detail {

struct PromiseBase {
  std::coroutine_handle<> continuation;
  int* join = nullptr;          // awaited together with others (`both`): how many are still running
  bool running_inline = false;  // inside the awaiter's await_suspend: finishing returns there
  std::exception_ptr exception;

  struct FinalAwaiter {
    bool await_ready() const noexcept { return false; }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> self) const noexcept {
      PromiseBase& promise = self.promise();
      if (promise.running_inline || !promise.continuation) return;
      if (promise.join != nullptr && --*promise.join != 0) return;
      promise.continuation.resume();  // may destroy this frame: nothing is touched afterwards
    }
    void await_resume() const noexcept {}
  };
  std::suspend_always initial_suspend() const noexcept { return {}; }
  FinalAwaiter final_suspend() const noexcept { return {}; }
  void unhandled_exception() noexcept { exception = std::current_exception(); }

  static void* operator new(std::size_t bytes) { return allocate_frame(bytes); }
  static void operator delete(void* frame, std::size_t bytes) noexcept { free_frame(frame, bytes); }
};

template <class T>
struct Promise : PromiseBase {
  std::optional<T> value;
  Task<T> get_return_object() noexcept;
  template <class U>
  void return_value(U&& result) {
    value.emplace(std::forward<U>(result));
  }
  void return_value(T result) { value.emplace(std::move(result)); }
  T take() {
    if (exception) std::rethrow_exception(exception);
    return std::move(*value);
  }
};

template <>
struct Promise<void> : PromiseBase {
  Task<void> get_return_object() noexcept;
  void return_void() const noexcept {}
  void take() const {
    if (exception) std::rethrow_exception(exception);
  }
};

}  // namespace detail

template <class T = void>
class [[nodiscard]] Task {
 public:
  using promise_type = detail::Promise<T>;
  using Handle = std::coroutine_handle<promise_type>;

  Task() = default;
  explicit Task(Handle handle) : handle_(handle) {}
  Task(Task&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Task& operator=(Task&& other) noexcept {
    if (this != &other) {
      reset();
      handle_ = std::exchange(other.handle_, nullptr);
    }
    return *this;
  }
  ~Task() { reset(); }

  explicit operator bool() const { return static_cast<bool>(handle_); }

  struct Awaiter {
    Handle child;
    bool await_ready() const noexcept { return false; }
    bool await_suspend(std::coroutine_handle<> parent) {
      auto& promise = child.promise();
      promise.continuation = parent;
      promise.running_inline = true;
      child.resume();
      if (child.done()) return false;
      promise.running_inline = false;
      return true;
    }
    T await_resume() { return child.promise().take(); }
  };
  // Once only.
  Awaiter operator co_await() const& noexcept { return Awaiter{handle_}; }
  Awaiter operator co_await() const&& noexcept { return Awaiter{handle_}; }

 private:
  friend class Both;
  void reset() {
    if (handle_) std::exchange(handle_, nullptr).destroy();
  }
  Handle handle_;
};

namespace detail {
template <class T>
Task<T> Promise<T>::get_return_object() noexcept {
  return Task<T>(std::coroutine_handle<Promise<T>>::from_promise(*this));
}
inline Task<void> Promise<void>::get_return_object() noexcept {
  return Task<void>(std::coroutine_handle<Promise<void>>::from_promise(*this));
}
}  // namespace detail

// co_await Both(a(), b()): runs two tasks side by side, until both have finished.
class Both {
 public:
  Both(Task<void> a, Task<void> b) : tasks_{std::move(a), std::move(b)} {}
  bool await_ready() const noexcept { return false; }
  bool await_suspend(std::coroutine_handle<> parent) {
    for (Task<void>& task : tasks_) {
      auto& promise = task.handle_.promise();
      promise.continuation = parent;
      promise.join = &running_;
      promise.running_inline = true;
      task.handle_.resume();
      promise.running_inline = false;
      if (task.handle_.done()) --running_;
    }
    return running_ > 0;
  }
  void await_resume() {
    for (Task<void>& task : tasks_) task.handle_.promise().take();
  }

 private:
  Task<void> tasks_[2];
  int running_ = 2;
};

}  // namespace naru::io
