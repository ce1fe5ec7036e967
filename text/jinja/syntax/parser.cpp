#include "text/jinja/syntax/parser.h"

#include <algorithm>
#include <initializer_list>

#include "text/jinja/syntax/expression_parser.h"
#include "text/jinja/syntax/lexer.h"
#include "text/jinja/syntax/token_stream.h"

namespace sinkstream::jinja {
namespace {

constexpr int kMaxBlocks = 60;  // inside each other

class StatementParser {
 public:
  explicit StatementParser(std::string_view source) : stream_(tokenize(source)), expressions_(stream_) {}

  Template run() {
    Template result{body({}), false};
    result.loops_over_content = expressions_.loops_over_content();
    if (!stream_.at(TokenType::end)) stream_.fail("unexpected '" + describe(stream_.current()) + "'");
    return result;
  }

 private:
  using Names = std::initializer_list<std::string_view>;
  using StatementPtr = std::unique_ptr<Statement>;

  bool at_any(Names names) const {
    return std::any_of(names.begin(), names.end(),
                       [this](std::string_view name) { return stream_.at_name(name); });
  }

  // Statements up to a tag that begins with one of `ends`; that name is the current token then.
  Block body(Names ends) {
    if (++blocks_ > kMaxBlocks) stream_.fail("the blocks are nested too deeply");
    Block result;
    while (!stream_.at(TokenType::end)) {
      const Token token = stream_.next();
      if (token.type == TokenType::data) {
        result.push_back(std::make_unique<Text>(token.line, token.text));
      } else if (token.type == TokenType::variable_begin) {
        result.push_back(std::make_unique<Print>(token.line, expressions_.expressions()));
        stream_.expect(TokenType::variable_end);
      } else {
        if (at_any(ends)) break;
        result.push_back(statement());
        stream_.expect(TokenType::block_end);
      }
    }
    --blocks_;
    return result;
  }

  // The rest of a tag, then its body up to one of `ends`.
  Block block(Names ends) {
    stream_.skip_symbol(":");
    stream_.expect(TokenType::block_end);
    const int line = stream_.line();
    Block result = body(ends);
    if (stream_.at(TokenType::end)) fail_unclosed(line, ends);
    return result;
  }

  Block block_to(std::string_view end) {
    Block result = block({end});
    stream_.next();
    return result;
  }

  [[noreturn]] void fail_unclosed(int line, Names ends) const {
    std::string names;
    for (const std::string_view name : ends)
      names += (names.empty() ? "'" : " or '") + std::string(name) + "'";
    stream_.fail("unexpected end of template; the block at line " + std::to_string(line) + " needs " + names);
  }

  StatementPtr statement() {
    const Token token = stream_.expect(TokenType::name);
    const std::string& name = token.text;
    if (name == "for") return for_loop(token.line);
    if (name == "if") return if_block(token.line);
    if (name == "set") return set(token.line);
    if (name == "macro") return macro(token.line);
    if (name == "call") return call_block(token.line);
    if (name == "filter") return filter_block(token.line);
    if (name == "with") return with(token.line);
    if (name == "generation") return generation(token.line);
    if (name == "break") return loop_control(token.line, Flow::leave_loop);
    if (name == "continue") return loop_control(token.line, Flow::next_round);
    if (name == "print") return std::make_unique<Print>(token.line, expressions_.expressions());
    stream_.fail("Encountered unknown tag '" + name + "'.");
  }

  StatementPtr for_loop(int line) {
    auto node = std::make_unique<For>(line);
    node->target = expressions_.target(false);
    stream_.expect_name("in");
    node->iterable = expressions_.expressions(false);
    if (stream_.skip_name("if")) node->condition = expressions_.expression();
    node->recursive = stream_.skip_name("recursive");
    expressions_.note_loop_over(*node->iterable);
    ++loops_;
    node->body = block({"endfor", "else"});
    --loops_;
    if (stream_.next().text == "else") node->otherwise = block_to("endfor");
    return node;
  }

