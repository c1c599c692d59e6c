// A fixed number of threads and a bounded queue. Work of one kind (starts, stops, probes, workers) has a pool
// of its own, so that slow work of one kind cannot hold up another.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "base/result.h"

namespace naru::launcher {

class Pool {
 public:
  Pool(std::string name, unsigned threads, std::size_t max_queued)
      : name_(std::move(name)), max_queued_(max_queued) {
    for (unsigned i = 0; i < threads; ++i) threads_.emplace_back([this] { run(); });
  }
  ~Pool() {
    {
      const std::scoped_lock lock(mutex_);
      stopping_ = true;
      queue_.clear();
    }
    changed_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  // unavailable when the queue is full.
  Result<void> submit(std::function<void()> work) {
    {
      const std::scoped_lock lock(mutex_);
      if (queue_.size() >= max_queued_)
        return fail(Code::unavailable, "the launcher is busy: {} {} requests wait already", queue_.size(),
                    name_);
      queue_.push_back(std::move(work));
    }
    changed_.notify_one();
    return {};
  }

 private:
  void run() {
    while (true) {
      std::function<void()> work;
      {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
        if (stopping_) return;
        work = std::move(queue_.front());
        queue_.pop_front();
      }
      work();
    }
  }

  std::string name_;
  std::size_t max_queued_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> queue_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace naru::launcher
