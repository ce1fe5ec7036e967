// Compiled without sanitizers, which would take the frames here for those of one stack.
#include "tests/kernels/emulation/fiber.h"

#include <sys/mman.h>
#include <unistd.h>

#include <boost/context/fiber.hpp>
#include <boost/context/preallocated.hpp>
#include <cerrno>
#include <system_error>
#include <utility>

// There where the program runs under a sanitizer.
extern "C" {
__attribute__((weak)) void __sanitizer_start_switch_fiber(void** fake_stack, const void* bottom,
                                                          std::size_t size);
__attribute__((weak)) void __sanitizer_finish_switch_fiber(void* fake_stack, const void** bottom,
                                                           std::size_t* size);
__attribute__((weak)) void* __tsan_get_current_fiber();
__attribute__((weak)) void* __tsan_create_fiber(unsigned flags);
__attribute__((weak)) void __tsan_destroy_fiber(void* fiber);
__attribute__((weak)) void __tsan_switch_to_fiber(void* fiber, unsigned flags);
}

namespace sinkstream::kernels::cuda::emulation {
namespace {

// To the thread sanitizer fibers are threads, and that one runs after the other orders nothing: only what
// they do to wait for each other does (multiprocessor.cpp), so that it finds races of a kernel.
constexpr unsigned kNoOrder = 1;

std::size_t page_bytes() {
  static const auto bytes = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  return bytes;
}

// Memory that faults below its end.
class Stack {
 public:
  explicit Stack(int number) : unused_(static_cast<std::size_t>(number % 16) * 256) {
    memory_ = mmap(nullptr, kBytes + page_bytes(), PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (memory_ == MAP_FAILED)
      throw std::system_error(errno, std::generic_category(), "a fiber's stack: mmap");
    if (mprotect(memory_, page_bytes(), PROT_NONE) != 0) {
      throw std::system_error(errno, std::generic_category(), "a fiber's stack: mprotect");
    }
  }
  ~Stack() { munmap(memory_, kBytes + page_bytes()); }
  Stack(const Stack&) = delete;
  Stack& operator=(const Stack&) = delete;

  void* bottom() const { return static_cast<std::byte*>(memory_) + page_bytes(); }
  std::size_t size() const { return kBytes - unused_; }
  void* top() const { return static_cast<std::byte*>(bottom()) + size(); }

 private:
  static constexpr std::size_t kBytes =
      256 << 10;  // frames under sanitizers are large; what isn't used isn't there

  std::size_t unused_;
  void* memory_;
};

struct StackOfOwner {
  boost::context::stack_context allocate() { return {}; }
  void deallocate(boost::context::stack_context& /*stack*/) noexcept {}
};

}  // namespace

class Fiber::Context {
 public:
  Context(int number, std::function<void()> body) : body_(std::move(body)), stack_(number) {
    if (__tsan_create_fiber) tsan_fiber_ = __tsan_create_fiber(0);
    boost::context::stack_context stack;
    stack.sp = stack_.top();
    stack.size = stack_.size();
    fiber_ = boost::context::fiber(std::allocator_arg,
                                   boost::context::preallocated(stack.sp, stack.size, stack), StackOfOwner(),
                                   [this](boost::context::fiber&& caller) { return run(std::move(caller)); });
  }

  ~Context() {
    ending_ = true;
    resume();
    if (__tsan_destroy_fiber) __tsan_destroy_fiber(tsan_fiber_);
  }

  void resume() {
    void* fake_stack = nullptr;
    if (__sanitizer_start_switch_fiber)
      __sanitizer_start_switch_fiber(&fake_stack, stack_.bottom(), stack_.size());
    if (__tsan_switch_to_fiber) {
      tsan_caller_ = __tsan_get_current_fiber();
      __tsan_switch_to_fiber(tsan_fiber_, kNoOrder);
    }
    fiber_ = std::move(fiber_).resume();
    if (__sanitizer_finish_switch_fiber) __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
  }

  void suspend() {
    leave(&fake_stack_);
    caller_ = std::move(caller_).resume();
    arrive(fake_stack_);
  }

 private:
  boost::context::fiber run(boost::context::fiber&& caller) {
    caller_ = std::move(caller);
    arrive(nullptr);
    while (!ending_) {
      body_();
      suspend();
    }
    leave(nullptr);
    return std::move(caller_);
  }

  // `fake_stack`: null where the fiber won't come back.
  void leave(void** fake_stack) {
    if (__sanitizer_start_switch_fiber)
      __sanitizer_start_switch_fiber(fake_stack, caller_bottom_, caller_size_);
    if (__tsan_switch_to_fiber) __tsan_switch_to_fiber(tsan_caller_, kNoOrder);
  }
  void arrive(void* fake_stack) {
    if (__sanitizer_finish_switch_fiber)
      __sanitizer_finish_switch_fiber(fake_stack, &caller_bottom_, &caller_size_);
  }

  std::function<void()> body_;
  Stack stack_;
  boost::context::fiber fiber_;   // while it is suspended
  boost::context::fiber caller_;  // while it is not
  bool ending_ = false;
  void* fake_stack_ = nullptr;
  const void* caller_bottom_ = nullptr;
  std::size_t caller_size_ = 0;
  void* tsan_fiber_ = nullptr;
  void* tsan_caller_ = nullptr;
};

Fiber::Fiber(int number, std::function<void()> body)
    : context_(std::make_unique<Context>(number, std::move(body))) {}

Fiber::~Fiber() = default;

void Fiber::resume() {
  context_->resume();
}

void Fiber::suspend() {
  context_->suspend();
}

}  // namespace sinkstream::kernels::cuda::emulation