  StatementPtr loop_control(int line, Flow flow) {
    if (loops_ == 0) stream_.fail("'break' and 'continue' may only stand in a loop");
    return std::make_unique<LoopControl>(line, flow);
  }

  StatementPtr if_block(int line) {
    auto node = std::make_unique<If>(line);
    while (true) {
      ExpressionPtr test = expressions_.expressions(false);
      node->branches.emplace_back(std::move(test), block({"elif", "else", "endif"}));
      if (stream_.skip_name("elif")) continue;
      const bool has_else = stream_.at_name("else");
      stream_.next();
      if (has_else) node->otherwise = block_to("endif");
      return node;
    }
  }

  StatementPtr set(int line) {
    Target target = expressions_.target(true);
    if (stream_.skip_symbol("="))
      return std::make_unique<Set>(line, std::move(target), expressions_.expressions());
    auto node = std::make_unique<SetBlock>(line);
    node->target = std::move(target);
    node->filter = expressions_.filter_chain(nullptr, false);
    node->body = block_to("endset");
    return node;
  }

  std::vector<Parameter> parameters() {
    std::vector<Parameter> result;
    stream_.expect_symbol("(");
    while (!stream_.at_symbol(")")) {
      Parameter parameter{stream_.expect(TokenType::name).text, nullptr};
      if (stream_.skip_symbol("=")) {
        parameter.fallback = expressions_.expression();
      } else if (!result.empty() && result.back().fallback) {
        stream_.fail("non-default argument follows default argument");
      }
      result.push_back(std::move(parameter));
      if (!stream_.at_symbol(")")) stream_.expect_symbol(",");
    }
    stream_.expect_symbol(")");
    return result;
  }

  // A macro's body; a loop around the macro does not reach into it.
  void macro_body(MacroDefinition& node, std::string_view end) {
    const std::set<std::string> outer = expressions_.exchange_names_read({});
    const int loops = std::exchange(loops_, 0);
    node.body = block_to(end);
    loops_ = loops;
    const std::set<std::string> inner = expressions_.exchange_names_read(outer);
    node.takes_more_positional = inner.contains("varargs");
    node.takes_more_named = inner.contains("kwargs");
    node.takes_caller = inner.contains("caller");
  }

  StatementPtr macro(int line) {
    auto node = std::make_unique<MacroDefinition>(line);
    node->name = stream_.expect(TokenType::name).text;
    node->parameters = parameters();
    macro_body(*node, "endmacro");
    return node;
  }

  StatementPtr call_block(int line) {
    auto node = std::make_unique<CallBlock>(line);
    node->caller = std::make_unique<MacroDefinition>(line);
    node->caller->name = "caller";
    if (stream_.at_symbol("(")) node->caller->parameters = parameters();
    ExpressionPtr call = expressions_.expression();
    if (dynamic_cast<Call*>(call.get()) == nullptr) stream_.fail("expected call");
    node->call.reset(static_cast<Call*>(call.release()));
    macro_body(*node->caller, "endcall");
    return node;
  }

  StatementPtr filter_block(int line) {
    auto node = std::make_unique<FilterBlock>(line);
    node->filter = expressions_.filter_chain(nullptr, true);
    node->body = block_to("endfilter");
    return node;
  }

  StatementPtr with(int line) {
    auto node = std::make_unique<With>(line);
    while (!stream_.at(TokenType::block_end)) {
      Target target = expressions_.target(false);
      stream_.expect_symbol("=");
      node->assignments.emplace_back(std::move(target), expressions_.expression());
      if (!stream_.at(TokenType::block_end)) stream_.expect_symbol(",");
    }
    node->body = block_to("endwith");
    return node;
  }

  // Marks what the assistant said, for training; it prints its body.
  StatementPtr generation(int line) {
    auto node = std::make_unique<With>(line);
    node->body = block_to("endgeneration");
    return node;
  }

  TokenStream stream_;
  ExpressionParser expressions_;
  int blocks_ = 0;
  int loops_ = 0;
};

}  // namespace

Template parse_template(std::string_view source) {
  return StatementParser(source).run();
}

}  // namespace sinkstream::jinja
