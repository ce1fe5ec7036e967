#include "text/jinja/syntax/expression_parser.h"

#include <algorithm>
#include <array>

namespace sinkstream::jinja {
namespace {

// message.content, message['content'] or a variable of that name, maybe through filters.
bool is_content(const Expression& expression) {
  if (const auto* filter = dynamic_cast<const Filter*>(&expression))
    return filter->value && is_content(*filter->value);
  if (const auto* attribute = dynamic_cast<const Attribute*>(&expression))
    return attribute->name == "content";
  if (const auto* name = dynamic_cast<const Name*>(&expression)) return name->name == "content";
  const auto* element = dynamic_cast<const Element*>(&expression);
  const auto* key = element ? dynamic_cast<const Literal*>(element->key.get()) : nullptr;
  return key && key->value.is_string() && key->value.string() == "content";
}

}  // namespace

// Counts how deep the parser itself has gone.
class ExpressionParser::Nesting {
 public:
  explicit Nesting(ExpressionParser& parser) : parser_(parser) {
    if (++parser_.nesting_ > kMaxNesting) parser_.stream_.fail("the expression is nested too deeply");
  }
  ~Nesting() { --parser_.nesting_; }
  Nesting(const Nesting&) = delete;
  Nesting& operator=(const Nesting&) = delete;

