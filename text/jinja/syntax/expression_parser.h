#pragma once

#include <set>
#include <string>
#include <string_view>

#include "text/jinja/syntax/syntax.h"
#include "text/jinja/syntax/token_stream.h"

namespace sinkstream::jinja {

// Expressions, in Jinja2's order of precedence. The tree below any node is at most kMaxDepth deep.
class ExpressionParser {
 public:
  static constexpr int kMaxDepth = 200;
  static constexpr int kMaxNesting = 400;  // a pair of brackets counts four

  explicit ExpressionParser(TokenStream& stream) : stream_(stream) {}

  ExpressionPtr expression();                                                // with inline `if`
  ExpressionPtr expressions(bool with_condition = true);                     // a tuple when there are commas
  ExpressionPtr filter_chain(ExpressionPtr value, bool first_without_pipe);  // name(..) | name(..)
  Target target(bool allow_attribute);                                       // of `set`, `for` and `with`

  // Whether any loop, or filter that works on items, goes over what is called "content".
  bool loops_over_content() const { return loops_over_content_; }
  void note_loop_over(const Expression& items);

  // The names that were read so far, and a new set to go on with: a macro asks what its body reads.
  std::set<std::string> exchange_names_read(std::set<std::string> names);

 private:
  class Nesting;

  ExpressionPtr logical_or();
  ExpressionPtr logical_and();
  ExpressionPtr logical_not();
  ExpressionPtr comparison();
  ExpressionPtr sum();
  ExpressionPtr concatenation();
  ExpressionPtr product();
  ExpressionPtr power();
  ExpressionPtr unary(bool with_filter = true);
  ExpressionPtr primary();
  ExpressionPtr name_or_constant();
  ExpressionPtr list();
  ExpressionPtr mapping();
  ExpressionPtr postfix(ExpressionPtr value);
  ExpressionPtr filters_and_tests(ExpressionPtr value);
  ExpressionPtr attribute(ExpressionPtr value);
  ExpressionPtr element(ExpressionPtr value);
  ExpressionPtr slice(int line, ExpressionPtr value, ExpressionPtr start);
  Token dotted_name();
  ExpressionPtr filter(ExpressionPtr value);
  ExpressionPtr test(ExpressionPtr value);
  CallArguments call_arguments();
  Target single_target(bool allow_attribute);
  bool at_end_of_tuple() const;
  bool at_test_argument() const;

  // Every node goes through here, so no tree grows too deep.
  ExpressionPtr checked(ExpressionPtr node);
  template <typename Node, typename... Parts>
  ExpressionPtr make(int line, Parts&&... parts) {
    return checked(std::make_unique<Node>(line, std::forward<Parts>(parts)...));
  }

  TokenStream& stream_;
  int nesting_ = 0;
  bool loops_over_content_ = false;
  std::set<std::string> names_read_;
};

}  // namespace sinkstream::jinja
