#pragma once

#include <stdexcept>
#include <string>

namespace sinkstream::jinja {

// What is wrong with a template or its data; `line` is the template's.
class Error : public std::runtime_error {
 public:
  Error(const std::string& message, int line) : std::runtime_error(message), line_(line) {}
  int line() const { return line_; }

 private:
  int line_;
};

}  // namespace sinkstream::jinja
