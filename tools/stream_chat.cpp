// stream-chat: holds one conversation as one endless session and records it. User messages come from a file;
// each is taken into the same cache behind all that was said before, and nothing is ever read again.
#include <spdlog/spdlog.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/error.h"
#include "parallel/start/together.h"
#include "text/chat/chat_template.h"
#include "text/tokenizer/tokenizer.h"
#include "tools/one_session.h"

namespace {

using namespace sinkstream;
using nlohmann::ordered_json;

struct Options {
  std::string config = "demo.yaml";
  std::vector<std::string> overrides;
  std::string messages;  // a file, one user message a line
  std::string output;    // JSON lines; empty: standard output
  std::int64_t turns = 200;
  std::int64_t answer_tokens = 80;
  SamplingParams sampling;
};

std::vector<std::string> read_lines(const std::string& file) {
  std::ifstream in(file);
  if (!in) throw StartupError(ExitCode::config, "--messages " + file + ": cannot be read");
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) {
    if (!line.empty()) lines.push_back(line);
  }
  if (lines.empty()) throw StartupError(ExitCode::config, "--messages " + file + ": holds no message");
  return lines;
}

struct Answer {
  std::vector<TokenId> tokens;
  double logprob = 0;  // of all tokens, and of the end token if it came
  std::int64_t choices = 0;
  bool ended = false;  // by itself
};

// The session in slot 0. Every rank holds the same one and comes to the same answers.
class Conversation {
 public:
  Conversation(const OneSession& session, Rank& rank, const Options& options)
      : sizing_(session.sizing),
        runner_(*rank.runner),
        answer_tokens_(options.answer_tokens),
        sampling_(options.sampling),
        end_tokens_(session.model.end_tokens),
        tokenizer_(Tokenizer::load(session.config.model.path / "tokenizer.json")),
        template_(ChatTemplate::load(session.config.model.path)) {
    sampling_.end_tokens = end_tokens_;
  }

  // The turn's record.
  ordered_json say(const std::string& message) {
    messages_.push_back({{"role", "user"}, {"content", message}});
    const Answer answer = generate(new_tokens());
    const std::string text = tokenizer_.decode(answer.tokens, true);
    messages_.push_back({{"role", "assistant"}, {"content", text}});
    said_ += text;
    return {{"user", message},
            {"assistant", text},
            {"tokens", answer.tokens.size()},
            {"ended", answer.ended},
            {"mean_logprob", answer.logprob / static_cast<double>(answer.choices)},
            {"seen", position_},
            {"resident",
             std::min(position_, sizing_.shape.window.sink_tokens + sizing_.shape.window.window_tokens)}};
  }

 private:
  // What the template puts behind all that the session has taken in.
  std::vector<TokenId> new_tokens() {
    const std::string text = template_.render({messages_});
    if (!text.starts_with(said_)) {
      throw StartupError(ExitCode::model,
                         "the chat template changes what was said; a session cannot take it back");
    }
    EncodeOptions encoding;
    encoding.add_special_tokens = false;  // the template writes them
    std::vector<TokenId> tokens = std::exchange(unread_, {});
    const auto behind = tokenizer_.encode(std::string_view(text).substr(said_.size()), encoding);
    tokens.insert(tokens.end(), behind.begin(), behind.end());
    said_ = text;
    return tokens;
  }

  Answer generate(std::vector<TokenId> input) {
    Answer answer;
    while (true) {
      const kernels::Choice result = take_in(input);
      answer.logprob += static_cast<double>(result.logprob);
      ++answer.choices;
      answer.ended = std::ranges::find(end_tokens_, result.token) != end_tokens_.end();
      if (answer.ended) return answer;  // the template writes the end itself
      answer.tokens.push_back(result.token);
      input = {result.token};
      if (std::ssize(answer.tokens) < answer_tokens_) continue;
      unread_ = input;
      return answer;
    }
  }