 private:
  ExpressionParser& parser_;
};

ExpressionPtr ExpressionParser::checked(ExpressionPtr node) {
  if (node->depth > kMaxDepth) stream_.fail("the expression is nested too deeply");
  return node;
}

std::set<std::string> ExpressionParser::exchange_names_read(std::set<std::string> names) {
  return std::exchange(names_read_, std::move(names));
}

void ExpressionParser::note_loop_over(const Expression& items) {
  loops_over_content_ = loops_over_content_ || is_content(items);
}

ExpressionPtr ExpressionParser::expression() {
  const Nesting nesting(*this);
  int line = stream_.line();
  ExpressionPtr value = logical_or();
  while (stream_.skip_name("if")) {
    ExpressionPtr test = logical_or();
    ExpressionPtr otherwise = stream_.skip_name("else") ? expression() : nullptr;
    value = make<Conditional>(line, std::move(test), std::move(value), std::move(otherwise));
    line = stream_.line();
  }
  return value;
}

bool ExpressionParser::at_end_of_tuple() const {
  return stream_.at(TokenType::variable_end) || stream_.at(TokenType::block_end) || stream_.at_symbol(")");
}

ExpressionPtr ExpressionParser::expressions(bool with_condition) {
  const Nesting nesting(*this);
  const int line = stream_.line();
  std::vector<ExpressionPtr> items;
  bool tuple = false;
  while (!at_end_of_tuple()) {
    items.push_back(with_condition ? expression() : logical_or());
    if (!stream_.skip_symbol(",")) break;
    tuple = true;
  }
  if (!tuple && items.size() == 1) return std::move(items[0]);
  if (items.empty() && !stream_.at_symbol(")")) {
    stream_.fail("Expected an expression, got '" + describe(stream_.current()) + "'");
  }
  return make<SequenceLiteral>(line, std::move(items), true);
}

ExpressionPtr ExpressionParser::logical_or() {
  const int line = stream_.line();
  ExpressionPtr left = logical_and();
  while (stream_.skip_name("or")) left = make<Logical>(line, false, std::move(left), logical_and());
  return left;
}

ExpressionPtr ExpressionParser::logical_and() {
  const int line = stream_.line();
  ExpressionPtr left = logical_not();
  while (stream_.skip_name("and")) left = make<Logical>(line, true, std::move(left), logical_not());
  return left;
}

ExpressionPtr ExpressionParser::logical_not() {
  const Nesting nesting(*this);
  const int line = stream_.line();
  if (stream_.skip_name("not")) return make<Unary>(line, Unary::Operator::logical_not, logical_not());
  return comparison();
}

ExpressionPtr ExpressionParser::comparison() {
  static constexpr std::array<std::pair<std::string_view, Comparison>, 6> kSymbols = {
      {{"==", Comparison::equal},
       {"!=", Comparison::not_equal},
       {"<", Comparison::less},
       {"<=", Comparison::less_equal},
       {">", Comparison::greater},
       {">=", Comparison::greater_equal}}};
  const int line = stream_.line();
  ExpressionPtr first = sum();
  std::vector<std::pair<Comparison, ExpressionPtr>> rest;
  while (true) {
    const auto symbol = std::find_if(kSymbols.begin(), kSymbols.end(),
                                     [this](const auto& entry) { return stream_.at_symbol(entry.first); });
    if (symbol != kSymbols.end()) {
      stream_.next();
      rest.emplace_back(symbol->second, sum());
    } else if (stream_.skip_name("in")) {
      rest.emplace_back(Comparison::in, sum());
    } else if (stream_.at_name("not") && stream_.following().type == TokenType::name &&
               stream_.following().text == "in") {
      stream_.next();
      stream_.next();
      rest.emplace_back(Comparison::not_in, sum());
    } else {
      break;
    }
  }
  if (rest.empty()) return first;
  return make<CompareChain>(line, std::move(first), std::move(rest));
}

ExpressionPtr ExpressionParser::sum() {
  const int line = stream_.line();
  ExpressionPtr left = concatenation();
  while (stream_.at_symbol("+") || stream_.at_symbol("-")) {
    const auto op = stream_.next().text == "+" ? BinaryOperator::add : BinaryOperator::subtract;
    left = make<Binary>(line, op, std::move(left), concatenation());
  }
  return left;
}

ExpressionPtr ExpressionParser::concatenation() {
  const int line = stream_.line();
  ExpressionPtr left = product();
  while (stream_.skip_symbol("~")) {
    left = make<Binary>(line, BinaryOperator::concatenate, std::move(left), product());
  }
  return left;
}

ExpressionPtr ExpressionParser::product() {
  static constexpr std::array<std::pair<std::string_view, BinaryOperator>, 4> kSymbols = {
      {{"*", BinaryOperator::multiply},
       {"/", BinaryOperator::divide},
       {"//", BinaryOperator::floor_divide},
       {"%", BinaryOperator::modulo}}};
  const int line = stream_.line();
  ExpressionPtr left = power();
  while (true) {
    const auto symbol = std::find_if(kSymbols.begin(), kSymbols.end(),
                                     [this](const auto& entry) { return stream_.at_symbol(entry.first); });
    if (symbol == kSymbols.end()) return left;
    stream_.next();
    left = make<Binary>(line, symbol->second, std::move(left), power());
  }
}

ExpressionPtr ExpressionParser::power() {
  const int line = stream_.line();
  ExpressionPtr left = unary();
  while (stream_.skip_symbol("**"))
    left = make<Binary>(line, BinaryOperator::power, std::move(left), unary());
  return left;
}

ExpressionPtr ExpressionParser::unary(bool with_filter) {
  const Nesting nesting(*this);
  const int line = stream_.line();
  ExpressionPtr value;
  if (stream_.skip_symbol("-")) {
    value = make<Unary>(line, Unary::Operator::minus, unary(false));
  } else if (stream_.skip_symbol("+")) {
    value = make<Unary>(line, Unary::Operator::plus, unary(false));
  } else {
    value = primary();
  }
  value = postfix(std::move(value));
  return with_filter ? filters_and_tests(std::move(value)) : std::move(value);
}

ExpressionPtr ExpressionParser::primary() {
  const int line = stream_.line();
  if (stream_.at(TokenType::name)) return name_or_constant();
  if (stream_.at(TokenType::integer)) return make<Literal>(line, stream_.next().integer);
  if (stream_.at(TokenType::real)) return make<Literal>(line, stream_.next().real);
  if (stream_.at(TokenType::string)) {
    std::string text;
    while (stream_.at(TokenType::string)) text += stream_.next().text;
    return make<Literal>(line, std::move(text));
  }
  if (stream_.skip_symbol("(")) {
    ExpressionPtr value = expressions();
    stream_.expect_symbol(")");
    return value;
  }
  if (stream_.at_symbol("[")) return list();
  if (stream_.at_symbol("{")) return mapping();
  stream_.fail("unexpected '" + describe(stream_.current()) + "'");
}

ExpressionPtr ExpressionParser::name_or_constant() {
  const Token token = stream_.next();
  const std::string& text = token.text;
  if (text == "true" || text == "True") return make<Literal>(token.line, true);
  if (text == "false" || text == "False") return make<Literal>(token.line, false);
  if (text == "none" || text == "None") return make<Literal>(token.line, Value());
  names_read_.insert(text);
  return make<Name>(token.line, text);
}

ExpressionPtr ExpressionParser::list() {
  const int line = stream_.line();
  stream_.expect_symbol("[");
  std::vector<ExpressionPtr> items;
  while (!stream_.at_symbol("]")) {
    items.push_back(expression());
    if (!stream_.at_symbol("]")) stream_.expect_symbol(",");
  }
  stream_.expect_symbol("]");
  return make<SequenceLiteral>(line, std::move(items), false);
}

ExpressionPtr ExpressionParser::mapping() {
  const int line = stream_.line();
  stream_.expect_symbol("{");
  std::vector<std::pair<ExpressionPtr, ExpressionPtr>> entries;
  while (!stream_.at_symbol("}")) {
    ExpressionPtr key = expression();
    stream_.expect_symbol(":");
    entries.emplace_back(std::move(key), expression());
    if (!stream_.at_symbol("}")) stream_.expect_symbol(",");
  }
  stream_.expect_symbol("}");
  return make<MappingLiteral>(line, std::move(entries));
}

ExpressionPtr ExpressionParser::postfix(ExpressionPtr value) {
  while (true) {
    if (stream_.at_symbol(".")) {
      value = attribute(std::move(value));
    } else if (stream_.at_symbol("[")) {
      value = element(std::move(value));
    } else if (stream_.at_symbol("(")) {
      const int line = stream_.line();
      value = make<Call>(line, std::move(value), call_arguments());
    } else {
      return value;
    }
  }
}

ExpressionPtr ExpressionParser::filters_and_tests(ExpressionPtr value) {
  while (true) {
    if (stream_.skip_symbol("|")) {
      value = filter(std::move(value));
    } else if (stream_.skip_name("is")) {
      value = test(std::move(value));
    } else if (stream_.at_symbol("(")) {
      const int line = stream_.line();
      value = make<Call>(line, std::move(value), call_arguments());
    } else {
      return value;
    }
  }
}

ExpressionPtr ExpressionParser::attribute(ExpressionPtr value) {
  const int line = stream_.next().line;
  if (stream_.at(TokenType::integer)) {
    return make<Element>(line, std::move(value), make<Literal>(line, stream_.next().integer));
  }
  if (!stream_.at(TokenType::name)) stream_.fail("expected name or number");
  return make<Attribute>(line, std::move(value), stream_.next().text);
}

ExpressionPtr ExpressionParser::element(ExpressionPtr value) {
  const int line = stream_.next().line;
  if (stream_.skip_symbol(":")) return slice(line, std::move(value), nullptr);
  if (stream_.skip_symbol("]"))
    return make<Element>(line, std::move(value),
                         make<SequenceLiteral>(line, std::vector<ExpressionPtr>(), true));
  ExpressionPtr key = expression();
  if (stream_.skip_symbol(":")) return slice(line, std::move(value), std::move(key));
  if (stream_.at_symbol(",")) {
    std::vector<ExpressionPtr> keys;
    keys.push_back(std::move(key));
    while (stream_.skip_symbol(",")) keys.push_back(expression());
    key = make<SequenceLiteral>(line, std::move(keys), true);
  }
  stream_.expect_symbol("]");
  return make<Element>(line, std::move(value), std::move(key));
}

// After the first colon.
ExpressionPtr ExpressionParser::slice(int line, ExpressionPtr value, ExpressionPtr start) {
  ExpressionPtr stop, step;
  if (!stream_.at_symbol(":") && !stream_.at_symbol("]")) stop = expression();
  if (stream_.skip_symbol(":") && !stream_.at_symbol("]")) step = expression();
  stream_.expect_symbol("]");
  return make<Slice>(line, std::move(value), std::move(start), std::move(stop), std::move(step));
}

ExpressionPtr ExpressionParser::filter_chain(ExpressionPtr value, bool first_without_pipe) {
  if (first_without_pipe) value = filter(std::move(value));
  while (stream_.skip_symbol("|")) value = filter(std::move(value));
  return value;
}

// Of a filter or a test; `x | first.role` asks for a filter of that whole name, which there is not.
Token ExpressionParser::dotted_name() {
  Token name = stream_.expect(TokenType::name);
  while (stream_.skip_symbol(".")) name.text += "." + stream_.expect(TokenType::name).text;
  return name;
}

ExpressionPtr ExpressionParser::filter(ExpressionPtr value) {
  const Token name = dotted_name();
  CallArguments arguments;
  if (stream_.at_symbol("(")) arguments = call_arguments();
  static const std::set<std::string> kLoops = {"map", "selectattr", "rejectattr"};
  if (value && kLoops.contains(name.text)) note_loop_over(*value);
  return make<Filter>(name.line, std::move(value), name.text, std::move(arguments));
}

bool ExpressionParser::at_test_argument() const {
  if (stream_.at_name("else") || stream_.at_name("or") || stream_.at_name("and")) return false;
  return stream_.at(TokenType::name) || stream_.at(TokenType::string) || stream_.at(TokenType::integer) ||
         stream_.at(TokenType::real) || stream_.at_symbol("[") || stream_.at_symbol("{");
}

ExpressionPtr ExpressionParser::test(ExpressionPtr value) {
  const int line = stream_.line();
  const bool negated = stream_.skip_name("not");
  const Token name = dotted_name();
  CallArguments arguments;
  if (stream_.at_symbol("(")) {
    arguments = call_arguments();
  } else if (at_test_argument()) {
    if (stream_.at_name("is")) stream_.fail("You cannot chain multiple tests with is");
    arguments.positional.push_back(postfix(primary()));
  }
  ExpressionPtr node = make<Test>(line, std::move(value), name.text, std::move(arguments));
  return negated ? make<Unary>(line, Unary::Operator::logical_not, std::move(node)) : std::move(node);
}

CallArguments ExpressionParser::call_arguments() {
  CallArguments arguments;
  const auto ensure = [this](bool right) {
    if (!right) stream_.fail("invalid syntax for function call expression");
  };
  stream_.expect_symbol("(");
  while (!stream_.at_symbol(")")) {
    if (stream_.skip_symbol("*")) {
      ensure(!arguments.positional_list && !arguments.named_mapping);
      arguments.positional_list = expression();
    } else if (stream_.skip_symbol("**")) {
      ensure(!arguments.named_mapping);
      arguments.named_mapping = expression();
    } else if (stream_.at(TokenType::name) && stream_.following().type == TokenType::symbol &&
               stream_.following().text == "=") {
      ensure(!arguments.named_mapping);
      std::string name = stream_.next().text;
      stream_.next();
      arguments.named.emplace_back(std::move(name), expression());
    } else {
      ensure(!arguments.positional_list && !arguments.named_mapping && arguments.named.empty());
      arguments.positional.push_back(expression());
    }
    if (!stream_.at_symbol(")")) stream_.expect_symbol(",");
  }
  stream_.expect_symbol(")");
  return arguments;
}

Target ExpressionParser::target(bool allow_attribute) {
  std::vector<Target> targets;
  bool tuple = false;
  while (true) {
    targets.push_back(single_target(allow_attribute));
    if (!stream_.skip_symbol(",")) break;
    tuple = true;
    if (!stream_.at(TokenType::name) || stream_.at_name("in")) {
      if (!stream_.at_symbol("(")) break;
    }
  }
  if (!tuple) return std::move(targets[0]);
  return {"", "", std::move(targets)};
}

Target ExpressionParser::single_target(bool allow_attribute) {
  const Nesting nesting(*this);
  if (stream_.skip_symbol("(")) {
    Target inner = target(allow_attribute);
    stream_.expect_symbol(")");
    return inner;
  }
  Target result;
  result.name = stream_.expect(TokenType::name).text;
  static const std::set<std::string> kConstants = {"true", "True", "false", "False", "none", "None"};
  if (kConstants.contains(result.name)) stream_.fail("can't assign to 'const'");
  if (allow_attribute && stream_.skip_symbol(".")) result.attribute = stream_.expect(TokenType::name).text;
  return result;
}

}  // namespace sinkstream::jinja