  // Reads tokens in steps and chooses what follows the last.
  kernels::Choice take_in(const std::vector<TokenId>& tokens) {
    if (!sizing_.shape.endless() && position_ + std::ssize(tokens) > sizing_.shape.max_context)
      throw StartupError(ExitCode::config, "dense: the conversation is longer than cache.max_context");
    for (std::size_t begin = 0;;) {
      const std::size_t end =
          std::min(tokens.size(), begin + static_cast<std::size_t>(sizing_.session_chunk));
      StepPlan step;
      step.number = ++steps_;
      if (steps_ == 1) step.operations = {OpenSlot{0, sizing_.shape.window}, BeginTurn{0, sampling_}};
      for (std::size_t i = begin; i < end; ++i) step.rows.push_back({0, tokens[i], position_++});
      if (end == tokens.size()) {
        PlanOutput output;
        output.logprobs = true;
        output.row = static_cast<std::int32_t>(step.rows.size()) - 1;
        step.outputs.push_back(output);
      }
      const auto results = runner_.run(step);
      if (end == tokens.size()) return results.front();
      begin = end;
    }
  }

  const SessionSizing& sizing_;
  StepRunner& runner_;
  std::int64_t answer_tokens_;
  SamplingParams sampling_;
  std::vector<TokenId> end_tokens_;
  Tokenizer tokenizer_;
  ChatTemplate template_;
  ordered_json messages_ = ordered_json::array();
  std::string said_;             // as text: all that the session took in, and `unread_`
  std::vector<TokenId> unread_;  // chosen, but not taken in yet
  std::int64_t position_ = 0;    // tokens taken in
  std::uint64_t steps_ = 0;
};

void run(Communicator& group, const Options& options) {
  const OneSession session = size_one_session(group, options.config, options.overrides);
  const auto messages = make_together(group, [&] { return read_lines(options.messages); });
  Rank rank = load_one_session(group, session);
  auto conversation = make_together(group, [&] { return Conversation(session, rank, options); });
  std::ofstream file;
  together(group, [&] {
    if (!group.is_leader() || options.output.empty()) return;
    file.open(options.output);
    if (!file) throw StartupError(ExitCode::config, "--output " + options.output + ": cannot be written");
  });
  std::ostream& out = options.output.empty() ? std::cout : file;
  for (std::int64_t turn = 0; turn < options.turns; ++turn) {
    const auto record = conversation.say(messages[static_cast<std::size_t>(turn) % messages.size()]);
    if (group.is_leader()) out << record.dump() << std::endl;  // seen at once
  }
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Holds one conversation as one endless session and records each turn"};
  Options options;
  options.sampling.temperature = 0.7f;
  options.sampling.top_p = 0.9f;
  app.add_option("--config", options.config, "configuration file")->type_name("FILE")->capture_default_str();
  app.add_option("--set", options.overrides, "change one setting")
      ->type_name("section.key=value")
      ->allow_extra_args(false);
  app.add_option("--messages", options.messages,
                 "what the user says, one message a line, from the top again at the end")
      ->required()
      ->type_name("FILE");
  app.add_option("--output", options.output, "JSON lines, one a turn")->type_name("FILE");
  app.add_option("--turns", options.turns)->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--answer-tokens", options.answer_tokens, "an answer is cut there")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--temperature", options.sampling.temperature)
      ->check(CLI::Range(0.0, 2.0))
      ->capture_default_str();
  app.add_option("--top-p", options.sampling.top_p)->check(CLI::Range(0.01, 1.0))->capture_default_str();
  app.add_option("--top-k", options.sampling.top_k, "0: off")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_option("--min-p", options.sampling.min_p)->check(CLI::Range(0.0, 1.0))->capture_default_str();
  for (auto& [name, penalty] : {std::pair{"--presence-penalty", &options.sampling.presence_penalty},
                                std::pair{"--frequency-penalty", &options.sampling.frequency_penalty}}) {
    app.add_option(name, *penalty, "over the answers")->check(CLI::Range(-2.0, 2.0))->capture_default_str();
  }
  app.add_option("--repetition-penalty", options.sampling.repetition_penalty, "over the answers")
      ->check(CLI::Range(0.01, 2.0))
      ->capture_default_str();
  app.add_option("--repeat-last-n", options.sampling.repeat_last_n,
                 "the penalties count so many of the newest tokens of the answers; -1: all of them")
      ->check(CLI::Range(-1, kMaxRepeatLastN))
      ->capture_default_str();
  app.add_option("--seed", options.sampling.seed)->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  return run_in_group("stream-chat", [&](Communicator& group) { run(group, options); });
}
